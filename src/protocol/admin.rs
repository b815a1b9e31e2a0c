//! Between an admin's command line and the hub's admin listener. Every request carries `Authorization: Bearer …`; writes may carry
//! `Idempotency-Key`; every answer is JSON.

use serde::{Deserialize, Serialize};

use crate::domain::{CodebaseState, CollectionId, MachineId, Millis, Name, PackageId, PolicyId, SiteId};
use crate::protocol::fleet::{HubFallback, VersionInfo};
use crate::protocol::hello::Role;
use crate::protocol::report::{InstallReport, Traffic};
use crate::protocol::upkeep::UpkeepView;

/// `POST` [`PackageAdd`] → [`PackageView`]; `GET` → list of [`PackageView`]; `GET /{name or id}` → [`PackageView`];
/// `POST /{name or id}/refresh` [`RefreshRequest`] → [`PackageView`].
pub const PACKAGES_PATH: &str = "/v1/admin/packages";
/// `POST` [`RefreshRequest`] → list of [`PackageView`].
pub const REFRESH_ALL_PATH: &str = "/v1/admin/refresh-all";
/// `POST` [`SiteAdd`] → [`SiteView`]; `GET` → list of [`SiteView`]; `GET /{name or id}` → [`SiteView`].
pub const SITES_PATH: &str = "/v1/admin/sites";
/// `POST` [`SubnetAdd`] → [`SiteView`].
pub const SUBNETS_PATH: &str = "/v1/admin/subnets";
/// `POST` [`Invite`] → [`Invited`].
pub const INVITES_PATH: &str = "/v1/admin/invites";
/// `GET` → list of [`MachineView`].
pub const MACHINES_PATH: &str = "/v1/admin/machines";
/// `POST` [`CollectionAdd`] → [`CollectionView`]; `GET` → list of [`CollectionView`].
pub const COLLECTIONS_PATH: &str = "/v1/admin/collections";
/// `POST` [`PolicyAdd`] → [`PolicyView`]; `GET` → list of [`PolicyView`].
pub const POLICIES_PATH: &str = "/v1/admin/policies";
/// `GET` → [`HubStatus`].
pub const STATUS_PATH: &str = "/v1/admin/status";

/// Adds a package.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PackageAdd {
    /// Made by the creator.
    pub id: PackageId,
    /// What people call it.
    pub name: Name,
    /// Absolute path of the source folder as the hub sees it.
    pub source: String,
    /// Anyone of the fleet may read it.
    #[serde(default)]
    pub open: bool,
    /// Systems it is for (`linux`, `windows`, `macos`); all when empty.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// The publisher's label of the first version.
    #[serde(default)]
    pub label: Option<String>,
}

/// Refreshes a package or all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RefreshRequest {
    /// Read every byte, not only what changed by size, times and inode.
    #[serde(default)]
    pub verify: bool,
    /// The publisher's label if a new version results.
    #[serde(default)]
    pub label: Option<String>,
}

/// What the hub is doing with a package's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refresh", rename_all = "snake_case")]
pub enum RefreshState {
    /// Nothing; the last refresh ended well.
    Idle,
    /// In line behind others.
    Queued {
        /// Since when.
        since: Millis,
        /// How many are before it.
        position: u64,
    },
    /// Being read, cut, hashed, stored.
    Hashing {
        /// Bytes done.
        done_bytes: u64,
        /// Bytes found so far.
        total_bytes: u64,
        /// Files done.
        done_files: u64,
        /// Files found so far.
        total_files: u64,
    },
    /// The last refresh failed; the last good version stands.
    Failed {
        /// Why, naming the file.
        reason: String,
        /// When it failed.
        at: Millis,
    },
    /// A state that a newer Consign knows.
    #[serde(other)]
    Unknown,
}

/// A package as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageView {
    /// Its id.
    pub id: PackageId,
    /// Its name.
    pub name: Name,
    /// Its source folder.
    pub source: String,
    /// Anyone of the fleet may read it.
    pub open: bool,
    /// Systems it is for.
    pub platforms: Vec<String>,
    /// What the hub is doing with it.
    #[serde(flatten)]
    pub refresh: RefreshState,
    /// Counts the refreshes that ended, well or not: a waiter knows its own by it.
    pub refreshes_ended: u64,
    /// When the last refresh ended, what it found: `released version 2`, `unchanged`.
    pub last_refresh: Option<RefreshOutcome>,
    /// Released versions, ascending.
    pub versions: Vec<VersionInfo>,
    /// Codebases of the current version, one a site server.
    pub codebases: Vec<CodebaseView>,
    /// Machines that reported it, by state.
    pub installs: Vec<MachineInstall>,
    /// Things an admin should know, such as a reused name.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// How a refresh ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshOutcome {
    /// When it started.
    pub started: Millis,
    /// When it ended.
    pub ended: Millis,
    /// The version it released; `None` if nothing changed or it failed.
    pub released: Option<u32>,
    /// Files read, not taken from the stat cache.
    pub files_read: u64,
    /// Bytes added to the packs.
    pub new_stored_bytes: u64,
}

/// A codebase as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodebaseView {
    /// Which site server.
    pub server: MachineId,
    /// Its name.
    pub server_name: Name,
    /// Its site.
    pub site: Name,
    /// Which version.
    pub version: u32,
    /// How far.
    #[serde(flatten)]
    pub state: CodebaseState,
    /// When the state was last reported.
    pub reported: Millis,
}

/// An install as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineInstall {
    /// Which machine.
    pub machine: MachineId,
    /// Its name.
    pub machine_name: Name,
    /// What it reported.
    #[serde(flatten)]
    pub install: InstallReport,
    /// When it was reported.
    pub reported: Millis,
}

/// Adds a site.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SiteAdd {
    /// Made by the creator.
    pub id: SiteId,
    /// What people call it.
    pub name: Name,
    /// When its agents may fetch from the hub.
    pub hub_fallback: HubFallback,
}

/// Adds a subnet to a site.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SubnetAdd {
    /// `10.1.0.0/16`.
    pub cidr: ipnet::IpNet,
    /// Name or id of the site.
    pub site: String,
}

/// A site as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteView {
    /// Its id.
    pub id: SiteId,
    /// Its name.
    pub name: Name,
    /// Its subnets.
    pub subnets: Vec<ipnet::IpNet>,
    /// When its agents may fetch from the hub.
    pub hub_fallback: HubFallback,
    /// Its site servers.
    pub servers: Vec<Name>,
    /// How many agents it has.
    pub agents: u64,
    /// What its agents' installs have cost, and saved against full downloads; rises only.
    #[serde(default)]
    pub traffic: Traffic,
    /// Things an admin should know, such as subnets that overlap.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Asks for a join string.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invite {
    /// As what machines may join with it.
    pub role: Role,
    /// Name or id of the site; by subnet when absent.
    #[serde(default)]
    pub site: Option<String>,
    /// How many machines may use it: 1 to 100,000.
    pub uses: u32,
    /// For how long, seconds: up to 90 days.
    pub valid_secs: u32,
}

/// A join string.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invited {
    /// To be given to `agent join` or `site-server join`; a secret.
    pub join: String,
    /// When it ends.
    pub expires: Millis,
    /// How many machines may use it.
    pub uses: u32,
}

/// A machine as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// Its id.
    pub id: MachineId,
    /// Its name.
    pub name: Name,
    /// Its role.
    pub role: Role,
    /// Its site.
    pub site: Name,
    /// A site server's address.
    pub address: Option<String>,
    /// When it joined.
    pub joined: Millis,
    /// When it was last heard of.
    pub seen: Millis,
    /// It has an event stream to the hub now.
    pub connected: bool,
}

/// Adds a collection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CollectionAdd {
    /// Made by the creator.
    pub id: CollectionId,
    /// What people call it.
    pub name: Name,
    /// Names or ids of its machines.
    pub machines: Vec<String>,
}

/// A collection as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionView {
    /// Its id.
    pub id: CollectionId,
    /// Its name; `all machines` is built in.
    pub name: Name,
    /// Its machines' names.
    pub machines: Vec<Name>,
}

/// Adds a policy: machines of a collection may (and later: shall) have a package.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyAdd {
    /// Made by the creator.
    pub id: PolicyId,
    /// What people call it.
    pub name: Name,
    /// Name or id of the package.
    pub package: String,
    /// Name or id of the collection.
    pub collection: String,
}

/// A policy as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: Name,
    /// Its package.
    pub package: Name,
    /// Its collection.
    pub collection: Name,
}

/// The hub at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubStatus {
    /// Program version.
    pub version: String,
    /// Where site servers and agents connect, `host:port`.
    pub address: String,
    /// Where admins connect, `host:port`.
    pub admin_address: String,
    /// Since when it runs.
    pub started: Millis,
    /// Packages, machines by role, sites.
    pub packages: u64,
    /// Agents.
    pub agents: u64,
    /// Site servers.
    pub site_servers: u64,
    /// Sites.
    pub sites: u64,
    /// Revision of the fleet's state.
    pub revision: u64,
    /// Everything that waits: queues with depth and oldest item, timers with their end.
    pub waits: Vec<Wait>,
    /// What installs have cost, a site; sites without any are left out.
    #[serde(default)]
    pub traffic: Vec<SiteTraffic>,
    /// How the store is looked after.
    #[serde(default)]
    pub upkeep: Option<UpkeepView>,
    /// Anonymous resident memory now, bytes, where the system tells.
    pub memory_bytes: Option<u64>,
}

/// What a site's installs have cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteTraffic {
    /// The site.
    pub site: Name,
    /// Sums since its first install.
    #[serde(flatten)]
    pub totals: Traffic,
}

/// Something that waits, with the reason and the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What waits.
    pub what: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Option<Millis>,
    /// Until when at the latest.
    pub until: Option<Millis>,
    /// How many items.
    pub depth: u64,
}
