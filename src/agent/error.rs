//! Why an agent cannot do something; every text names the thing and, where a person can help, the next step.

use std::path::PathBuf;

use crate::domain::Name;
use crate::protocol::problem::Problem;

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
            | Self::Refused(_) => true,
            Self::Store(error) => {
                use consign_store::Error as E;
                matches!(error, E::Refused { .. } | E::Limit { .. } | E::TooNew { .. })
            }
            _ => false,
        }
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
            Self::Store(error) if error.is_disk_full() => {
                (507, "disk_full", Some("free some space; what has arrived is kept and the install goes on"))
            }
            Self::Store(_) => (500, "files", None),
            Self::Unsigned { .. } => (502, "unsigned", None),
            Self::Sources(_) | Self::Net(_) | Self::Useless { .. } => (502, "sources", None),
            _ => (500, "failed", None),
        };
        let problem = Problem::new(status, code, self.to_string());
        hint.map_or(problem.clone(), |text| problem.hint(text))
    }
}
