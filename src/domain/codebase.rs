//! Codebases: a place from which a version can be fetched, with a state.

use serde::{Deserialize, Serialize};

use crate::domain::time::Millis;

/// How far a site server is with a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CodebaseState {
    /// To be fetched; nothing has been yet.
    Assigned,
    /// Content is arriving.
    Fetching {
        /// Raw bytes here.
        done_bytes: u64,
        /// Raw bytes in all.
        total_bytes: u64,
    },
    /// Everything has arrived and is being checked.
    Verifying,
    /// Complete and verified: may be offered.
    Ready,
    /// The last try failed.
    Failed {
        /// Why, in words for an admin.
        reason: String,
        /// When it is tried again.
        next_attempt: Millis,
    },
    /// A state that a newer Consign knows.
    #[serde(other)]
    Unknown,
}

impl CodebaseState {
    /// The state's name in output: one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Fetching { .. } => "fetching",
            Self::Verifying => "verifying",
            Self::Ready => "ready",
            Self::Failed { .. } => "failed",
            Self::Unknown => "unknown",
        }
    }
}
