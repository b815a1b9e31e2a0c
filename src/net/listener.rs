//! The TLS listener: the only way in, with a limit on everything a stranger can do.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{Instrument as _, debug, info_span, warn};

use crate::net::error::{Error, Result};
use crate::net::io::Impatient;
use crate::net::peer::Peer;
use crate::net::problem;
use crate::net::repoll::Repoll;
use crate::trust::authority::key_fingerprint;

/// First byte of every TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// Wait after a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
type Stream = TlsStream<Impatient<TcpStream>>;

/// What a stranger may take of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; one more is closed at once.
    pub connections_max: usize,
    /// From accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// For a whole request head; also how long a connection may lie idle.
    pub head: Duration,
    /// Bytes of a request head.
    pub head_bytes_max: usize,
    /// For a whole request body.
    pub body: Duration,
    /// Longest time in which the peer accepts no byte of an answer.
    pub write_stall: Duration,
    /// For answers in flight when the listener stops.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            head_bytes_max: 64 << 10,
            body: Duration::from_mins(1),
            write_stall: Duration::from_mins(1),
            shutdown: Duration::from_secs(5),
        }
    }
}

/// A bound socket that speaks nothing but TLS.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    door: Door,
}

/// What every connection task needs.
#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    limits: Limits,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listener {
    /// Binds `address`; port 0 takes a free one, see [`Listener::local_addr`].
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn bind(address: SocketAddr, tls: Arc<rustls::ServerConfig>, limits: Limits) -> Result<Self> {
        let refuse = |source| Error::Listen { address, source };
        let socket = TcpListener::bind(address).await.map_err(refuse)?;
        let address = socket.local_addr().map_err(refuse)?;
        Ok(Self { socket, address, door: Door { acceptor: TlsAcceptor::from(tls), limits } })
    }

    /// Returns the address that is really bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `shutdown` resolves; then takes no more connections, lets answers in flight end for as long as
    /// [`Limits::shutdown`] says, and cuts the rest off. No task outlives this call.
    pub async fn serve(self, router: Router, shutdown: impl Future<Output = ()> + Send) {
        let router = problem::complete(router);
        let (close, closing) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => report(ended),
                accepted = self.socket.accept() => match accepted {
                    Ok((_, address)) if connections.len() >= self.door.limits.connections_max => {
                        warn!(%address, limit = self.door.limits.connections_max, "connection refused: too many");
                    }
                    Ok((stream, address)) => {
                        connections.spawn(self.door.clone().connection(stream, address, router.clone(), closing.clone()));
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.socket);
        close.send_replace(true);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        if timeout(self.door.limits.shutdown, all_ended).await.is_err() {
            warn!(connections = connections.len(), "answers still in flight are cut off");
        }
        connections.shutdown().await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

impl Door {
    async fn connection(self, stream: TcpStream, address: SocketAddr, router: Router, mut closing: watch::Receiver<bool>) {
        let stream = match timeout(self.limits.handshake, self.handshake(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%address, %error, "handshake failed"),
            Err(_) => return debug!(%address, "handshake took too long"),
        };
        let peer = Peer { address, key: key_of(&stream) };
        let body_limit = self.limits.body;
        let service = service_fn(move |request| answer(request, router.clone(), peer, body_limit));
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(self.limits.head_bytes_max)
            .serve_connection(TokioIo::new(stream), service);
        let mut http = Repoll::new(http);
        let ended = tokio::select! {
            ended = &mut http => ended,
            () = closed(&mut closing) => {
                http.inner().graceful_shutdown();
                http.await
            }
        };
        if let Err(error) = ended {
            debug!(%address, %error, "connection ended");
        }
    }

    async fn handshake(&self, stream: TcpStream) -> std::io::Result<Stream> {
        stream.set_nodelay(true)?;
        // Whoever does not speak TLS gets no byte, not even an alert.
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 || first[0] != TLS_HANDSHAKE {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "not TLS"));
        }
        self.acceptor.accept(Impatient::new(stream, self.limits.write_stall)).await
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the listener is gone, which is the same.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// The key of the client's certificate, which the handshake has verified.
fn key_of(stream: &Stream) -> Option<[u8; 32]> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    key_fingerprint(leaf).ok()
}

async fn answer(
    request: Request<Incoming>,
    router: Router,
    peer: Peer,
    body_limit: Duration,
) -> Result<Response<Body>, Infallible> {
    let id = format!("{:08x}", rand::random::<u32>());
    let mut request = request.map(|body| Body::new(InTime { body, deadline: Box::pin(tokio::time::sleep(body_limit)) }));
    request.extensions_mut().insert(peer);
    let span = info_span!("request", %id, method = %request.method(), path = request.uri().path(), peer = %peer.address);
    async {
        let begun = Instant::now();
        let response = match TowerToHyperService::new(router).call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        debug!(status = response.status().as_u16(), elapsed = ?begun.elapsed(), "answered");
        Ok(problem::finish(response, &id))
    }
    .instrument(span)
    .await
}

/// A request body that must have arrived whole by its deadline.
struct InTime {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl http_body::Body for InTime {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|result| result.map_err(Into::into)));
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Some(Err("the request body took too long".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
