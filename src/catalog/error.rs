//! What can go wrong with the catalog, each naming the thing and what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the catalog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has that name or id.
    #[error("no {what} is named {name:?}; see `consign {what} list`")]
    NotFound {
        /// The kind of thing, as in the command line: `package`, `site`.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The write contradicts what is there.
    #[error("{what} {name:?}: {reason}; {hint}")]
    Conflict {
        /// The kind of thing.
        what: &'static str,
        /// Which.
        name: String,
        /// What it contradicts.
        reason: String,
        /// What to do next.
        hint: &'static str,
    },
    /// A value is outside its limits.
    #[error("{what}: {reason}")]
    Invalid {
        /// The value.
        what: &'static str,
        /// What is allowed.
        reason: String,
    },
    /// A machine may not join with its token.
    #[error("the join string {0}; ask for a new one with `consign machine invite`")]
    Token(TokenProblem),
    /// The disk is full; nothing was changed.
    #[error("{operation}: the disk of the catalog {path} is full and nothing was changed; make room and try again")]
    Full {
        /// What was being done.
        operation: &'static str,
        /// The database.
        path: PathBuf,
    },
    /// Too much waits, or another program holds the database; nothing was changed.
    #[error("{operation}: the catalog {path} is busy and nothing was changed; try again")]
    Busy {
        /// What was being done.
        operation: &'static str,
        /// The database.
        path: PathBuf,
    },
    /// The writer ended, or the work on it broke off; the transaction did not commit or its sync failed.
    #[error("{operation}: the catalog {path} broke off; the log says why; restart the hub if it does so again")]
    Stopped {
        /// What was being done.
        operation: &'static str,
        /// The database.
        path: PathBuf,
    },
    /// A newer Consign wrote the database.
    #[error("the catalog {path} has version {found} and this program knows up to {known}; use the newer Consign that wrote it")]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The file is there and is not a catalog.
    #[error("{path} is not a Consign catalog; name the folder that `consign hub init` made")]
    NotACatalog {
        /// The file.
        path: PathBuf,
    },
    /// The file is there already and would be overwritten.
    #[error("{path} exists already; choose another place or remove it")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The database refused.
    #[error("{operation}: the catalog {path} failed: {source}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A file operation beside the database failed.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Why a token does not let a machine join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// The hub never made it, or forgot it long after its end.
    #[error("is not known to this hub")]
    Unknown,
    /// As many machines have joined with it as may.
    #[error("is used up")]
    UsedUp,
    /// Its time is over.
    #[error("has expired")]
    Expired,
    /// It is for machines of another role.
    #[error("is for another role")]
    WrongRole,
}

/// A result of the catalog.
pub type Result<T> = std::result::Result<T, Error>;

/// Ends a transaction: an error that is ready for the caller, or one of the database that still lacks its operation and path.
#[derive(Debug)]
pub(super) enum Fail {
    Said(Error),
    Sql(rusqlite::Error),
}

/// A result inside a transaction.
pub(super) type Step<T> = std::result::Result<T, Fail>;

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Error {
    /// Says whether the same may go well later without anybody changing the request: the disk or the queue was full, or reading or writing failed.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Busy { .. } | Self::Database { .. })
    }
}

impl Fail {
    /// Adds what was being done, and where.
    pub(super) fn at(self, operation: &'static str, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Said(error) => error,
            Self::Sql(source) => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => Error::Full { operation, path },
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Error::Busy { operation, path },
                Some(rusqlite::ErrorCode::NotADatabase) => Error::NotACatalog { path },
                _ => Error::Database { operation, path, source },
            },
        }
    }
}

/// Nothing of this kind has that name or id.
pub(super) fn not_found(what: &'static str, name: &(impl ToString + ?Sized)) -> Fail {
    Error::NotFound { what, name: name.to_string() }.into()
}

/// The write contradicts what is there.
pub(super) fn conflict(
    what: &'static str,
    name: &(impl ToString + ?Sized),
    reason: impl Into<String>,
    hint: &'static str,
) -> Fail {
    Error::Conflict { what, name: name.to_string(), reason: reason.into(), hint }.into()
}

/// A value is outside its limits.
pub(super) fn invalid(what: &'static str, reason: impl Into<String>) -> Fail {
    Error::Invalid { what, reason: reason.into() }.into()
}
