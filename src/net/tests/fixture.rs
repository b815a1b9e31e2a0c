//! An authority, a served router, a scripted server, a counting relay.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::net::client::Client;
use crate::net::listener::{Limits, Listener};
use crate::net::meter::Meter;

pub const NAME: &str = "server.consign";
/// Ends a test that hangs; nothing is measured by it.
pub const HANG: Duration = Duration::from_mins(1);
/// A short deadline under test.
pub const SHORT: Duration = Duration::from_millis(300);

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// SHA-256 of the public key.
    pub fingerprint: [u8; 32],
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let fingerprint = Sha256::digest(key.subject_public_key_info()).into();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Identity { chain: vec![certificate.der().clone()], key, fingerprint }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        let identity = self.issue(NAME);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let config = config.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap());
        Arc::new(config.with_single_cert(identity.chain, identity.key).unwrap())
    }

    pub fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let config = config.with_root_certificates(self.roots());
        Arc::new(match identity {
            Some(identity) => config.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key()).unwrap(),
            None => config.with_no_client_auth(),
        })
    }
}

/// Makes a client of `address` that trusts `authority`.
pub fn client(authority: &Authority, address: SocketAddr, identity: Option<&Identity>) -> Client {
    Client::new(address.to_string(), NAME, authority.client(identity), Arc::new(Meter::default())).unwrap()
}

/// Opens a bare TLS connection.
pub async fn tls(authority: &Authority, address: SocketAddr) -> client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(authority.client(None)).connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap()
}

/// Reads until the other side closes or breaks the connection.
pub async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = stream.read_to_end(&mut all);
    // A broken connection ends the reading as a closed one does.
    let _ = tokio::time::timeout(HANG, reading).await.expect("the connection stays open");
    all
}

/// A listener that serves.
pub struct Served {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Served {
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        within(self.ended).await.unwrap();
    }
}

pub async fn serve(authority: &Authority, router: Router, limits: Limits) -> Served {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), authority.server(), limits).await.unwrap();
    let address = listener.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let stopped = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        listener.serve(router, stopped).await;
    });
    Served { address, stop, ended }
}

/// Fails a test that hangs.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, work).await.expect("it hangs")
}

/// A server that answers each request of each connection with the next script, then with silence.
pub struct Scripted {
    pub address: SocketAddr,
    pub connections: Arc<AtomicU64>,
    /// How often it was told that it is in doubt, which is no part of the script.
    pub doubts: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// What a scripted server does with one request.
#[derive(Clone)]
pub enum Act {
    /// Sends these bytes and keeps the connection.
    Send(Vec<u8>),
    /// Sends these bytes and closes the connection properly.
    Close(Vec<u8>),
    /// Sends these bytes and drops the connection without a TLS ending.
    Drop(Vec<u8>),
    /// Sends these bytes and then nothing, for good.
    Hang(Vec<u8>),
}

/// Starts a scripted server; every connection takes up the script where the last one left it.
pub async fn scripted(authority: &Authority, script: Vec<Act>) -> Scripted {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(authority.server());
    let connections = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&connections);
    let doubts = Arc::new(AtomicU64::new(0));
    let doubted = Arc::clone(&doubts);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut script = script.into_iter();
        let mut kept = Vec::new();
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            while let Some(head) = read_request(&mut stream).await {
                if head.lines().next().is_some_and(|line| line.contains("/doubts ")) {
                    doubted.fetch_add(1, Ordering::SeqCst);
                    write(&mut stream, b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").await;
                    continue;
                }
                match script.next() {
                    Some(Act::Send(bytes)) => write(&mut stream, &bytes).await,
                    Some(Act::Close(bytes)) => {
                        write(&mut stream, &bytes).await;
                        let _ = stream.shutdown().await;
                        break;
                    }
                    Some(Act::Drop(bytes)) => {
                        write(&mut stream, &bytes).await;
                        break;
                    }
                    Some(Act::Hang(bytes)) => {
                        write(&mut stream, &bytes).await;
                        kept.push(stream);
                        break;
                    }
                    None => std::future::pending().await,
                }
            }
        }
    });
    Scripted { address, connections, doubts, _tasks: tasks }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    // The client may have hung up already: that is what some tests are about.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

/// Reads a request with the length of its body, and returns its head in small letters; `None` when the connection ends.
async fn read_request(stream: &mut server::TlsStream<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return None,
        }
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |len| len.parse().unwrap());
    stream.read_exact(&mut vec![0; len]).await.ok().map(|_| head)
}

/// Passes bytes on between clients and `to`, and counts them in both directions.
pub async fn relay(to: SocketAddr) -> (SocketAddr, Arc<AtomicU64>, JoinSet<()>) {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&count);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut pipes = JoinSet::new();
        loop {
            let (near, _) = socket.accept().await.unwrap();
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = TcpStream::connect(to).await.unwrap().into_split();
            pipes.spawn(pipe(near_read, far_write, Arc::clone(&total)));
            pipes.spawn(pipe(far_read, near_write, Arc::clone(&total)));
        }
    });
    (address, count, tasks)
}

async fn pipe(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, count: Arc<AtomicU64>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(len as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..len]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
