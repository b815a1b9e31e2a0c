//! A store with records of known sizes, served by the product's own listener and, for this bench alone, without TLS; and the same answers as
//! files for nginx.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use consign::domain::Millis;
use consign::net::data_plane::{Access, BoxFuture, DataPlane, Limits, Version, routes};
use consign::net::repoll::Repoll;
use consign::net::{Listener, Peer, listener};
use consign::protocol::fleet::VERSIONS_PATH;
use consign::trust::authority::Authority;
use consign::trust::keys::PrivateKey;
use consign::trust::tls::{Identity, server_config};
use consign_store::chunk::record::encode;
use consign_store::chunk::{ChunkKind, VerifiedChunk, cut};
use consign_store::ingest::{Options, Progress, ingest};
use consign_store::manifest::{Layout, Platforms};
use consign_store::{ManifestId, Store};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Runtime;

use crate::{Result, load};

/// What the store is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One open pack.
    Open,
    /// One sealed pack.
    Sealed,
    /// One sealed pack, with records of which nothing is in memory; made at the first start, found at the next.
    Cold,
}

/// A kind of answer: `count` different ones of `bytes` of records each.
pub struct Size {
    /// Its name on the command line and in paths.
    pub name: &'static str,
    bytes: usize,
    count: u64,
}

/// What is asked for. Together larger than the processor's caches.
pub const SIZES: [Size; 2] = [Size { name: "64k", bytes: 64 << 10, count: 1024 }, Size { name: "1m", bytes: 1 << 20, count: 64 }];
/// What is asked for once, while none of it is in memory.
const COLD: Size = Size { name: "cold", bytes: 1 << 20, count: 256 };

/// One record is about to be asked for: which size, and its chunks.
struct Record {
    size: &'static str,
    ordinals: Range<u32>,
}

/// A server that runs until this is dropped.
pub struct World {
    dir: PathBuf,
    mode: Mode,
    address: SocketAddr,
    /// Without TLS.
    plain: SocketAddr,
    records: Vec<Record>,
    runtime: Runtime,
}

/// Everybody may read everything: rights are not what is measured.
struct Open;

impl Access for Open {
    fn may_read<'a>(&'a self, _peer: &'a Peer, _manifest: ManifestId) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(true))
    }

    fn doubted(&self, _manifest: ManifestId) -> bool {
        true
    }
}

impl Mode {
    fn sizes(self) -> impl Iterator<Item = &'static Size> {
        let cold = (self == Self::Cold).then_some(&COLD);
        SIZES.iter().chain(cold)
    }
}

impl World {
    /// Fills the folder `dir` and starts serving it.
    pub fn start(dir: &Path, mode: Mode) -> Result<Self> {
        let manifest = if dir.join("manifest").exists() { None } else { Some(fill(dir, mode)?) };
        if let Some(manifest) = manifest {
            fs::write(dir.join("path"), format!("{VERSIONS_PATH}/{manifest}/chunks"))?;
            fs::write(dir.join("manifest"), manifest.to_string())?;
        }
        let manifest = fs::read_to_string(dir.join("manifest"))?.parse().map_err(|_| "not a manifest's id")?;
        let store = Store::open(&dir.join("store"))?;
        // As the roles make theirs.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let plane = Arc::new(DataPlane::new(store, dir.join("tables"), Arc::new(Open), Limits::default()));
        let version = runtime.block_on(plane.versions().open(manifest))?;
        if mode == Mode::Cold {
            // What is mapped would stay: nothing has been read of the packs since the start.
            evict(&dir.join("store/packs"))?;
        }
        let router = Router::new().merge(routes(plane));
        let tls = certificates(dir)?;
        let listener = runtime.block_on(Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), tls, listener::Limits::default()))?;
        let address = listener.local_addr();
        runtime.spawn(listener.serve(router.clone(), std::future::pending()));
        let socket = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let plain = socket.local_addr()?;
        runtime.spawn(serve_plain(socket, router));
        Ok(Self { dir: dir.to_owned(), mode, address, plain, records: records(&version, mode)?, runtime })
    }

    /// Writes what the load needs; the file `ready` comes last. The answers, as the server gave them, become files for nginx.
    pub fn announce(&self) -> Result<()> {
        let line = |record: &Record| format!("{} {} {}\n", record.size, record.ordinals.start, record.ordinals.end);
        fs::write(self.dir.join("requests"), self.records.iter().map(line).collect::<String>())?;
        fs::write(self.dir.join("plain-address"), self.plain.to_string())?;
        fs::write(self.dir.join("address"), self.address.to_string())?;
        for size in self.mode.sizes().filter(|size| !self.dir.join(size.name).exists()) {
            fs::create_dir(self.dir.join(size.name))?;
            load::Target::new(&self.dir, "consign", size.name)?.save(&self.dir.join(size.name), size.bytes)?;
        }
        Ok(fs::write(self.dir.join("ready"), "")?)
    }

    /// Serves until the process is killed.
    pub fn wait(&self) -> ! {
        self.runtime.block_on(std::future::pending())
    }
}

/// Serves `router` without TLS, over hyper as the listener sets it: the product has no such thing.
async fn serve_plain(socket: tokio::net::TcpListener, router: Router) {
    while let Ok((stream, address)) = socket.accept().await {
        let router = router.clone().layer(Extension(Peer { address, key: None }));
        tokio::spawn(async move {
            let http = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .max_buf_size(listener::Limits::default().head_bytes_max)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            // A client that goes away ends its connection.
            let _ = Repoll::new(http).await;
        });
    }
}

/// Drops what the system keeps in memory of the files in `dir`.
pub fn evict(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let file = fs::File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Makes files of noise, and stores each as one record.
fn fill(dir: &Path, mode: Mode) -> Result<ManifestId> {
    let source = dir.join("source");
    for folder in [&source, &dir.join("tables")] {
        fs::create_dir_all(folder)?;
    }
    let store = Store::open(&dir.join("store"))?;
    for size in mode.sizes() {
        for number in 0..size.count {
            let mut raw = vec![0; size.bytes];
            blake3::Hasher::new().update(size.name.as_bytes()).update(&number.to_le_bytes()).finalize_xof().fill(&mut raw);
            fs::write(source.join(format!("{}-{number:04}.bin", size.name)), &raw)?;
            let raw = Bytes::from(raw);
            let chunks: Vec<_> = cut::cut(&raw).map(|range| VerifiedChunk::hash(ChunkKind::Content, raw.slice(range))).collect();
            store.append_encoded(encode(ChunkKind::Content, &chunks, 3)?)?;
        }
    }
    let manifest = put(&store, &source)?;
    if mode != Mode::Open {
        store.seal()?;
    }
    fs::remove_dir_all(source)?;
    Ok(manifest)
}

fn put(store: &Store, source: &Path) -> Result<ManifestId> {
    let options = Options {
        workers: 0,
        platforms: Platforms::default(),
        stat_cache: None,
        verify: true,
        now_unix_nanos: 0,
        progress: Arc::new(Progress::default()),
    };
    Ok(ingest(store, source, &options)?.manifest)
}

fn records(version: &Version, mode: Mode) -> Result<Vec<Record>> {
    let layout = Layout::of(&version.manifest)?;
    let placed = layout.files().filter_map(|placed| {
        let path = version.manifest.path_of(placed.entry);
        let size = mode.sizes().find(|size| path.split('-').next() == Some(size.name))?;
        Some(Record { size: size.name, ordinals: placed.ordinals() })
    });
    Ok(placed.collect())
}

/// Makes an authority and a hub's certificate, and writes them for nginx and the load.
fn certificates(dir: &Path) -> Result<Arc<rustls::ServerConfig>> {
    let now = Millis(i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?);
    let authority = Authority::create(PrivateKey::generate(), now)?;
    let key = PrivateKey::generate();
    let certificate = authority.issue_hub(key.public(), now)?;
    fs::write(dir.join("authority.pem"), authority.certificate_pem())?;
    fs::write(dir.join("chain.pem"), format!("{certificate}\n{}", authority.certificate_pem()))?;
    fs::write(dir.join("key.pem"), plain_pem(&key)?)?;
    Ok(server_config(&Identity::new(&certificate, authority.certificate(), &key)?, authority.certificate())?)
}

/// Writes a key without its public half: OpenSSL reads only the first version of PKCS#8.
fn plain_pem(key: &PrivateKey) -> Result<String> {
    const BEFORE_SEED: &[u8] = &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = key.to_pkcs8();
    let der = der.secret_pkcs8_der();
    let seed = der.get(BEFORE_SEED.len()..BEFORE_SEED.len() + 32).filter(|_| der[5..16] == BEFORE_SEED[5..]);
    let plain = [BEFORE_SEED, seed.ok_or("the key is not laid out as expected")?].concat();
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(plain)))
}
