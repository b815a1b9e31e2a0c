//! Problems as HTTP answers, and the extractors that turn a bad request into one.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use crate::protocol::problem::{PROBLEM_TYPE, Problem};

/// Names the request in the answer and in the log lines of both sides.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("consign-request-id");
/// How much of a path an answer repeats, characters.
const SHOWN_CHARS_MAX: usize = 200;

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(Body::from(text_of(&self)));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        response.extensions_mut().insert(self);
        response
    }
}

fn text_of(problem: &Problem) -> Vec<u8> {
    // A struct of texts and a number always serializes; an empty body keeps the status.
    serde_json::to_vec(problem).unwrap_or_default()
}

/// Gives `router` answers for paths and methods it does not know.
pub(crate) fn complete(router: Router) -> Router {
    router
        .fallback(|uri: Uri| async move {
            let shown: String = uri.path().chars().take(SHOWN_CHARS_MAX).collect();
            Problem::absent(format!("{shown} does not exist here"))
                .hint("check the path and that both programs are of the same age")
        })
        .method_not_allowed_fallback(|| async { Problem::new(405, "method_not_allowed", "this path does not know that method") })
}

/// Puts the request id into the answer's header and, if it is a problem, into its body; turns every other failure into a problem.
pub(crate) fn finish(mut response: Response<Body>, request_id: &str) -> Response<Body> {
    let status = response.status();
    let known = response.extensions_mut().remove::<Problem>();
    if known.is_some() || status.is_client_error() || status.is_server_error() {
        let mut problem = known.unwrap_or_else(|| {
            let reason = status.canonical_reason().unwrap_or("failed");
            Problem::new(status.as_u16(), &reason.to_ascii_lowercase().replace([' ', '-'], "_"), reason)
        });
        problem.request_id = Some(request_id.to_owned());
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        *response.body_mut() = Body::from(text_of(&problem));
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    response
}

/// A request body as bytes, within the route's limit.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes =
            Bytes::from_request(request, state).await.map_err(|refused| body_problem(refused.status(), &refused.body_text()))?;
        Ok(Self(bytes))
    }
}

/// A request body as JSON, within the route's limit.
#[derive(Debug, Clone)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let json = axum::Json::<T>::from_request(request, state).await;
        json.map(|axum::Json(value)| Self(value)).map_err(|refused| body_problem(refused.status(), &refused.body_text()))
    }
}

fn body_problem(status: StatusCode, why: &str) -> Problem {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(413, "body_too_large", "the request body is over the limit of this path"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::new(415, "media_type", "this path takes JSON").hint("send Content-Type: application/json")
        }
        StatusCode::UNPROCESSABLE_ENTITY => Problem::new(422, "wrong_fields", why),
        _ => Problem::new(400, "malformed_body", why),
    }
}
