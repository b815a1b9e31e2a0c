//! An admin's write: who, when, and whether it is a repetition of one that was answered before.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::catalog::{AdminWrite, IdempotencyKey};
use crate::net::clock;
use crate::net::problem::RawBody;
use crate::protocol::problem::Problem;

/// The header that makes a write safe to repeat.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// Bytes of an idempotency key.
const KEY_BYTES_MAX: usize = 128;

/// A write and its message.
pub(super) struct Write<T>(pub AdminWrite, pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Write<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let key = request.headers().get(IDEMPOTENCY_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            return Err(Problem::new(422, "invalid", format!("an idempotency key has 1 to {KEY_BYTES_MAX} bytes")));
        }
        let about = format!("{} {}", request.method(), request.uri().path());
        let RawBody(body) = RawBody::from_request(request, state).await?;
        let message = serde_json::from_slice(&body)
            .map_err(|error| Problem::new(422, "malformed_body", format!("the request cannot be read: {error}")))?;
        let digest = *blake3::Hasher::new().update(about.as_bytes()).update(b"\0").update(&body).finalize().as_bytes();
        let key = key.map(|key| IdempotencyKey { key, request: digest });
        Ok(Self(AdminWrite { actor: "admin".to_owned(), now: clock::now(), key }, message))
    }
}
