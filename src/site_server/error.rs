//! What can go wrong at a site server; the texts are what its status and its codebases' reasons show.

use crate::domain::Name;

/// The result of a site server's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A site server's operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder of the member.
    #[error(transparent)]
    Member(#[from] crate::net::member::Error),
    /// The hub or the listener.
    #[error(transparent)]
    Net(#[from] crate::net::Error),
    /// Signatures and metadata.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// Bytes on this machine.
    #[error(transparent)]
    Store(#[from] consign_store::Error),
    /// The hub speaks other protocol versions.
    #[error("the hub ({hub}) and this site server have no protocol version in common; upgrade the older of the two")]
    Protocol {
        /// The hub's program version.
        hub: String,
    },
    /// What the hub assigns is not what the release metadata names.
    #[error("version {version} of {package} is not used: {why}")]
    Unsigned {
        /// The package.
        package: Name,
        /// The version.
        version: u32,
        /// What does not fit.
        why: &'static str,
    },
    /// The source's answers were right, but not all of what was asked for.
    #[error("{server} left out {count} {what} that were asked for")]
    Incomplete {
        /// `host:port`.
        server: String,
        /// How many.
        count: u64,
        /// Of what.
        what: &'static str,
    },
    /// What is to be fetched does not fit.
    #[error("{needed} bytes are needed and {available} are available {of}; {next}")]
    NoRoom {
        /// Bytes to be fetched.
        needed: u64,
        /// Bytes for which there is room.
        available: u64,
        /// In what.
        of: String,
        /// What happens or is to be done.
        next: String,
    },
    /// The version need not be held any more.
    #[error("no longer assigned")]
    Dropped,
    /// The control socket.
    #[error("cannot {operation} {}: {source}", path.display())]
    Socket {
        /// A verb.
        operation: &'static str,
        /// The socket.
        path: std::path::PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}
