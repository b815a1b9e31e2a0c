//! The hub's folder: what lies where, and how it is made.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use consign_store::fsx;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::catalog::{Catalog, TufChange};
use crate::net::clock;
use crate::protocol::local::{ADMIN_FILE, AdminCredentials};
use crate::trust::tuf::{OnlineKeys, Repository};
use crate::trust::{Authority, PrivateKey};

/// What is chosen when a hub is made.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Where site servers and agents connect.
    pub listen: SocketAddr,
    /// Where admins connect.
    pub admin_listen: SocketAddr,
    /// `host:port` under which machines reach the hub; from `listen` when absent.
    pub address: Option<String>,
}

/// The hub's settings, `hub.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Config {
    /// Version of this file.
    pub format: u32,
    /// See [`InitOptions::listen`].
    pub listen: SocketAddr,
    /// See [`InitOptions::admin_listen`].
    pub admin_listen: SocketAddr,
    /// See [`InitOptions::address`].
    pub address: Option<String>,
}

/// Where a running hub listens.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    /// For machines, as they are told: `host:port`.
    pub fleet: String,
    /// For admins.
    pub admin: String,
}

/// A hub's folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    dir: PathBuf,
}

const FORMAT: u32 = 1;
const CONFIG_FILE: &str = "hub.json";

impl Folder {
    /// Takes an existing hub's folder.
    pub fn open(dir: &Path) -> Result<(Self, Config)> {
        let folder = Self { dir: dir.to_owned() };
        let path = folder.path(CONFIG_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(folder.refuse("is no hub's folder; make one with `consign hub init`"));
            }
            Err(source) => return Err(Error::Io { operation: "read", path, source }),
        };
        let config: Config =
            serde_json::from_str(&text).map_err(|error| folder.refuse(&format!("has a damaged {CONFIG_FILE}: {error}")))?;
        if config.format != FORMAT {
            return Err(folder.refuse(&format!("was made by another Consign (format {}); upgrade this one", config.format)));
        }
        Ok((folder, config))
    }

    fn refuse(&self, why: &str) -> Error {
        Error::Folder { path: self.dir.clone(), why: why.to_owned() }
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The catalog.
    pub fn catalog(&self) -> PathBuf {
        self.path("catalog.sqlite")
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Chunk tables of served versions; can be deleted at any time.
    pub fn tables(&self) -> PathBuf {
        self.path("tables")
    }

    /// Stat caches, one a package; can be deleted at any time.
    pub fn stat_caches(&self) -> PathBuf {
        self.path("stat")
    }

    /// A key file.
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.join("keys").join(format!("{name}.pem"))
    }

    /// Reads a key.
    pub fn read_key(&self, name: &str) -> Result<PrivateKey> {
        Ok(PrivateKey::read_file(&self.key(name))?)
    }

    /// Reads a text file of the folder.
    pub fn read(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).map_err(|source| Error::Io { operation: "read", path, source })
    }

    /// Makes a folder that only its owner may enter, if it is not there.
    pub fn make(path: &Path) -> Result<()> {
        let io = |source| Error::Io { operation: "create", path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(io)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io)
    }
}

/// Makes a hub in `dir`: keys, certificate authority, trust root, database and store. It appears by one rename, whole or not at all.
///
/// # Errors
/// The folder is not empty, or a file cannot be written.
pub fn init(dir: &Path, options: &InitOptions) -> Result<()> {
    let refuse = |why: &str| Error::Folder { path: dir.to_owned(), why: why.to_owned() };
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(refuse("is not empty; choose another folder, or start the hub that is there with `consign hub run`"));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(Error::Io { operation: "read", path: dir.to_owned(), source }),
    }
    let dir = std::path::absolute(dir).map_err(|source| Error::Io { operation: "find", path: dir.to_owned(), source })?;
    let parent = dir.parent().ok_or_else(|| refuse("cannot be a hub's folder"))?;
    fs::create_dir_all(parent).map_err(|source| Error::Io { operation: "create", path: parent.to_owned(), source })?;
    // Made beside its place: a kill in the middle leaves a hidden folder that nobody takes for a hub.
    let building = tempfile::Builder::new().prefix(".consign-hub-").tempdir_in(parent);
    let building = building.map_err(|source| Error::Io { operation: "create a folder in", path: parent.to_owned(), source })?;
    fill(&Folder { dir: building.path().to_owned() }, options)?;
    fs::rename(building.path(), &dir).map_err(|source| Error::Io {
        operation: "rename the new hub to",
        path: dir.clone(),
        source,
    })?;
    fsx::sync_dir(parent)?;
    Ok(())
}

fn fill(folder: &Folder, options: &InitOptions) -> Result<()> {
    let now = clock::now();
    Folder::make(&folder.dir)?;
    Folder::make(&folder.path("keys"))?;
    let create = |name: &str| -> Result<PrivateKey> {
        let key = PrivateKey::generate();
        key.create_file(&folder.key(name))?;
        Ok(key)
    };
    let root = create("root")?;
    let online = OnlineKeys { targets: create("targets")?, snapshot: create("snapshot")?, timestamp: create("timestamp")? };
    create("fleet")?;
    let hub = create("hub")?;
    let authority = Authority::create(create("authority")?, now)?;
    fsx::write_durable(&folder.path("authority.pem"), authority.certificate_pem().as_bytes())?;
    fsx::write_durable(&folder.path("hub.pem"), authority.issue_hub(hub.public(), now)?.as_bytes())?;

    let repository = Repository::create(&root, &online, now)?;
    let catalog = Catalog::create(&folder.catalog())?;
    let change = TufChange { based_on: 0, files: repository.files() };
    runtime(folder)?.block_on(catalog.put_tuf(change))?;
    drop(catalog);
    drop(consign_store::Store::open(&folder.store())?);

    let token = hex::encode(rand::rng().random::<[u8; 32]>());
    let admin =
        AdminCredentials { address: options.admin_listen.to_string(), authority: authority.certificate_pem().to_owned(), token };
    write_secret(&folder.path(ADMIN_FILE), &json(&admin))?;
    let config =
        Config { format: FORMAT, listen: options.listen, admin_listen: options.admin_listen, address: options.address.clone() };
    fsx::write_durable(&folder.path(CONFIG_FILE), &json(&config))?;
    Ok(())
}

/// The catalog's methods wait on a reactor; making a hub is not otherwise asynchronous.
fn runtime(folder: &Folder) -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Error::Io { operation: "start a reactor for", path: folder.dir.clone(), source })
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("plain structs serialize")
}

/// Writes a new file that only its owner can read.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let io = |source| Error::Io { operation: "write", path: path.to_owned(), source };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.sync_all().map_err(io)
}
