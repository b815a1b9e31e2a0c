//! The client: HTTP/1.1 over TLS to one server, with deadlines, size limits, byte counts and a few kept connections.

mod body;
mod connection;

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, Method, Request};
use bytes::Bytes;
use http_body_util::Full;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub use body::BodyStream;
use connection::{Connection, Pool};

use crate::net::error::{Error, Result};
use crate::net::meter::Meter;

/// Deadlines and sizes of a client.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first packet to the end of the TLS handshake.
    pub connect: Duration,
    /// From the request to the whole head of its answer.
    pub head: Duration,
    /// Longest silence within an answer's body.
    pub stall: Duration,
    /// Bytes of a JSON answer.
    pub json_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(30),
            stall: Duration::from_secs(20),
            json_bytes_max: 8 << 20,
        }
    }
}

/// A client of one server; cloning it is cheap and shares connections and counts.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    name: ServerName<'static>,
    host: HeaderValue,
    bearer: Option<HeaderValue>,
    tls: TlsConnector,
    meter: Arc<Meter>,
    limits: Limits,
    pool: Pool,
}

/// One request, whole in memory so that it can be sent again.
struct Ask {
    method: Method,
    path: String,
    content_type: Option<&'static str>,
    body: Bytes,
    /// Sending it twice does no harm.
    repeatable: bool,
}

/// How an exchange failed, and whether the server can have seen the request.
struct Failed {
    error: Error,
    /// The connection had ended before any answer.
    gone: bool,
    never_sent: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.shared.server).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client of the server at `address` (`host:port`) whose certificate must bear `server_name`; connects at the first request.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `server_name` is no DNS name or IP address.
    pub fn new(address: impl Into<String>, server_name: &str, tls: Arc<rustls::ClientConfig>, meter: Arc<Meter>) -> Result<Self> {
        let refuse = |why: String| Error::Invalid { what: format!("the server name {server_name:?}"), why };
        let name = ServerName::try_from(server_name.to_owned()).map_err(|error| refuse(error.to_string()))?;
        let host = HeaderValue::from_str(server_name).map_err(|error| refuse(error.to_string()))?;
        let shared = Shared {
            server: address.into(),
            name,
            host,
            bearer: None,
            tls: TlsConnector::from(tls),
            meter,
            limits: Limits::default(),
            pool: Pool::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes the same client with `token` in every request.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the token cannot stand in a header.
    pub fn with_bearer(&self, token: &str) -> Result<Self> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|error| Error::Invalid { what: "the token".to_owned(), why: error.to_string() })?;
        bearer.set_sensitive(true);
        Ok(self.changed(|shared| shared.bearer = Some(bearer)))
    }

    /// Makes the same client with other limits.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        self.changed(|shared| shared.limits = limits)
    }

    fn changed(&self, change: impl FnOnce(&mut Shared)) -> Self {
        let old = &*self.shared;
        let mut shared = Shared {
            server: old.server.clone(),
            name: old.name.clone(),
            host: old.host.clone(),
            bearer: old.bearer.clone(),
            tls: old.tls.clone(),
            meter: Arc::clone(&old.meter),
            limits: old.limits,
            pool: Pool::default(),
        };
        change(&mut shared);
        Self { shared: Arc::new(shared) }
    }

    /// Returns the server's `host:port`.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.shared.server
    }

    /// Returns the counters that this client adds to.
    #[must_use]
    pub fn meter(&self) -> &Arc<Meter> {
        &self.shared.meter
    }

    /// `GET`s a JSON message.
    ///
    /// # Errors
    /// Any of [`Error`]; a refusal is [`Error::Problem`].
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.get_stream(path).await?.json(self.shared.limits.json_bytes_max).await
    }

    /// `POST`s a JSON message and reads a JSON answer; not sent twice.
    ///
    /// # Errors
    /// Any of [`Error`]; a refusal is [`Error::Problem`].
    pub async fn post_json<B: Serialize + Sync, T: DeserializeOwned>(&self, path: &str, message: &B) -> Result<T> {
        let body = serde_json::to_vec(message)
            .map_err(|error| Error::Invalid { what: format!("the message for {path}"), why: error.to_string() })?;
        let content_type = Some("application/json");
        let ask = Ask { method: Method::POST, path: path.to_owned(), content_type, body: body.into(), repeatable: false };
        self.ask(&ask).await?.json(self.shared.limits.json_bytes_max).await
    }

    /// `GET`s at most `bytes_max` bytes.
    ///
    /// # Errors
    /// Any of [`Error`]; [`Error::TooLarge`] before more is read.
    pub async fn get_bytes(&self, path: &str, bytes_max: u64) -> Result<Bytes> {
        self.get_stream(path).await?.collect(bytes_max).await
    }

    /// `GET`s a body as it arrives.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn get_stream(&self, path: &str) -> Result<BodyStream> {
        let ask = Ask { method: Method::GET, path: path.to_owned(), content_type: None, body: Bytes::new(), repeatable: true };
        self.ask(&ask).await
    }

    /// `POST`s `body` as a question that changes nothing at the server, and reads the answer as it arrives.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn post_stream(&self, path: &str, content_type: &'static str, body: Bytes) -> Result<BodyStream> {
        let ask = Ask { method: Method::POST, path: path.to_owned(), content_type: Some(content_type), body, repeatable: true };
        self.ask(&ask).await
    }

    /// Sends a request; a kept connection that turns out dead before an answer began is replaced once, where that does no harm.
    async fn ask(&self, ask: &Ask) -> Result<BodyStream> {
        if let Some(connection) = self.shared.pool.take().await {
            match self.exchange(connection, ask).await {
                Err(failed) if failed.gone && (ask.repeatable || failed.never_sent) => {}
                result => return result.map_err(|failed| failed.error)?.accepted().await,
            }
        }
        let connection = self.connect().await?;
        self.exchange(connection, ask).await.map_err(|failed| failed.error)?.accepted().await
    }

    async fn connect(&self) -> Result<Connection> {
        let shared = &*self.shared;
        let connecting = Connection::open(&shared.server, shared.name.clone(), &shared.tls, Arc::clone(&shared.meter));
        let late = |_| Error::Late { server: shared.server.clone(), what: "connect".to_owned(), limit: shared.limits.connect };
        timeout(shared.limits.connect, connecting).await.map_err(late)?
    }

    async fn exchange(&self, mut connection: Connection, ask: &Ask) -> Result<BodyStream, Failed> {
        let server = &self.shared.server;
        let stop = |error, gone, never_sent| Failed { error, gone, never_sent };
        let request = self.request(ask).map_err(|error| stop(error, false, true))?;
        let limit = self.shared.limits.head;
        let response = match timeout(limit, connection.sender.try_send_request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(mut failed)) => {
                let never_sent = failed.take_message().is_some();
                let error = failed.into_error();
                // What cannot be parsed is an answer; everything else is a connection that ended.
                if error.is_parse() {
                    let malformed = Error::Malformed { server: server.clone(), path: ask.path.clone(), why: error.to_string() };
                    return Err(stop(malformed, false, never_sent));
                }
                return Err(stop(Error::of_http(server, error), true, never_sent));
            }
            Err(_) => {
                let late = Error::Late { server: server.clone(), what: format!("answer {}", ask.path), limit };
                return Err(stop(late, false, false));
            }
        };
        BodyStream::new(self.clone(), connection, ask.path.clone(), response).map_err(|error| stop(error, false, false))
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(ask.method.clone()).uri(&ask.path).header(HOST, &self.shared.host);
        if let Some(content_type) = ask.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(bearer) = &self.shared.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        let refuse =
            |error: axum::http::Error| Error::Invalid { what: format!("the path {:?}", ask.path), why: error.to_string() };
        request.body(Full::new(ask.body.clone())).map_err(refuse)
    }
}
