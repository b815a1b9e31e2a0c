//! The control socket: how a command speaks with the agent that runs. One JSON line asks, JSON lines answer, the last one ends it.

mod asking;
mod serving;
mod socket;

use serde::{Deserialize, Serialize};

use crate::agent::request::InstallRequest;
use crate::agent::view::{AgentView, InstalledView, PackageView, PlanView};
use crate::domain::Millis;
use crate::protocol::problem::Problem;

pub use asking::{Asking, connect};
pub(super) use serving::serve;
pub(super) use socket::Listener;

/// Longest line, bytes.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Longest question, bytes.
const ASK_BYTES_MAX: usize = 64 << 10;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// Answered by [`Reply::Status`].
    Status,
    /// Answered by [`Reply::Progress`] and [`Reply::Waiting`], then [`Reply::Installed`], [`Reply::Planned`] or [`Reply::Refused`].
    Install(InstallRequest),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The agent.
    Status(Box<AgentView>),
    /// No server has said yet which package it is.
    Waiting {
        /// Why.
        reason: String,
        /// When it is tried again.
        next_attempt: Millis,
    },
    /// How far the package is.
    Progress(Box<PackageView>),
    /// It is in place.
    Installed(Box<InstalledView>),
    /// What it would cost.
    Planned(Box<PlanView>),
    /// It was refused, or cannot go on without a person.
    Refused(Problem),
}

impl Reply {
    /// Says whether nothing follows.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Progress(_))
    }
}
