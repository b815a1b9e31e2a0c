//! Who is asking.

use std::net::SocketAddr;

use axum::http::request::Parts;

use axum::extract::FromRequestParts;

use crate::protocol::problem::Problem;

/// The other end of a connection, known before its first request is read.
///
/// Rights come from the key, never from the address or from names in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// SHA-256 of the public key (`SubjectPublicKeyInfo` DER) in its certificate, which the fleet's authority has signed; `None` without one.
    pub key: Option<[u8; 32]>,
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Self>().copied();
        peer.ok_or_else(|| Problem::new(500, "internal", "the request did not come through a listener"))
    }
}
