//! Errors on the wire: problem+json (RFC 9457) with stable codes.

use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// What went wrong, short and stable; details stay in the log under the request id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}{}", hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code in `snake_case`, for programs.
    pub code: String,
    /// One sentence for people that names the thing.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Correlates with the log lines of both sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// Builds a problem without hint.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), detail: detail.into(), hint: None, request_id: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Absent and forbidden look the same: 404.
    pub fn absent(detail: impl Into<String>) -> Self {
        Self::new(404, "not_found", detail)
    }
}
