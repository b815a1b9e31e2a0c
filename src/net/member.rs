//! The folder of a member of the fleet: who this machine is and whom it trusts; the same for site servers and agents.
//!
//! ```text
//! DIR/            0700
//!   lock          held by the process that runs as this member
//!   joining.json  {id}: made before the first contact, so that a repeated join is the same machine; removed when joined
//!   key.pem       0600, made together with the id
//!   cert.pem  authority.pem  root.json  fleet.key   what the hub answered, checked against the join string
//!   site-map.json the newest believed site map, as signed
//!   config.json   written last: a folder with it is a member, a folder without it is not
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_store::error::At as _;
use consign_store::fsx;
use rustls::{ClientConfig, ServerConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::{MachineId, Millis, Name, SiteId};
use crate::net::client::Client;
use crate::net::meter::Meter;
use crate::protocol::fleet::{Endpoint, SiteMap};
use crate::protocol::hello::Role;
use crate::protocol::signed::{Signed, Statement};
use crate::trust::{self, AuthorityCertificate, HUB_SERVER_NAME, Identity, PrivateKey, PublicKey, server_name, statement, tls};

/// Commit point of a join, see [`MemberConfig`].
pub const CONFIG_FILE: &str = "config.json";
/// The member's private key.
pub const KEY_FILE: &str = "key.pem";
/// The member's certificate.
pub const CERTIFICATE_FILE: &str = "cert.pem";
/// The fleet's certificate authority.
pub const AUTHORITY_FILE: &str = "authority.pem";
/// TUF root metadata, version 1.
pub const TRUST_ROOT_FILE: &str = "root.json";
/// The key that signs what the hub says, hexadecimal.
pub const FLEET_KEY_FILE: &str = "fleet.key";
/// The newest believed site map.
pub const SITE_MAP_FILE: &str = "site-map.json";
/// The kind of the signed statement that carries a [`SiteMap`].
pub const SITE_MAP_KIND: &str = "site-map";
/// Longest file of a member folder, bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Who a member is; what `config.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberConfig {
    /// Its id.
    pub id: MachineId,
    /// What people call it.
    pub name: Name,
    /// Its role.
    pub role: Role,
    /// Its site when it joined.
    pub site: SiteId,
    /// The hub's addresses, `host:port`, the one that answered first.
    pub hub: Vec<String>,
    /// Where a site server listens, `host:port`.
    #[serde(default)]
    pub listen: Option<String>,
    /// How others reach a site server, `host:port`.
    #[serde(default)]
    pub address: Option<String>,
}

/// A member folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder is no member's.
    #[error("{} has not joined a fleet; run `consign {} join {0}` with a join string first", dir.display(), role.word())]
    NotJoined {
        /// The folder.
        dir: PathBuf,
        /// The role asked for.
        role: Role,
    },
    /// The folder belongs to a member of another role or fleet.
    #[error("{} belongs to {owner}; use another folder", dir.display())]
    Other {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// The hub's answer is not what the join string promised; nothing was changed.
    #[error("the hub's answer is refused: {0}; ask for a new join string with `consign machine invite`")]
    Refused(String),
    /// A file of the folder is not what was written there.
    #[error("{} is damaged ({why}); restore the folder from a backup, or remove it and join again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Keys, certificates or signatures.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// The hub could not be asked, or refused.
    #[error(transparent)]
    Net(#[from] crate::net::Error),
    /// Files of this machine.
    #[error(transparent)]
    Store(#[from] consign_store::Error),
}

/// The result of an operation on a member folder.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An opened member folder: identity, trust, and the way to others.
#[derive(Debug)]
pub struct Member {
    dir: PathBuf,
    config: MemberConfig,
    key: PrivateKey,
    identity: Identity,
    authority: AuthorityCertificate,
    client_config: Arc<ClientConfig>,
    fleet_key: PublicKey,
    trust_root: Vec<u8>,
}

impl Member {
    /// Opens the folder of a member with `role`; takes no lock (see [`consign_store::fsx::lock`]).
    ///
    /// # Errors
    /// Not joined, another role's, damaged, or I/O.
    pub fn open(dir: &Path, role: Role) -> Result<Self> {
        let config = read_config(dir)?.ok_or_else(|| Error::NotJoined { dir: dir.to_path_buf(), role })?;
        if config.role != role {
            return Err(other(dir, &config));
        }
        let key = PrivateKey::read_file(&dir.join(KEY_FILE))?;
        let unusable = |file| move |error: trust::Error| Error::Damaged { path: dir.join(file), why: error.to_string() };
        let authority = read_text(&dir.join(AUTHORITY_FILE))?;
        let authority = AuthorityCertificate::from_pem(&authority).map_err(unusable(AUTHORITY_FILE))?;
        let certificate = read_text(&dir.join(CERTIFICATE_FILE))?;
        let identity = Identity::new(&certificate, &authority, &key).map_err(unusable(CERTIFICATE_FILE))?;
        let client_config = tls::member_client_config(&identity, &authority)?;
        let fleet_key = read_text(&dir.join(FLEET_KEY_FILE))?;
        let fleet_key = PublicKey::from_hex(fleet_key.trim()).map_err(unusable(FLEET_KEY_FILE))?;
        let trust_root = read_bytes(&dir.join(TRUST_ROOT_FILE))?;
        Ok(Self { dir: dir.to_path_buf(), config, key, identity, authority, client_config, fleet_key, trust_root })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who this is.
    #[must_use]
    pub const fn config(&self) -> &MemberConfig {
        &self.config
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> MachineId {
        self.config.id
    }

    /// The key that signs what this member says.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The key that signs what the hub says.
    #[must_use]
    pub const fn fleet_key(&self) -> &PublicKey {
        &self.fleet_key
    }

    /// TUF root metadata of version 1, the first thing that is trusted.
    #[must_use]
    pub fn trust_root(&self) -> &[u8] {
        &self.trust_root
    }

    /// Builds the TLS settings of this member's listener.
    ///
    /// # Errors
    /// The certificate or the authority cannot be used.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>> {
        Ok(tls::server_config(&self.identity, &self.authority)?)
    }

    /// Builds a client of `endpoint` that shows this member's certificate and counts into `meter`; connects when first used.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn client(&self, endpoint: &Endpoint, meter: Arc<Meter>) -> Result<Client> {
        let name = endpoint.id.map_or_else(|| HUB_SERVER_NAME.to_owned(), server_name);
        Ok(Client::new(&endpoint.address, &name, Arc::clone(&self.client_config), meter)?)
    }

    /// The hub's endpoints as they were when this member joined.
    #[must_use]
    pub fn hub_endpoints(&self) -> Vec<Endpoint> {
        self.config.hub.iter().map(|address| Endpoint { id: None, address: address.clone() }).collect()
    }

    /// Reads the newest believed site map, also when it has expired: then it is good only for finding whom to ask for a newer one.
    ///
    /// # Errors
    /// Damaged, or I/O.
    pub fn site_map(&self) -> Result<Statement<SiteMap>> {
        let signed: Signed = read_json(&self.dir.join(SITE_MAP_FILE))?;
        self.verify_site_map(&signed, Millis(i64::MIN), 0)
    }

    /// Verifies a received site map and keeps it, durable on return; the same one again is not written again.
    ///
    /// # Errors
    /// Not signed by the fleet's key, for another site, expired at `now`, older than the one believed, or I/O.
    pub fn accept_site_map(&self, signed: &Signed, now: Millis) -> Result<Statement<SiteMap>> {
        let known = self.site_map()?;
        let statement = self.verify_site_map(signed, now, known.sequence)?;
        if statement != known {
            fsx::write_durable(&self.dir.join(SITE_MAP_FILE), &json(signed))?;
        }
        Ok(statement)
    }

    fn verify_site_map(&self, signed: &Signed, now: Millis, floor: u64) -> Result<Statement<SiteMap>> {
        let audience = site_audience(self.config.site);
        Ok(statement::verify(signed, &self.fleet_key, SITE_MAP_KIND, &audience, now, floor)?)
    }
}

/// The audience of statements for every machine of a site.
#[must_use]
pub fn site_audience(site: SiteId) -> String {
    format!("site:{site}")
}

/// Reads who the folder's member is; `None` if it has not joined.
///
/// # Errors
/// Damaged, or I/O.
pub fn read_config(dir: &Path) -> Result<Option<MemberConfig>> {
    let path = dir.join(CONFIG_FILE);
    if path.try_exists().at("look for", &path)? { read_json(&path).map(Some) } else { Ok(None) }
}

pub(super) fn other(dir: &Path, config: &MemberConfig) -> Error {
    Error::Other { dir: dir.to_path_buf(), owner: format!("the {} {} ({})", config.role.word(), config.name, config.id) }
}

pub(super) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs of texts and numbers always have a JSON form")
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_bytes(path)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Damaged { path: path.to_path_buf(), why: e.to_string() })
}

fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|_| Error::Damaged { path: path.to_path_buf(), why: "it is no text".to_owned() })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let len = fs::metadata(path).at("read", path)?.len();
    if len > FILE_BYTES_MAX {
        return Err(Error::Damaged { path: path.to_path_buf(), why: format!("it is longer than {FILE_BYTES_MAX} bytes") });
    }
    Ok(fs::read(path).at("read", path)?)
}
