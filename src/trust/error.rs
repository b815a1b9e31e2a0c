//! What can go wrong with trust; every text names the thing and, where a person can help, the next step.

use std::path::PathBuf;

/// The result of a trust operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A trust operation failed; nothing was accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// A verb: `read`, `create` …
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A key cannot be used.
    #[error("{what} cannot be used: {why}")]
    Key {
        /// Which key or key file.
        what: String,
        /// Why, and what to do.
        why: String,
    },
    /// A text is no usable join string.
    #[error("the join string {0}; ask for a new one with `consign machine invite`")]
    Join(&'static str),
    /// A certificate cannot be made or read.
    #[error("cannot {operation}: {why}")]
    Certificate {
        /// A verb and the certificate.
        operation: &'static str,
        /// The reason.
        why: String,
    },
    /// TLS cannot be set up with this identity or authority.
    #[error("cannot set up TLS as {role}: {source}")]
    Tls {
        /// The side and its use.
        role: &'static str,
        /// The reason.
        source: rustls::Error,
    },
    /// Metadata is not what its format says.
    #[error("{file} is not usable metadata: {why}")]
    Malformed {
        /// The metadata file.
        file: String,
        /// The first check that failed.
        why: String,
    },
    /// Too few distinct keys of the role signed this metadata.
    #[error(
        "{file} bears {valid} valid signature(s) of the {role} role where {threshold} are needed; refused, the last trusted one stays"
    )]
    Signatures {
        /// The metadata file.
        file: String,
        /// Whose keys were asked for.
        role: &'static str,
        /// Distinct keys with a valid signature.
        valid: u32,
        /// Keys needed.
        threshold: u32,
    },
    /// Metadata is older than what was trusted before.
    #[error("{file} says {what} version {found}, but version {trusted} was seen before; refused as a rollback")]
    Rollback {
        /// The metadata file.
        file: String,
        /// Whose version went back.
        what: String,
        /// The version offered.
        found: u64,
        /// The version trusted before.
        trusted: u64,
    },
    /// Metadata is past its expiry: the source is behind, or someone holds updates back.
    #[error("{file} expired at {expired}; refused as a freeze: check that the hub runs and that the clocks are right")]
    Expired {
        /// The metadata file.
        file: String,
        /// RFC 3339.
        expired: String,
    },
    /// Metadata does not belong to the metadata that names it.
    #[error("{file} does not match what {namer} says about it ({what}); refused as mixed metadata")]
    Mismatch {
        /// The metadata file.
        file: String,
        /// The file that names it.
        namer: &'static str,
        /// Which property: length, SHA-256, version.
        what: &'static str,
    },
    /// More bytes than allowed.
    #[error("{what} is longer than {bytes_max} bytes; refused")]
    TooLong {
        /// The file or message.
        what: String,
        /// The limit.
        bytes_max: u64,
    },
    /// Metadata that must exist was not found.
    #[error("{file} is missing at the source; it is incomplete or no source of this fleet")]
    Missing {
        /// The metadata file.
        file: String,
    },
    /// A version's target exists with other content.
    #[error("{path} is released already with other content; a version never changes, release a new one")]
    Immutable {
        /// The target path.
        path: String,
    },
    /// A target to be retired is not there.
    #[error("{path} is not a released target")]
    NoTarget {
        /// The target path.
        path: String,
    },
    /// A signed statement cannot be believed.
    #[error("the signed statement {kind} for {audience} is refused: {why}")]
    Statement {
        /// The kind that was expected.
        kind: String,
        /// The audience that was expected.
        audience: String,
        /// The first check that failed.
        why: StatementFault,
    },
}

/// Why a signed statement is refused, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementFault {
    /// Over the limit.
    #[error("it is too long")]
    TooLong,
    /// Not signed by the expected key over these bytes.
    #[error("its signature is wrong")]
    Signature,
    /// Not the JSON of a statement of this kind.
    #[error("it cannot be parsed ({0})")]
    Malformed(String),
    /// Of another kind.
    #[error("it is of the kind {0:?}")]
    Kind(String),
    /// For someone else.
    #[error("it is for {0:?}")]
    Audience(String),
    /// Too late.
    #[error("it expired at {0}; check that the hub can be reached and that the clocks are right")]
    Expired(String),
    /// An older one than was believed before.
    #[error("its sequence {found} is behind {floor}, which was seen before")]
    Sequence {
        /// Its number.
        found: u64,
        /// The lowest that is believed.
        floor: u64,
    },
}

impl Error {
    /// Builds [`Error::Malformed`].
    #[expect(clippy::needless_pass_by_value, reason = "takes texts and errors alike, where they arise")]
    pub(crate) fn malformed(file: &str, why: impl ToString) -> Self {
        Self::Malformed { file: file.to_owned(), why: why.to_string() }
    }

    /// Builds [`Error::Io`], for `map_err`.
    pub(crate) fn io(operation: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_path_buf(), source }
    }
}
