//! The folder of a site server that was in contact with its hub, and agents of its site.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use consign_store::ingest::{Options, Progress, ingest};
use consign_store::manifest::Platforms;
use consign_store::{ManifestId, Store};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::domain::{CodebaseState, CollectionId, MachineId, Millis, PackageId, SiteId};
use crate::net::clock;
use crate::net::member::{self, Member, MemberConfig};
use crate::net::{Client, Meter};
use crate::protocol::fleet::{Endpoint, HubFallback, MachineInfo, PackageInfo, Resolution, SiteMap, SiteState, VersionInfo};
use crate::protocol::hello::Role;
use crate::site_server::error::Result;
use crate::site_server::folder::{RunInfo, write_json};
use crate::site_server::known::Stored;
use crate::trust::tuf::{self, OnlineKeys, Release, Repository};
use crate::trust::{Authority, Identity, PrivateKey, server_name, statement, tls};

pub const REVISION: u64 = 7;
pub const RECEIVED: Millis = Millis(1_700_000_000_000);
/// Ends a test that hangs; nothing is measured by it.
const HANG: Duration = Duration::from_mins(1);

pub struct Machine {
    id: MachineId,
    key: PrivateKey,
    identity: Identity,
}

/// A site server's folder and its fleet.
pub struct Place {
    pub dir: tempfile::TempDir,
    folder: PathBuf,
    pub id: MachineId,
    pub site: SiteId,
    pub manifest: ManifestId,
    pub timestamp: String,
    /// May read "given".
    pub reader: Machine,
    /// Is of the site and may read only what is open.
    pub other: Machine,
    /// Is no agent of the site.
    pub unknown: Machine,
    /// Is a site server.
    pub server: Machine,
    authority: Authority,
    fleet_key: PrivateKey,
    version: VersionInfo,
    given: PackageId,
    collection: CollectionId,
}

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, work).await.expect("it hangs")
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(PrivateKey::generate(), clock::now()).unwrap();
        let machine = |role| {
            let (id, key) = (MachineId(uuid::Uuid::now_v7()), PrivateKey::generate());
            let certificate = authority.issue_member(id, role, &key.public().to_spki(), clock::now()).unwrap();
            let identity = Identity::new(&certificate, authority.certificate(), &key).unwrap();
            (Machine { id, key, identity }, certificate)
        };
        let (me, certificate) = machine(Role::SiteServer);
        let given = PackageId(uuid::Uuid::now_v7());
        let folder = dir.path().join("site-server");
        fs::create_dir_all(folder.join("tuf")).unwrap();
        let version = publish(dir.path(), &folder);
        let mut place = Self {
            id: me.id,
            site: SiteId(uuid::Uuid::now_v7()),
            manifest: version.manifest.parse().unwrap(),
            timestamp: String::new(),
            reader: machine(Role::Agent).0,
            other: machine(Role::Agent).0,
            unknown: machine(Role::Agent).0,
            server: machine(Role::SiteServer).0,
            fleet_key: PrivateKey::generate(),
            collection: CollectionId(uuid::Uuid::now_v7()),
            dir,
            folder,
            authority,
            version,
            given,
        };
        place.write_member(&me, &certificate);
        place.release();
        place
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn member(&self) -> Member {
        Member::open(self.folder(), Role::SiteServer).unwrap()
    }

    fn write_member(&self, me: &Machine, certificate: &str) {
        let folder = self.folder();
        let config = MemberConfig {
            id: self.id,
            name: "ss1".parse().unwrap(),
            role: Role::SiteServer,
            site: self.site,
            // Nobody listens there.
            hub: vec!["127.0.0.1:1".to_owned()],
            listen: Some("127.0.0.1:0".to_owned()),
            address: None,
        };
        me.key.create_file(&folder.join(member::KEY_FILE)).unwrap();
        fs::write(folder.join(member::CERTIFICATE_FILE), certificate).unwrap();
        fs::write(folder.join(member::AUTHORITY_FILE), self.authority.certificate_pem()).unwrap();
        fs::write(folder.join(member::FLEET_KEY_FILE), self.fleet_key.public().to_hex()).unwrap();
        fs::write(folder.join(member::TRUST_ROOT_FILE), "unused: the trusted state is newer").unwrap();
        write_json(&folder.join(member::CONFIG_FILE), &config).unwrap();
    }

    /// Signs the release of "given" and keeps what a reader of the metadata keeps.
    fn release(&mut self) {
        let keys =
            OnlineKeys { targets: PrivateKey::generate(), snapshot: PrivateKey::generate(), timestamp: PrivateKey::generate() };
        let sha256 = {
            let store = Store::open(&self.folder().join("store")).unwrap();
            let file = consign_store::manifest::ManifestFile::extract(&store, self.manifest, &self.dir.path().join("m")).unwrap();
            file.sha256()
        };
        let release = Release {
            package: self.given,
            version: 1,
            manifest: self.manifest,
            length: self.version.manifest_len,
            sha256,
            label: None,
            released: clock::now(),
        };
        let repository = Repository::create(&PrivateKey::generate(), &keys, clock::now()).unwrap();
        let repository = repository.release(&keys, &[release], clock::now()).unwrap();
        let root = repository.root();
        let mut client = tuf::Client::new(root, &Sha256::digest(root).into()).unwrap();
        let files = repository.files();
        let mut update = client.update(clock::now());
        while let Some(request) = update.next_request() {
            update.accept(files.iter().find(|(name, _)| *name == request.file).map(|(_, bytes)| bytes.as_slice())).unwrap();
        }
        write_json(&self.folder().join("tuf/trusted.json"), &client.state()).unwrap();
        self.timestamp = repository.timestamp().to_owned();
    }

    /// What the hub said: "given" for the reader, "open" for all, which nothing has released.
    pub fn stored(&self, expires: Millis) -> Stored {
        let hub = Endpoint { id: None, address: "127.0.0.1:1".to_owned() };
        let map = SiteMap {
            site: self.site,
            site_name: "here".parse().unwrap(),
            servers: Vec::new(),
            hub,
            hub_fallback: HubFallback::Never,
        };
        let key = &self.fleet_key;
        let site_map = statement::sign("site-map", &format!("site:{}", self.site), REVISION, expires, &map, key).unwrap();
        let package = |id, name: &str, open, version, readers| PackageInfo {
            id,
            name: name.parse().unwrap(),
            open,
            versions: vec![version],
            readers,
            note: None,
        };
        let unreleased = VersionInfo { manifest: ManifestId([9; 32]).to_string(), ..self.version.clone() };
        let info = |machine: &Machine, collections| MachineInfo {
            id: machine.id,
            key: hex::encode(machine.key.public().fingerprint()),
            collections,
        };
        let state = SiteState {
            revision: REVISION,
            site_map,
            packages: vec![
                package(self.given, "given", false, self.version.clone(), vec![self.collection]),
                package(PackageId(uuid::Uuid::from_u128(1)), "open", true, unreleased, Vec::new()),
            ],
            machines: vec![info(&self.reader, vec![self.collection]), info(&self.other, Vec::new())],
        };
        let audience = format!("machine:{}", self.id);
        let signed = statement::sign("site-state", &audience, REVISION, expires, &state, key).unwrap();
        Stored { received: RECEIVED, signed }
    }

    /// Starts the site server with a state that is valid until `expires`.
    pub async fn run(&self, expires: Millis) -> Running {
        write_json(&self.folder().join("state.json"), &self.stored(expires)).unwrap();
        let (started, about) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let dir = self.folder().to_path_buf();
        let task = tokio::spawn(async move {
            let ready = |about: &RunInfo| started.send(about.clone()).unwrap();
            crate::site_server::run(&dir, &crate::site_server::RunOptions::default(), ready, async { drop(stopped.await) }).await
        });
        let about = within(about).await.expect("it starts");
        let authority = self.authority.certificate_pem().to_owned();
        Running { about, id: self.id, authority, stop, task }
    }
}

/// Puts one file into the site server's store, as if it had been fetched.
fn publish(dir: &Path, folder: &Path) -> VersionInfo {
    let source = dir.join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let store = Store::open(&folder.join("store")).unwrap();
    let options = Options {
        workers: 1,
        platforms: Platforms::default(),
        stat_cache: None,
        verify: false,
        now_unix_nanos: 0,
        progress: Arc::new(Progress::default()),
    };
    let made = ingest(&store, &source, &options).unwrap();
    VersionInfo {
        version: 1,
        label: None,
        manifest: made.manifest.to_string(),
        manifest_len: made.manifest_len,
        bytes: made.bytes,
        files: made.files,
        released: clock::now(),
    }
}

/// A running site server.
pub struct Running {
    about: RunInfo,
    id: MachineId,
    authority: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Running {
    pub fn client(&self, machine: &Machine) -> Client {
        let authority = crate::trust::AuthorityCertificate::from_pem(&self.authority).unwrap();
        self.client_with(tls::member_client_config(&machine.identity, &authority).unwrap())
    }

    /// A client without a certificate.
    pub fn nobody(&self) -> Client {
        let authority = crate::trust::AuthorityCertificate::from_pem(&self.authority).unwrap();
        self.client_with(tls::admin_client_config(&authority).unwrap())
    }

    fn client_with(&self, config: Arc<rustls::ClientConfig>) -> Client {
        Client::new(&self.about.address, &server_name(self.id), config, Arc::new(Meter::default())).unwrap()
    }

    /// Asks for a package until it is ready here.
    pub async fn resolved(&self, client: &Client, package: &str) -> Resolution {
        self.until(client, package, |resolution| resolution.state == CodebaseState::Ready).await
    }

    /// Asks for a package until `reached`.
    pub async fn until(&self, client: &Client, package: &str, reached: impl Fn(&Resolution) -> bool) -> Resolution {
        within(async {
            loop {
                let resolution: Resolution = client.get_json(&format!("/v1/packages/{package}")).await.unwrap();
                if reached(&resolution) {
                    return resolution;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        within(self.task).await.unwrap().unwrap();
    }
}
