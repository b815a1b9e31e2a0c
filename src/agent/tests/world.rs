//! A fleet small enough for a test: a hub that only enrols, two site servers that can misbehave, real TLS, a real agent folder.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use bytes::Bytes;
use consign_store::ingest::{Options, Progress, ingest};
use consign_store::manifest::Platforms;
use consign_store::{ManifestId, Store};
use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::agent::control::Reply;
use crate::agent::{Agent, Error, InstallRequest, servers};
use crate::domain::{CodebaseState, MachineId, PackageId, SiteId};
use crate::net::clock;
use crate::net::data_plane::{self, Access, BoxFuture, DataPlane};
use crate::net::enrol::{self, JoinRequest, Joined};
use crate::net::event_stream::{Feed, respond};
use crate::net::task::Task;
use crate::net::{Listener, Peer, listener};
use crate::policy::Terms;
use crate::protocol::enrol::{ENROL_PATH, EnrolRequest, EnrolResponse};
use crate::protocol::events::{EVENTS_PATH, Event};
use crate::protocol::fleet::{Endpoint, HubFallback, PACKAGES_PATH, Resolution, SITE_MAP_PATH, SiteMap, TUF_PATH, VersionInfo};
use crate::protocol::hello::{HELLO_PATH, Hello, ProtocolRange, Role};
use crate::protocol::patches::PatchAnswer;
use crate::protocol::problem::Problem;
use crate::protocol::report::REPORTS_PATH;
use crate::protocol::signed::Signed;
use crate::trust::tuf::{OnlineKeys, Release, Repository};
use crate::trust::{Authority, Identity, JoinString, PrivateKey, Token, statement, tls};

/// Ends a test that hangs; nothing is measured by it.
const HANG: Duration = Duration::from_mins(1);

/// How a server misbehaves when chunks are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    None,
    /// Changes the byte at this place of the answer.
    FlipAt(usize),
    /// Breaks the connection after this many bytes.
    CutAfter(usize),
    /// Has nothing to offer yet.
    NotReady,
}

/// What all servers know.
pub struct Fleet {
    pub version: Mutex<Option<VersionInfo>>,
    pub package: PackageId,
    files: Mutex<HashMap<String, Bytes>>,
    pub feed: Feed<Event>,
    pub map: Mutex<Option<Signed>>,
    pub reports: Mutex<Vec<Signed>>,
}

pub struct Server {
    pub endpoint: Endpoint,
    pub mischief: Mutex<Mischief>,
    /// Bytes of chunk answers.
    pub chunk_bytes: AtomicU64,
    /// Requests for a manifest.
    pub manifests: AtomicU64,
    /// What it says of patches, instead of building any.
    pub patches: Mutex<Option<PatchAnswer>>,
    fleet: Arc<Fleet>,
}

pub struct World {
    pub dir: TempDir,
    pub fleet: Arc<Fleet>,
    pub servers: Vec<Arc<Server>>,
    pub hub_refuses: Arc<Mutex<bool>>,
    pub join: JoinString,
    fleet_key: PrivateKey,
    keys: OnlineKeys,
    repository: Mutex<Repository>,
    store: Store,
    site: SiteId,
    _tasks: Vec<Task>,
}

struct Everybody;

impl Access for Everybody {
    fn may_read<'a>(&'a self, _peer: &'a Peer, _manifest: ManifestId) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }

    fn doubted(&self, _manifest: ManifestId) -> bool {
        true
    }
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl World {
    /// Two site servers, a package with one version, and an agent that has joined.
    pub async fn new() -> Self {
        let world = Self::unjoined().await;
        world.join().await.unwrap();
        world
    }

    pub async fn unjoined() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        std::fs::create_dir_all(source.join("lib")).unwrap();
        for number in 0..100 {
            std::fs::write(source.join(format!("lib/{number}.txt")), noise(number, 2000)).unwrap();
        }
        std::fs::write(source.join("big.bin"), noise(1000, 5_000_000)).unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let authority = Authority::create(PrivateKey::generate(), clock::now()).unwrap();
        let keys =
            OnlineKeys { targets: PrivateKey::generate(), snapshot: PrivateKey::generate(), timestamp: PrivateKey::generate() };
        let repository = Repository::create(&PrivateKey::generate(), &keys, clock::now()).unwrap();
        let fleet = Arc::new(Fleet {
            version: Mutex::default(),
            package: PackageId(uuid::Uuid::now_v7()),
            files: Mutex::default(),
            feed: Feed::new(16),
            map: Mutex::default(),
            reports: Mutex::default(),
        });
        let (fleet_key, site) = (PrivateKey::generate(), SiteId(uuid::Uuid::now_v7()));
        let mut tasks = Vec::new();
        let mut servers = Vec::new();
        for number in 0..2 {
            let tables = dir.path().join(format!("tables-{number}"));
            std::fs::create_dir(&tables).unwrap();
            let plane = Arc::new(DataPlane::new(store.clone(), tables, Arc::new(Everybody), data_plane::Limits::default()));
            let id = MachineId(uuid::Uuid::now_v7());
            let key = PrivateKey::generate();
            let certificate = authority.issue_member(id, Role::SiteServer, &key.public().to_spki(), clock::now()).unwrap();
            let listener = bind(&Identity::new(&certificate, authority.certificate(), &key).unwrap(), &authority).await;
            let server = Arc::new(Server {
                endpoint: Endpoint { id: Some(id), address: listener.local_addr().to_string() },
                mischief: Mutex::new(Mischief::None),
                chunk_bytes: AtomicU64::new(0),
                manifests: AtomicU64::new(0),
                patches: Mutex::default(),
                fleet: Arc::clone(&fleet),
            });
            let router =
                routes(&server).merge(data_plane::routes(plane)).layer(from_fn_with_state(Arc::clone(&server), misbehave));
            tasks.push(Task::spawn(listener.serve(router, std::future::pending())));
            servers.push(server);
        }
        let hub_refuses = Arc::new(Mutex::new(false));
        let hub = start_hub(authority, &fleet, site, &fleet_key, repository.root(), Arc::clone(&hub_refuses)).await;
        tasks.push(hub.2);
        let join = JoinString::new(vec![hub.0.address.clone()], Token::generate(), hub.1, sha256(repository.root())).unwrap();
        let repository = Mutex::new(repository);
        let world = Self { dir, fleet, servers, hub_refuses, join, fleet_key, keys, repository, store, site, _tasks: tasks };
        let map = SiteMap {
            site,
            site_name: "berlin".parse().unwrap(),
            servers: world.servers.iter().map(|server| server.endpoint.clone()).collect(),
            hub: hub.0,
            hub_fallback: HubFallback::Never,
        };
        world.sign_map(&map, 1);
        world.release(1);
        world
    }

    pub fn sign_map(&self, map: &SiteMap, sequence: u64) {
        let expires = clock::now().plus_secs(3600);
        let signed =
            statement::sign("site-map", &format!("site:{}", self.site), sequence, expires, map, &self.fleet_key).unwrap();
        *self.fleet.map.lock().unwrap() = Some(signed);
    }

    /// Releases the source folder as it is now, signed.
    pub fn release(&self, version: u32) {
        self.release_unsigned(version, true);
    }

    /// Releases the source folder as it is now; announces nothing.
    pub fn release_unsigned(&self, version: u32, signed: bool) {
        let options = Options {
            workers: 2,
            platforms: Platforms::default(),
            stat_cache: None,
            verify: true,
            now_unix_nanos: 0,
            progress: Arc::new(Progress::default()),
        };
        let ingested = ingest(&self.store, &self.source(), &options).unwrap();
        let release = Release {
            package: self.fleet.package,
            version,
            manifest: ingested.manifest,
            length: ingested.manifest_len,
            sha256: ingested.sha256,
            label: None,
            released: clock::now(),
        };
        let mut repository = self.repository.lock().unwrap();
        if signed {
            *repository = repository.release(&self.keys, &[release], clock::now()).unwrap();
        }
        let files = repository.files().into_iter().map(|(name, bytes)| (name, Bytes::from(bytes)));
        self.fleet.files.lock().unwrap().extend(files);
        *self.fleet.version.lock().unwrap() = Some(VersionInfo {
            version,
            label: None,
            manifest: ingested.manifest.to_string(),
            manifest_len: ingested.manifest_len,
            bytes: ingested.bytes,
            files: ingested.files,
            released: clock::now(),
        });
    }

    /// Says the same of patches at every server.
    pub fn say_of_patches(&self, answer: &PatchAnswer) {
        for server in &self.servers {
            *server.patches.lock().unwrap() = Some(answer.clone());
        }
    }

    /// Bytes of all chunk answers.
    pub fn chunk_bytes(&self) -> u64 {
        self.servers.iter().map(|server| server.chunk_bytes.load(Ordering::SeqCst)).sum()
    }

    /// Tells every follower of the version.
    pub fn announce(&self) {
        self.announce_as(CodebaseState::Ready);
    }

    /// Tells every follower how far a server is with the version.
    pub fn announce_as(&self, codebase: CodebaseState) {
        let version = self.fleet.version.lock().unwrap().as_ref().unwrap().version;
        self.fleet.feed.publish(Event::Package { package: self.fleet.package, version, codebase });
    }

    /// How often a manifest was sent.
    pub fn manifests_sent(&self) -> u64 {
        self.servers.iter().map(|server| server.manifests.load(Ordering::SeqCst)).sum()
    }

    pub fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub fn agent_dir(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    pub fn dest(&self) -> PathBuf {
        self.agent_dir().join("packages/tool")
    }

    pub async fn join(&self) -> Result<Joined, crate::net::member::Error> {
        let request = JoinRequest {
            role: Role::Agent,
            name: "desk".parse().unwrap(),
            capabilities: Vec::new(),
            listen: None,
            address: None,
        };
        within(enrol::join(&self.agent_dir(), &self.join, &request, clock::now())).await
    }

    /// The server that the agent prefers, and the other.
    pub fn by_preference(&self, agent: &Agent) -> (&Server, &Server) {
        let first = &servers::order(&agent.link().map.body, agent.member.id())[0];
        let place = self.servers.iter().position(|server| server.endpoint == *first).unwrap();
        (&self.servers[place], &self.servers[1 - place])
    }

    /// Asserts that the installed folder is the source folder.
    pub fn assert_same(&self) {
        assert_eq!(tree(&self.source()), tree(&self.dest()));
    }
}

/// Installs the package and returns all replies, the last one being how it ended.
pub async fn install(agent: &Arc<Agent>, package: &str, plan: bool) -> (Vec<Reply>, Result<(), Error>) {
    install_on(agent, package, plan, Terms::default()).await
}

/// As [`install`], on terms.
pub async fn install_on(agent: &Arc<Agent>, package: &str, plan: bool, terms: Terms) -> (Vec<Reply>, Result<(), Error>) {
    let (sender, mut replies) = mpsc::channel(1000);
    let request = InstallRequest { package: package.to_owned(), dest: None, plan, terms };
    let ended = within(agent.install(&request, &sender)).await;
    drop(sender);
    let mut all = Vec::new();
    while let Some(reply) = replies.recv().await {
        all.push(reply);
    }
    (all, ended)
}

/// Fails a test that hangs.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, work).await.expect("it hangs")
}

pub fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(root).unwrap().to_path_buf(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn sha256(text: &str) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).into()
}

async fn bind(identity: &Identity, authority: &Authority) -> Listener {
    let config = tls::server_config(identity, authority.certificate()).unwrap();
    Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), config, listener::Limits::default()).await.unwrap()
}

async fn start_hub(
    authority: Authority,
    fleet: &Arc<Fleet>,
    site: SiteId,
    fleet_key: &PrivateKey,
    root: &str,
    refuses: Arc<Mutex<bool>>,
) -> (Endpoint, [u8; 32], Task) {
    let key = PrivateKey::generate();
    let certificate = authority.issue_hub(key.public(), clock::now()).unwrap();
    let listener = bind(&Identity::new(&certificate, authority.certificate(), &key).unwrap(), &authority).await;
    let endpoint = Endpoint { id: None, address: listener.local_addr().to_string() };
    let digest = *authority.certificate().digest();
    let hub =
        Hub { authority, fleet: Arc::clone(fleet), site, fleet_key: fleet_key.public().to_hex(), root: root.to_owned(), refuses };
    let router = Router::new().route(ENROL_PATH, post(enrol_one)).with_state(Arc::new(hub));
    (endpoint, digest, Task::spawn(listener.serve(router, std::future::pending())))
}

struct Hub {
    authority: Authority,
    fleet: Arc<Fleet>,
    site: SiteId,
    fleet_key: String,
    root: String,
    refuses: Arc<Mutex<bool>>,
}

async fn enrol_one(State(hub): State<Arc<Hub>>, Json(request): Json<EnrolRequest>) -> Result<Json<EnrolResponse>, Problem> {
    if *hub.refuses.lock().unwrap() {
        return Err(Problem::new(403, "join_expired", "the join string expired"));
    }
    let spki = base64::engine::general_purpose::STANDARD.decode(&request.public_key).unwrap();
    Ok(Json(EnrolResponse {
        id: request.id,
        site: hub.site,
        certificate: hub.authority.issue_member(request.id, request.role, &spki, clock::now()).unwrap(),
        authority: hub.authority.certificate_pem().to_owned(),
        trust_root: hub.root.clone(),
        fleet_key: hub.fleet_key.clone(),
        site_map: hub.fleet.map.lock().unwrap().clone().unwrap(),
    }))
}

fn routes(server: &Arc<Server>) -> Router {
    let hello = |State(server): State<Arc<Server>>| async move {
        Json(Hello {
            protocol: ProtocolRange::OURS,
            role: Role::SiteServer,
            id: server.endpoint.id,
            version: "test".to_owned(),
            now: clock::now(),
        })
    };
    let map = |State(server): State<Arc<Server>>| async move { Json(server.fleet.map.lock().unwrap().clone().unwrap()) };
    let tuf = |State(server): State<Arc<Server>>, UrlPath(file): UrlPath<String>| async move {
        server.fleet.files.lock().unwrap().get(&file).cloned().ok_or_else(|| Problem::absent("no such metadata"))
    };
    let events = |State(server): State<Arc<Server>>| async move { respond(server.fleet.feed.subscribe(), || 1, Some) };
    let reports = |State(server): State<Arc<Server>>, Json(signed): Json<Signed>| async move {
        server.fleet.reports.lock().unwrap().push(signed);
        StatusCode::NO_CONTENT
    };
    Router::new()
        .route(HELLO_PATH, get(hello))
        .route(SITE_MAP_PATH, get(map))
        .route(&format!("{PACKAGES_PATH}/{{package}}"), get(resolve))
        .route(&format!("{TUF_PATH}/{{file}}"), get(tuf))
        .route(EVENTS_PATH, get(events))
        .route(REPORTS_PATH, post(reports))
        .with_state(Arc::clone(server))
}

async fn resolve(State(server): State<Arc<Server>>, UrlPath(package): UrlPath<String>) -> Result<Json<Resolution>, Problem> {
    if package != "tool" && package != server.fleet.package.to_string() {
        return Err(Problem::absent("no such package"));
    }
    let ready = *server.mischief.lock().unwrap() != Mischief::NotReady;
    Ok(Json(Resolution {
        package: server.fleet.package,
        name: "tool".parse().unwrap(),
        version: server.fleet.version.lock().unwrap().clone(),
        state: if ready { CodebaseState::Ready } else { CodebaseState::Assigned },
        codebases: if ready { vec![server.endpoint.clone()] } else { Vec::new() },
        reason: if ready { String::new() } else { "the site server has not fetched it yet".to_owned() },
        changes_when: if ready { String::new() } else { "it has".to_owned() },
    }))
}

/// Spoils answers with chunks, and counts them.
async fn misbehave(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let patches = server.patches.lock().unwrap().clone();
    if let Some(answer) = patches.filter(|_| path.contains("/patches/")) {
        // Whoever waits asks again and again; held back like a server's answer, only shorter.
        tokio::time::sleep(Duration::from_millis(20)).await;
        return Json(answer).into_response();
    }
    let response = next.run(request).await;
    if path.ends_with("/manifest") {
        server.manifests.fetch_add(1, Ordering::SeqCst);
    }
    if !path.ends_with("/chunks") {
        return response;
    }
    let mischief = *server.mischief.lock().unwrap();
    let (head, body) = response.into_parts();
    let mut at = 0;
    let spoiled = body.into_data_stream().map(move |piece| {
        let mut bytes = piece.map_err(std::io::Error::other)?.to_vec();
        let begin = at;
        at += bytes.len();
        match mischief {
            Mischief::FlipAt(place) if (begin..at).contains(&place) => bytes[place - begin] ^= 1,
            Mischief::CutAfter(limit) if at > limit => return Err(std::io::Error::other("cut off")),
            _ => {}
        }
        server.chunk_bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(bytes)
    });
    Response::from_parts(head, Body::from_stream(spoiled))
}
