//! Joining a fleet: one authenticated exchange with the hub turns a folder into a member's folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consign_store::error::At as _;
use consign_store::fsx;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::{MachineId, Millis, Name};
use crate::net::client::Client;
use crate::net::member::{
    self, AUTHORITY_FILE, CERTIFICATE_FILE, CONFIG_FILE, Error, FLEET_KEY_FILE, KEY_FILE, MemberConfig, Result, SITE_MAP_FILE,
    SITE_MAP_KIND, TRUST_ROOT_FILE,
};
use crate::net::meter::Meter;
use crate::protocol::enrol::{ENROL_PATH, EnrolRequest, EnrolResponse};
use crate::protocol::fleet::SiteMap;
use crate::protocol::hello::{ProtocolRange, Role};
use crate::trust::{AuthorityCertificate, HUB_SERVER_NAME, Identity, JoinString, PrivateKey, PublicKey, statement, tls};

const JOINING_FILE: &str = "joining.json";

/// As what a machine joins.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// Its role.
    pub role: Role,
    /// What people will call it.
    pub name: Name,
    /// What it can do: named task and content types.
    pub capabilities: Vec<String>,
    /// Where a site server will listen, `host:port`.
    pub listen: Option<String>,
    /// How others reach a site server, `host:port`.
    pub address: Option<String>,
}

/// What a join came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Who this machine is now.
    pub config: MemberConfig,
    /// It was a member of this fleet before, and nothing was changed.
    pub already: bool,
}

/// What is durable before the first contact.
#[derive(Serialize, Deserialize)]
struct Joining {
    id: MachineId,
}

/// Makes `dir` the folder of a new member: id and key first, then the hub is asked, then its answer is checked against the join string and
/// written, `config.json` last.
///
/// Killed at any instant, the same call again is the same machine and spends no second use of the join string. A folder that has joined the
/// same fleet in the same role before is left as it is.
///
/// # Errors
/// The folder is another member's or in use, the hub cannot be reached, refuses (join string unknown, used up, expired, for another role),
/// or answers something else than the join string promises; or I/O.
pub async fn join(dir: &Path, join: &JoinString, request: &JoinRequest, now: Millis) -> Result<Joined> {
    fsx::create_dir_durable(dir)?;
    make_private(dir)?;
    let _lock = fsx::lock(dir)?;
    if let Some(config) = member::read_config(dir)? {
        return already_joined(dir, config, join, request);
    }
    let (id, key) = identity(dir)?;
    let (response, addresses) = ask(join, request, id, &key).await?;
    let checked = check(&response, join, id, &key, now)?;
    let config = MemberConfig {
        id,
        name: request.name.clone(),
        role: request.role,
        site: checked.site,
        hub: addresses,
        listen: request.listen.clone(),
        address: request.address.clone(),
    };
    for (file, bytes) in [
        (CERTIFICATE_FILE, response.certificate.as_bytes()),
        (AUTHORITY_FILE, response.authority.as_bytes()),
        (TRUST_ROOT_FILE, response.trust_root.as_bytes()),
        (FLEET_KEY_FILE, response.fleet_key.as_bytes()),
        (SITE_MAP_FILE, &member::json(&response.site_map)),
        (CONFIG_FILE, &member::json(&config)),
    ] {
        fsx::write_durable(&dir.join(file), bytes)?;
    }
    let joining = dir.join(JOINING_FILE);
    fs::remove_file(&joining).at("remove", &joining)?;
    Ok(Joined { config, already: false })
}

fn already_joined(dir: &Path, config: MemberConfig, join: &JoinString, request: &JoinRequest) -> Result<Joined> {
    let path = dir.join(TRUST_ROOT_FILE);
    let root = fs::read(&path).at("read", &path)?;
    let same_fleet = Sha256::digest(root).as_slice() == join.trust_root();
    if config.role == request.role && same_fleet {
        Ok(Joined { config, already: true })
    } else {
        Err(member::other(dir, &config))
    }
}

/// Makes this machine's id and key, or takes those of a try that was cut short.
fn identity(dir: &Path) -> Result<(MachineId, PrivateKey)> {
    let (joining, key) = (dir.join(JOINING_FILE), dir.join(KEY_FILE));
    if !joining.try_exists().at("look for", &joining)? {
        let id = MachineId(uuid::Uuid::now_v7());
        fsx::write_durable(&joining, &member::json(&Joining { id }))?;
    }
    if !key.try_exists().at("look for", &key)? {
        PrivateKey::generate().create_file(&key)?;
    }
    let Joining { id } = member::read_json(&joining)?;
    Ok((id, PrivateKey::read_file(&key)?))
}

/// Asks the hub at its addresses in turn; returns its answer, and the addresses with the one that answered in front.
async fn ask(join: &JoinString, request: &JoinRequest, id: MachineId, key: &PrivateKey) -> Result<(EnrolResponse, Vec<String>)> {
    let body = EnrolRequest {
        token: join.token().to_text().to_string(),
        id,
        role: request.role,
        name: request.name.clone(),
        public_key: STANDARD.encode(key.public().to_spki()),
        capabilities: request.capabilities.clone(),
        protocol: ProtocolRange::OURS,
        address: request.address.clone(),
    };
    let config = tls::first_contact_config(*join.authority())?;
    let mut failure = Error::Refused("the join string names no address".to_owned());
    for (place, address) in join.addresses().iter().enumerate() {
        let client = Client::new(address, HUB_SERVER_NAME, Arc::clone(&config), Arc::new(Meter::default()))?;
        match client.post_json::<_, EnrolResponse>(ENROL_PATH, &body).await {
            Ok(response) => {
                let mut addresses = join.addresses().to_vec();
                addresses[..=place].rotate_right(1);
                return Ok((response, addresses));
            }
            // Whoever showed the right certificate and refused is the hub: another of its addresses would say the same.
            Err(error) if error.problem().is_some() && !error.is_temporary() => return Err(error.into()),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

fn check(response: &EnrolResponse, join: &JoinString, id: MachineId, key: &PrivateKey, now: Millis) -> Result<SiteMap> {
    let refuse = |why: &str| Err(Error::Refused(why.to_owned()));
    let authority = AuthorityCertificate::from_pem(&response.authority)?;
    if authority.digest() != join.authority() {
        return refuse("it names another certificate authority than the join string");
    }
    if Sha256::digest(&response.trust_root).as_slice() != join.trust_root() {
        return refuse("it brings another trust root than the join string names");
    }
    if response.id != id {
        return refuse("it is for another machine");
    }
    Identity::new(&response.certificate, &authority, key)?;
    let fleet_key = PublicKey::from_hex(&response.fleet_key)?;
    let audience = member::site_audience(response.site);
    let map = statement::verify::<SiteMap>(&response.site_map, &fleet_key, SITE_MAP_KIND, &audience, now, 0)?.body;
    if map.site == response.site { Ok(map) } else { refuse("its site map is another site's") }
}

#[cfg(unix)]
fn make_private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).at("make private", dir)?)
}

#[cfg(not(unix))]
fn make_private(_dir: &Path) -> Result<()> {
    Ok(())
}
