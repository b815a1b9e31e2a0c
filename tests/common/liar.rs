//! A site server that lies: it has the key and certificate of a real one, passes on what that one answers, and changes it as it is told.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use consign::net::member::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, Member};
use consign::protocol::hello::Role;
use consign::trust::authority::{AuthorityCertificate, server_name};
use consign::trust::keys::PrivateKey;
use consign::trust::tls::{Identity, member_client_config};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::fleet::member_id;

/// What is said instead of an answer's body.
pub type Lie = fn(&[u8]) -> Vec<u8>;

#[derive(Debug, Default)]
struct Shared {
    /// The folder of the site server whose identity it has, and where that one listens.
    server: (PathBuf, String),
    /// The folder of the agent as which it asks.
    agent: Mutex<PathBuf>,
    /// A part of the path that is lied about, and the lie.
    lie: Mutex<Option<(&'static str, Lie)>>,
    told: AtomicU64,
}

/// The liar; it lives as long as the test process.
#[derive(Debug)]
pub struct Liar {
    address: String,
    shared: Arc<Shared>,
}

impl Liar {
    /// Stands in front of the site server with this folder (which may come later) and address; truthful until it is told to lie.
    pub fn before(dir: &Path, listen: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        listener.set_nonblocking(true).expect("set");
        let shared = Arc::new(Shared { server: (dir.to_owned(), listen.to_owned()), ..Shared::default() });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a reactor");
            runtime.block_on(serving.serve(listener));
        });
        Self { address, shared }
    }

    /// Where agents are told to connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks as the agent in `dir` from now on.
    pub fn ask_as(&self, dir: &Path) {
        dir.clone_into(&mut self.shared.agent.lock().expect("whole"));
    }

    /// Lies from now on about every answer whose path contains `part`.
    pub fn lie(&self, part: &'static str, lie: Lie) {
        *self.shared.lie.lock().expect("whole") = Some((part, lie));
    }

    /// Tells the truth from now on; returns how many lies were told so far.
    pub fn repent(&self) -> u64 {
        *self.shared.lie.lock().expect("whole") = None;
        self.shared.told.load(Ordering::SeqCst)
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).expect("a listener");
        while let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                let member = Member::open(&shared.server.0, Role::SiteServer).expect("joined");
                let acceptor = TlsAcceptor::from(member.server_config().expect("usable"));
                // Whoever hangs up has hung up.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(move |request| Arc::clone(&shared).answer(request));
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    }

    /// Asks the real server, on a connection of its own for each request.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> hyper::Result<Response<UnsyncBoxBody<Bytes, hyper::Error>>> {
        let path = request.uri().path().to_owned();
        let tls = TlsConnector::from(self.identity());
        let name = ServerName::try_from(server_name(member_id(&self.server.0))).expect("a name");
        let stream = TcpStream::connect(&self.server.1).await.expect("connected");
        let stream = tls.connect(name, stream).await.expect("accepted");
        let (mut asking, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response = asking.send_request(request).await?;
        let lie = self.lie.lock().expect("whole").filter(|(part, _)| path.contains(part) && response.status().is_success());
        let Some((_, lie)) = lie else { return Ok(response.map(BodyExt::boxed_unsync)) };
        self.told.fetch_add(1, Ordering::SeqCst);
        let (mut head, body) = response.into_parts();
        let said = lie(&body.collect().await?.to_bytes());
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(said.len()));
        Ok(Response::from_parts(head, Full::new(said.into()).map_err(|never| match never {}).boxed_unsync()))
    }

    fn identity(&self) -> Arc<rustls::ClientConfig> {
        let dir = self.agent.lock().expect("whole").clone();
        let text = |name| std::fs::read_to_string(dir.join(name)).expect("an agent's file");
        let authority = AuthorityCertificate::from_pem(&text(AUTHORITY_FILE)).expect("an authority");
        let key = PrivateKey::read_file(&dir.join(KEY_FILE)).expect("a key");
        let identity = Identity::new(&text(CERTIFICATE_FILE), &authority, &key).expect("an identity");
        member_client_config(&identity, &authority).expect("usable")
    }
}
