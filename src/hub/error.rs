//! What can go wrong at the hub, and how it looks from outside.

use std::path::PathBuf;

use crate::catalog;
use crate::net;
use crate::protocol::problem::Problem;
use crate::trust;

/// The result of a hub operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A hub operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder cannot become a hub.
    #[error("{} {why}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// A file of the hub cannot be used.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// A verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The catalog refused or failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] consign_store::Error),
    /// Keys, certificates or metadata.
    #[error(transparent)]
    Trust(#[from] trust::Error),
    /// The network.
    #[error(transparent)]
    Net(#[from] net::Error),
}

/// How a failure of the hub's own looks to whoever asked: internals stay in the log.
pub(super) fn problem_of(error: &Error) -> Problem {
    match error {
        Error::Catalog(error) => catalog_problem(error),
        Error::Trust(trust::Error::Join { .. }) => Problem::new(403, "join_refused", error.to_string()),
        Error::Trust(trust::Error::Key { .. }) => Problem::new(422, "wrong_key", error.to_string()),
        Error::Store(inner) if inner.is_disk_full() => Problem::new(507, "disk_full", error.to_string()),
        Error::Net(_) | Error::Store(_) | Error::Trust(_) | Error::Io { .. } | Error::Folder { .. } => {
            tracing::error!(%error, "request failed");
            Problem::new(500, "internal", "the hub could not do this").hint("the hub's log says why, under the request id")
        }
    }
}

fn catalog_problem(error: &catalog::Error) -> Problem {
    use catalog::Error as E;
    let (status, code) = match error {
        E::NotFound { .. } => (404, "not_found"),
        E::Conflict { .. } => (409, "conflict"),
        E::Invalid { .. } => (422, "invalid"),
        E::Token(_) => (403, "join_refused"),
        E::Full { .. } => (507, "disk_full"),
        E::Busy { .. } => (503, "busy"),
        E::Stopped { .. } | E::TooNew { .. } | E::NotACatalog { .. } | E::Exists { .. } | E::Database { .. } | E::File { .. } => {
            tracing::error!(%error, "the catalog failed");
            return Problem::new(500, "internal", "the hub could not do this")
                .hint("the hub's log says why, under the request id");
        }
    };
    Problem::new(status, code, error.to_string())
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        problem_of(&error)
    }
}

impl From<catalog::Error> for Problem {
    fn from(error: catalog::Error) -> Self {
        catalog_problem(&error)
    }
}
