//! What can go wrong with bytes on one machine; every variant names the operation and the thing.

use std::path::{Path, PathBuf};

use crate::id::{ChunkId, IdError};

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A store operation failed; the display text names the thing and, where there is one, the next step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file or folder.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// A verb: `read`, `create`, `rename to` …
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Stored or received bytes are not what they should be.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// Which record, pack, manifest … (with its path or id).
        what: String,
        /// The first check that failed.
        why: String,
    },
    /// The store has no chunk of this id.
    #[error("chunk {0} is not in the store")]
    NoChunk(ChunkId),
    /// A limit was passed; nothing was changed.
    #[error("{what} is over its limit of {limit}")]
    Limit {
        /// What is too large, with its name.
        what: String,
        /// The limit, unit included.
        limit: String,
    },
    /// A format version or a required feature is unknown to this program.
    #[error("{what} was written by a newer Consign ({why}); upgrade this one")]
    TooNew {
        /// Which file or message.
        what: String,
        /// The version or feature bits.
        why: String,
    },
    /// A path or entry of a source or manifest cannot be accepted.
    #[error("{path}: {why}")]
    Refused {
        /// The path as shown to a person.
        path: String,
        /// Why, and what to do.
        why: String,
    },
    /// The source changed again and again while it was read.
    #[error("{} keeps changing while it is read ({why}); stop what writes to it and refresh again", path.display())]
    Unstable {
        /// The file or folder.
        path: PathBuf,
        /// What changed.
        why: String,
    },
    /// Another process holds this folder.
    #[error("{} is in use by another process; stop it first or use another folder", .0.display())]
    Locked(PathBuf),
    /// The operation was cancelled by its owner.
    #[error("cancelled")]
    Cancelled,
    /// A text is not a content id.
    #[error(transparent)]
    Id(#[from] IdError),
}

impl Error {
    /// Says whether the cause is a full disk or quota.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
    }

    /// Says whether the disk could not read.
    pub(crate) fn is_bad_sector(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()))
    }

    /// Builds [`Error::Damaged`].
    pub fn damaged(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), why: why.into() }
    }
}

/// Attaches an operation and a path to an I/O result, so that no error leaves without its file.
pub trait At<T> {
    /// Turns the I/O error into [`Error::Io`] with `operation` (a verb) and `path`.
    ///
    /// # Errors
    /// The same failure, named.
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { operation, path: path.as_ref().to_path_buf(), source })
    }
}

impl<T> At<T> for std::result::Result<T, rustix::io::Errno> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(std::io::Error::from).at(operation, path)
    }
}
