//! Why an agent cannot do something; every text names the thing and, where a person can help, the next step.

use std::path::PathBuf;

use crate::domain::{Name, size};
use crate::protocol::problem::Problem;

/// What a new plan may cost, bytes.
const ASK_AGAIN_BYTES: u64 = 64 << 10;

/// The result of an agent's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An agent's operation failed; what was installed before is still in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The member folder.
    #[error(transparent)]
    Member(#[from] crate::net::member::Error),
    /// A server.
    #[error(transparent)]
    Net(#[from] crate::net::Error),
    /// Files on this machine.
    #[error(transparent)]
    Store(#[from] consign_store::Error),
    /// Signatures.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// A server offers a version that nobody signed.
    #[error("{server} offers version {version} of {package}, which is no signed release ({why}); it is not installed")]
    Unsigned {
        /// The server.
        server: String,
        /// The package.
        package: Name,
        /// The version's number.
        version: u32,
        /// What is missing or different.
        why: String,
    },
    /// A server that did answer is of no use for this version.
    #[error("{server} {why}")]
    Useless {
        /// The server.
        server: String,
        /// A verb phrase.
        why: String,
    },
    /// No server has the package for this machine.
    #[error("{package}: no server knows it, or this machine may not have it")]
    Absent {
        /// Name or id as asked for.
        package: String,
    },
    /// The package is somewhere else already, or on its way there.
    #[error("{package} {state} in {}; leave out --dest, or name that folder", dest.display())]
    Elsewhere {
        /// The package.
        package: Name,
        /// `is installed`, `is being installed`.
        state: &'static str,
        /// Where.
        dest: PathBuf,
    },
    /// A folder belongs to another package.
    #[error("{} belongs to the package {owner}; choose another --dest", dest.display())]
    Taken {
        /// The folder.
        dest: PathBuf,
        /// Whose it is.
        owner: Name,
    },
    /// A destination cannot be used.
    #[error("{} cannot be a destination: {why}", dest.display())]
    Destination {
        /// The folder.
        dest: PathBuf,
        /// Why, and what to do.
        why: &'static str,
    },
    /// It would cost more than it may.
    #[error(transparent)]
    Budget(OverBudget),
    /// There is no plan to tell.
    #[error("no plan for {package}: {reason}")]
    Unplanned {
        /// The package.
        package: Name,
        /// Why.
        reason: String,
    },
    /// All sources failed; each with its reason.
    #[error("{}", .0.join("; "))]
    Sources(Vec<String>),
    /// The control socket.
    #[error("cannot {operation} {}: {source}", path.display())]
    Socket {
        /// A verb phrase.
        operation: &'static str,
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The running agent answered something that cannot be read.
    #[error("the running agent's answer cannot be read ({0}); is it of the same version as this command?")]
    Garbled(String),
    /// The running agent refused.
    #[error(transparent)]
    Refused(Problem),
    /// A limit was reached.
    #[error("{what} is over its limit of {limit}")]
    Limit {
        /// What is too much.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl Error {
    /// Says whether trying again is of no use before a person has changed something on this machine or in the request.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Elsewhere { .. }
            | Self::Taken { .. }
            | Self::Destination { .. }
            | Self::Absent { .. }
            | Self::Limit { .. }
            | Self::Budget(_)
            | Self::Refused(_) => true,
            Self::Store(error) => {
                use consign_store::Error as E;
                matches!(error, E::Refused { .. } | E::Limit { .. } | E::TooNew { .. })
            }
            _ => false,
        }
    }

    /// Says whether only a person, or something new, can change it: it is not tried again by itself.
    #[must_use]
    pub const fn waits_for_a_person(&self) -> bool {
        matches!(self, Self::Budget(_))
    }

    /// What to do about it, where that depends on numbers.
    #[must_use]
    pub fn next_step(&self) -> Option<String> {
        if let Self::Budget(over) = self { Some(over.next_step()) } else { None }
    }

    /// Turns it into what the control socket carries.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        if let Self::Refused(problem) = self {
            return problem.clone();
        }
        let (status, code, hint) = match self {
            Self::Absent { .. } => {
                (404, "not_found", Some("check the name, and that a policy of a collection with this machine names it"))
            }
            Self::Elsewhere { .. } => (409, "elsewhere", None),
            Self::Taken { .. } => (409, "taken", None),
            Self::Destination { .. } => (422, "destination", None),
            Self::Limit { .. } => (422, "limit", None),
            Self::Budget(_) => (409, "over_budget", None),
            Self::Unplanned { .. } => (409, "not_ready", Some("look with `consign agent status`, and ask again")),
            Self::Store(error) if error.is_disk_full() => {
                (507, "disk_full", Some("free some space; what has arrived is kept and the install goes on"))
            }
            Self::Store(_) => (500, "files", None),
            Self::Unsigned { .. } => (502, "unsigned", None),
            Self::Sources(_) | Self::Net(_) | Self::Useless { .. } => (502, "sources", None),
            _ => (500, "failed", None),
        };
        let problem = Problem::new(status, code, self.to_string());
        match self.next_step().or_else(|| hint.map(str::to_owned)) {
            Some(text) => problem.hint(text),
            None => problem,
        }
    }
}

/// An install would cost more than it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the install of {package} is {}: {} over the wire, {} have come, and {} may come in all (--max-bytes)",
    if *begun { "stopped" } else { "not begun" },
    planned_bytes.map_or_else(|| "more must come".to_owned(), |bytes| format!("{} must still come", size(bytes))),
    size(*spent_bytes),
    size(*max_bytes)
)]
pub struct OverBudget {
    /// The package.
    pub package: Name,
    /// What has come already, bytes on the wire.
    pub spent_bytes: u64,
    /// What would still come; none if that is not known.
    pub planned_bytes: Option<u64>,
    /// What may come in all.
    pub max_bytes: u64,
    /// Content has arrived.
    pub begun: bool,
    /// Patches are under construction that could make it cheaper.
    pub building: bool,
}

impl OverBudget {
    /// What to do about it.
    #[must_use]
    pub fn next_step(&self) -> String {
        // Asking again costs some metadata again.
        let again = self.spent_bytes.min(ASK_AGAIN_BYTES);
        let enough = self.planned_bytes.map(|planned| planned.saturating_add(self.spent_bytes).saturating_add(again));
        let raise = match enough {
            Some(bytes) => format!("install again with --max-bytes {}k or more", bytes.div_ceil(1 << 10)),
            None => "install again with a larger --max-bytes".to_owned(),
        };
        let raise = if self.begun { format!("{raise}; what has arrived is kept") } else { raise };
        if self.building { format!("{raise}, or without --urgent when the server has built its patches") } else { raise }
    }
}
