//! One connection and the few that are kept for the next request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::net::error::{Error, Result};
use crate::net::io::Counted;
use crate::net::meter::Meter;
use crate::net::task::Task;

/// Most kept connections.
const IDLE_MAX: usize = 8;
/// Longest time a connection is kept, shorter than any listener keeps it ([`crate::net::listener::Limits::head`]).
const IDLE_AGE_MAX: Duration = Duration::from_secs(8);
/// For a kept connection to finish its last exchange.
const READY_WAIT: Duration = Duration::from_secs(1);
/// Bytes of an answer's head and of the read buffer.
const READ_BUFFER_BYTES_MAX: usize = 256 << 10;

/// An HTTP connection; it closes when this is dropped.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    _driver: Task,
}

impl Connection {
    pub(super) async fn open(server: &str, name: ServerName<'static>, tls: &TlsConnector, meter: Arc<Meter>) -> Result<Self> {
        let stream = TcpStream::connect(server).await.map_err(|error| Error::of_io("reach", server, error))?;
        stream.set_nodelay(true).map_err(|error| Error::of_io("reach", server, error))?;
        let stream = tls.connect(name, Counted::new(stream, meter)).await;
        let stream = stream.map_err(|error| Error::of_io("shake hands with", server, error))?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(READ_BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::of_http(server, error))?;
        let driver = Task::spawn(async move {
            if let Err(error) = driver.await {
                debug!(%error, "connection ended");
            }
        });
        Ok(Self { sender, _driver: driver })
    }
}

/// Connections between two requests.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<(Instant, Connection)>>,
}

impl Pool {
    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, kept)| since.elapsed() < IDLE_AGE_MAX && !kept.sender.is_closed());
        if idle.len() < IDLE_MAX && !connection.sender.is_closed() {
            idle.push((Instant::now(), connection));
        }
    }

    /// Takes the youngest live connection.
    pub(super) async fn take(&self) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if since.elapsed() < IDLE_AGE_MAX && matches!(timeout(READY_WAIT, connection.sender.ready()).await, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }
}
