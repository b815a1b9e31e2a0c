//! What can go wrong between two machines; every variant names the server and the operation.

use std::error::Error as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::protocol::problem::Problem;

/// The result of a network operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A network operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listener's address cannot be bound.
    #[error("cannot listen on {address}: {source}; choose another address or stop what uses it")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// A name cannot be the name in a server's certificate, or a token cannot be sent.
    #[error("{what} cannot be used: {why}")]
    Invalid {
        /// Which setting, without secrets.
        what: String,
        /// Why.
        why: String,
    },
    /// No connection came about, or it failed before an answer began.
    #[error("cannot {operation} {server}: {source}")]
    Connect {
        /// A verb: `reach`, `ask`.
        operation: &'static str,
        /// `host:port`.
        server: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The two sides do not trust each other.
    #[error("{server} and this machine do not trust each other: {source}; check that both belong to the same fleet")]
    Tls {
        /// `host:port`.
        server: String,
        /// What the handshake or its alert said.
        source: rustls::Error,
    },
    /// A deadline passed.
    #[error("{server} took longer than {limit:?} to {what}")]
    Late {
        /// `host:port`.
        server: String,
        /// A verb: `connect`, `answer /v1/hello`.
        what: String,
        /// The deadline.
        limit: Duration,
    },
    /// An answer began and then no byte came for too long.
    #[error("{server} sent nothing for {limit:?} in its answer to {path}, after {received_bytes} bytes")]
    Stalled {
        /// `host:port`.
        server: String,
        /// The request's path.
        path: String,
        /// Body bytes that had arrived.
        received_bytes: u64,
        /// How long silence may last.
        limit: Duration,
    },
    /// An answer ended before it was complete.
    #[error("the answer of {server} to {path} was cut off after {received_bytes} bytes: {why}")]
    Cut {
        /// `host:port`.
        server: String,
        /// The request's path.
        path: String,
        /// Body bytes that had arrived.
        received_bytes: u64,
        /// How it ended.
        why: String,
    },
    /// A server sent content that is not what it should be; take another source.
    #[error("{server} sent wrong content in answer to {path}: {why}")]
    Lied {
        /// `host:port`.
        server: String,
        /// The request's path.
        path: String,
        /// The first check that failed.
        why: String,
    },
    /// The server refused with a problem.
    #[error("{server}: {problem}")]
    Problem {
        /// `host:port`.
        server: String,
        /// What it said.
        problem: Box<Problem>,
        /// When it says that another try makes sense.
        retry_after: Option<Duration>,
    },
    /// More has arrived than this machine wanted to spend.
    #[error("the byte budget was used up in the answer of {server} to {path}")]
    OverBudget {
        /// `host:port`.
        server: String,
        /// The request's path.
        path: String,
    },
    /// An answer is longer than it may be.
    #[error("the answer of {server} to {path} is over its limit of {limit_bytes} bytes")]
    TooLarge {
        /// `host:port`.
        server: String,
        /// The request's path.
        path: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// An answer is no such message.
    #[error("the answer of {server} to {path} cannot be read: {why}")]
    Malformed {
        /// `host:port`.
        server: String,
        /// The request's path.
        path: String,
        /// Why.
        why: String,
    },
    /// Bytes on this machine: a full disk, an unreadable file.
    #[error(transparent)]
    Store(#[from] consign_store::Error),
    /// Work of this process ended without a result, because the process is stopping or the work panicked.
    #[error("{0} was stopped before it was done")]
    Stopped(&'static str),
}

impl Error {
    /// Says whether the same request may succeed later, or at another server, without anybody changing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Late { .. } | Self::Stalled { .. } | Self::Cut { .. } => true,
            Self::Problem { problem, .. } => matches!(problem.status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// Returns the problem, if the server answered with one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Names a failure at the socket or in the TLS layer.
    pub(crate) fn of_io(operation: &'static str, server: &str, error: std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(source) => Self::Tls { server: server.to_owned(), source: source.clone() },
            None => Self::Connect { operation, server: server.to_owned(), source: error },
        }
    }

    /// Names a failure of the HTTP layer before the answer's head was complete.
    pub(crate) fn of_http(server: &str, error: hyper::Error) -> Self {
        match tls_cause(&error) {
            Some(source) => Self::Tls { server: server.to_owned(), source },
            None => Self::Connect { operation: "ask", server: server.to_owned(), source: std::io::Error::other(error) },
        }
    }
}

/// Finds the TLS failure beneath an HTTP failure: a refused client certificate arrives as an alert in the first read.
pub(crate) fn tls_cause(error: &hyper::Error) -> Option<rustls::Error> {
    let mut cause = error.source();
    while let Some(this) = cause {
        if let Some(io) = this.downcast_ref::<std::io::Error>() {
            return io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
        }
        cause = this.source();
    }
    None
}
