//! What the hub signs: statements to the fleet, and certificates of new members.

use serde::Serialize;

use super::error::Result;
use super::folder::Folder;
use crate::domain::{MachineId, Millis, SiteId};
use crate::protocol::fleet::{SiteMap, SiteState};
use crate::protocol::hello::Role;
use crate::protocol::signed::Signed;
use crate::trust::tuf::OnlineKeys;
use crate::trust::{Authority, Identity, PrivateKey, statement};

/// How long a site goes on without word from the hub, seconds: three days, a long weekend.
const STATEMENT_SECS: i64 = 3 * 24 * 3600;

/// The hub's keys in use; the trust root's is not among them.
pub(super) struct Signing {
    fleet: PrivateKey,
    authority: Authority,
    /// Signs releases.
    pub online: OnlineKeys,
}

impl Signing {
    /// Reads the keys of a hub's folder, and the identity it listens with.
    pub fn open(folder: &Folder) -> Result<(Self, Identity)> {
        let authority = Authority::open(folder.read_key("authority")?, &folder.read("authority.pem")?)?;
        let identity = Identity::new(&folder.read("hub.pem")?, authority.certificate(), &folder.read_key("hub")?)?;
        let online = OnlineKeys {
            targets: folder.read_key("targets")?,
            snapshot: folder.read_key("snapshot")?,
            timestamp: folder.read_key("timestamp")?,
        };
        Ok((Self { fleet: folder.read_key("fleet")?, authority, online }, identity))
    }

    /// The fleet's certificate authority.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The key that statements are checked with, hexadecimal.
    pub fn fleet_key(&self) -> String {
        self.fleet.public().to_hex()
    }

    /// Certifies a machine's key.
    pub fn issue(&self, id: MachineId, role: Role, spki: &[u8], now: Millis) -> Result<String> {
        Ok(self.authority.issue_member(id, role, spki, now)?)
    }

    /// Signs which servers serve a site.
    pub fn site_map(&self, site: SiteId, map: &SiteMap, revision: u64, now: Millis) -> Result<Signed> {
        self.sign("site-map", &format!("site:{site}"), revision, map, now)
    }

    /// Signs what a site server needs to know.
    pub fn site_state(&self, server: MachineId, state: &SiteState, now: Millis) -> Result<Signed> {
        self.sign("site-state", &format!("machine:{server}"), state.revision, state, now)
    }

    fn sign<T: Serialize>(&self, kind: &str, audience: &str, sequence: u64, body: &T, now: Millis) -> Result<Signed> {
        Ok(statement::sign(kind, audience, sequence, now.plus_secs(STATEMENT_SECS), body, &self.fleet)?)
    }
}
