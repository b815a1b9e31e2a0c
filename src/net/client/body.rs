//! The body of an answer, as it arrives, within limits.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING};
use axum::http::response::Parts;
use axum::http::{HeaderName, Response, StatusCode};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Client;
use super::connection::Connection;
use crate::net::error::{Error, Result, tls_cause};
use crate::protocol::problem::{PROBLEM_TYPE, Problem};

/// Bytes of a problem that are read.
const PROBLEM_BYTES_MAX: u64 = 64 << 10;
/// Longest wait that a server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);

/// An answer whose head has arrived; dropping it before the end closes the connection.
pub struct BodyStream {
    client: Client,
    connection: Option<Connection>,
    path: String,
    head: Parts,
    body: Incoming,
    received_bytes: u64,
    stall: Duration,
}

impl std::fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyStream")
            .field("path", &self.path)
            .field("received_bytes", &self.received_bytes)
            .finish_non_exhaustive()
    }
}

impl BodyStream {
    pub(super) fn new(client: Client, connection: Connection, path: String, response: Response<Incoming>) -> Result<Self> {
        let (head, body) = response.into_parts();
        let stall = client.shared.limits.stall;
        let stream = Self { client, connection: Some(connection), path, head, body, received_bytes: 0, stall };
        // An answer that ends with its connection could be cut off unnoticed.
        let delimited = stream.body.size_hint().exact().is_some() || stream.head.headers.contains_key(TRANSFER_ENCODING);
        if delimited { Ok(stream) } else { Err(stream.malformed("it has neither a length nor chunks")) }
    }

    /// Takes the next bytes; `None` after a complete body. Cancelling the call loses nothing.
    ///
    /// # Errors
    /// [`Error::Stalled`], [`Error::Cut`], or [`Error::OverBudget`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = match timeout(self.stall, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(self.broken(&error)),
                Ok(None) => {
                    if let Some(connection) = self.connection.take() {
                        self.client.shared.pool.keep(connection);
                    }
                    return Ok(None);
                }
                Err(_) => {
                    self.connection = None;
                    let (server, path) = (self.server(), self.path.clone());
                    return Err(Error::Stalled { server, path, received_bytes: self.received_bytes, limit: self.stall });
                }
            };
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.received_bytes += data.len() as u64;
                if !self.client.shared.meter.add_wire(data.len()) {
                    self.connection = None;
                    return Err(Error::OverBudget { server: self.server(), path: self.path.clone() });
                }
                return Ok(Some(data));
            }
        }
    }

    /// Reads the rest, at most `bytes_max`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before more is read; as [`BodyStream::chunk`].
    pub async fn collect(mut self, bytes_max: u64) -> Result<Bytes> {
        let too_large = |path: &str, server: String| Error::TooLarge { server, path: path.to_owned(), limit_bytes: bytes_max };
        if self.body.size_hint().lower() > bytes_max {
            return Err(too_large(&self.path, self.server()));
        }
        let mut all = Vec::new();
        while let Some(data) = self.chunk().await? {
            if self.received_bytes > bytes_max {
                return Err(too_large(&self.path, self.server()));
            }
            all.extend_from_slice(&data);
        }
        Ok(all.into())
    }

    /// Reads the rest, at most `bytes_max`, as a JSON message.
    ///
    /// # Errors
    /// [`Error::Malformed`]; as [`BodyStream::collect`].
    pub async fn json<T: DeserializeOwned>(self, bytes_max: u64) -> Result<T> {
        let (server, path) = (self.server(), self.path.clone());
        let bytes = self.collect(bytes_max).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Malformed { server, path, why: error.to_string() })
    }

    /// Returns a header of the answer.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Returns the path that was asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the server's `host:port`.
    #[must_use]
    pub fn server(&self) -> String {
        self.client.shared.server.clone()
    }

    /// Body bytes so far.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Sets how long silence may last from now on.
    pub fn set_stall(&mut self, stall: Duration) {
        self.stall = stall;
    }

    /// Passes an answer with a good status on and turns any other into [`Error::Problem`].
    pub(super) async fn accepted(self) -> Result<Self> {
        if self.head.status.is_success() {
            return Ok(self);
        }
        let (server, status) = (self.server(), self.head.status);
        let retry_after = self.header(&RETRY_AFTER).and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let is_problem = self.header(&CONTENT_TYPE).is_some_and(|kind| kind.starts_with(PROBLEM_TYPE));
        let told = if is_problem { self.json(PROBLEM_BYTES_MAX).await.ok() } else { None };
        let mut problem: Problem = told.unwrap_or_else(|| unexplained(status));
        problem.status = status.as_u16();
        Err(Error::Problem {
            server,
            problem: Box::new(problem),
            retry_after: retry_after.map(|asked| asked.min(RETRY_AFTER_MAX)),
        })
    }

    pub(crate) fn malformed(&self, why: impl Into<String>) -> Error {
        Error::Malformed { server: self.server(), path: self.path.clone(), why: why.into() }
    }

    pub(crate) fn cut(&self, why: impl Into<String>) -> Error {
        Error::Cut { server: self.server(), path: self.path.clone(), received_bytes: self.received_bytes, why: why.into() }
    }

    pub(crate) fn lied(&self, why: impl Into<String>) -> Error {
        Error::Lied { server: self.server(), path: self.path.clone(), why: why.into() }
    }

    fn broken(&mut self, error: &hyper::Error) -> Error {
        self.connection = None;
        match tls_cause(error) {
            Some(source) => Error::Tls { server: self.server(), source },
            None => self.cut(error.to_string()),
        }
    }
}

fn unexplained(status: StatusCode) -> Problem {
    Problem::new(status.as_u16(), "unexplained", format!("it answered {status} and gave no reason"))
}
