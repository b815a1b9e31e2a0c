//! A store with records of known sizes, served by the product's own listener, and the same answers as files for nginx.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use consign::domain::Millis;
use consign::net::data_plane::{Access, BoxFuture, DataPlane, Limits, Version, routes};
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
use tokio::runtime::Runtime;

use crate::{Result, load};

/// A kind of answer: `count` different ones of `bytes` of records each.
pub struct Size {
    /// Its name on the command line and in paths.
    pub name: &'static str,
    bytes: usize,
    count: u64,
}

/// What is asked for. Together larger than the processor's caches.
pub const SIZES: [Size; 2] = [Size { name: "64k", bytes: 64 << 10, count: 1024 }, Size { name: "1m", bytes: 1 << 20, count: 64 }];

/// One record is about to be asked for: which size, and its chunks.
struct Record {
    size: &'static str,
    ordinals: Range<u32>,
}

/// A server that runs until this is dropped.
pub struct World {
    dir: PathBuf,
    address: SocketAddr,
    records: Vec<Record>,
    runtime: Runtime,
}

/// Everybody may read everything: rights are not what is measured.
struct Open;

impl Access for Open {
    fn may_read<'a>(&'a self, _peer: &'a Peer, _manifest: ManifestId) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(true))
    }
}

impl World {
    /// Fills the folder `dir` and starts serving it, from an open pack (positioned reads) or a sealed one (a map).
    pub fn start(dir: &Path, sealed: bool) -> Result<Self> {
        for folder in ["source", "tables"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        let store = Store::open(&dir.join("store"))?;
        for size in &SIZES {
            fill(&store, &dir.join("source"), size)?;
        }
        let manifest = put(&store, &dir.join("source"))?;
        if sealed {
            store.seal()?;
        }
        fs::write(dir.join("path"), format!("{VERSIONS_PATH}/{manifest}/chunks"))?;
        // As the roles make theirs.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let plane = Arc::new(DataPlane::new(store, dir.join("tables"), Arc::new(Open), Limits::default()));
        let version = runtime.block_on(plane.versions().open(manifest))?;
        let tls = certificates(dir)?;
        let listener = runtime.block_on(Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), tls, listener::Limits::default()))?;
        let address = listener.local_addr();
        runtime.spawn(listener.serve(Router::new().merge(routes(plane)), std::future::pending()));
        Ok(Self { dir: dir.to_owned(), address, records: records(&version)?, runtime })
    }

    /// Writes what the load needs; the file `address` comes last. The answers, as the server gave them, become files for nginx.
    pub fn announce(&self) -> Result<()> {
        let line = |record: &Record| format!("{} {} {}\n", record.size, record.ordinals.start, record.ordinals.end);
        fs::write(self.dir.join("requests"), self.records.iter().map(line).collect::<String>())?;
        fs::write(self.dir.join("address.part"), self.address.to_string())?;
        fs::rename(self.dir.join("address.part"), self.dir.join("address"))?;
        for size in &SIZES {
            fs::create_dir_all(self.dir.join(size.name))?;
            load::Target::new(&self.dir, "consign", size.name)?.save(&self.dir.join(size.name), size.bytes)?;
        }
        Ok(fs::write(self.dir.join("ready"), "")?)
    }

    /// Serves until the process is killed.
    pub fn wait(&self) -> ! {
        self.runtime.block_on(std::future::pending())
    }
}

/// Makes files of noise, and stores each as one record.
fn fill(store: &Store, source: &Path, size: &Size) -> Result<()> {
    for number in 0..size.count {
        let mut raw = vec![0; size.bytes];
        blake3::Hasher::new().update(size.name.as_bytes()).update(&number.to_le_bytes()).finalize_xof().fill(&mut raw);
        fs::write(source.join(format!("{}-{number:04}.bin", size.name)), &raw)?;
        let raw = Bytes::from(raw);
        let chunks: Vec<_> = cut::cut(&raw).map(|range| VerifiedChunk::hash(ChunkKind::Content, raw.slice(range))).collect();
        store.append_encoded(encode(ChunkKind::Content, &chunks, 3)?)?;
    }
    Ok(())
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

fn records(version: &Version) -> Result<Vec<Record>> {
    let layout = Layout::of(&version.manifest)?;
    let placed = layout.files().filter_map(|placed| {
        let path = version.manifest.path_of(placed.entry);
        let size = SIZES.iter().find(|size| path.split('-').next() == Some(size.name))?;
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
