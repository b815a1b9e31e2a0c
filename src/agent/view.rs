//! What an agent shows of itself: on the control socket, in `status`, with `--json`.

use serde::{Deserialize, Serialize};

use crate::domain::{MachineId, Millis, Name, PackageId};
use crate::protocol::fleet::VersionInfo;
use crate::protocol::report::{Cost, InstallState, Traffic};

/// A package on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageView {
    /// The package.
    pub package: PackageId,
    /// Its name.
    pub name: Name,
    /// Where it is or goes.
    pub dest: String,
    /// How far it is.
    pub state: InstallState,
    /// The version in place.
    pub installed: Option<VersionInfo>,
    /// The version under way, or waited for.
    pub wanted: Option<VersionInfo>,
    /// Raw bytes that have arrived of those that must.
    pub done_bytes: u64,
    /// Raw bytes that must arrive.
    pub total_bytes: u64,
    /// Where content comes or came from, `host:port`.
    pub source: Option<String>,
    /// Why it waits or failed.
    pub reason: Option<String>,
    /// What will change that.
    pub changes_when: Option<String>,
    /// Since when it is in this state.
    pub since: Millis,
    /// When it is tried again, if nothing happens before.
    pub next_attempt: Option<Millis>,
    /// What the version in place cost.
    pub cost: Option<Cost>,
    /// Trying again is of no use before a person has changed something; with the code of the problem.
    #[serde(default)]
    pub blocked: Option<String>,
    /// What the version under way has cost so far.
    #[serde(default)]
    pub progress: Option<ProgressView>,
    /// What the install under way may cost, bytes on the wire.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// What went otherwise than planned.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What all versions so far have cost.
    #[serde(default)]
    pub totals: Traffic,
}

/// What a version under way has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProgressView {
    /// Bytes of all response bodies.
    pub wire_bytes: u64,
    /// Raw bytes taken from what this machine has.
    pub reused_bytes: u64,
    /// Raw bytes made by patches.
    pub patched_bytes: u64,
    /// Raw bytes written: these, and what has come as records.
    pub written_bytes: u64,
}

/// The connection to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionView {
    /// `host:port` of the server, connected to or tried last.
    pub server: Option<String>,
    /// Its id; none for the hub.
    pub server_id: Option<MachineId>,
    /// Why this server.
    pub choice: String,
    /// Its events arrive.
    pub connected: bool,
    /// Since when it is so.
    pub since: Millis,
    /// Why there is no connection.
    pub reason: Option<String>,
    /// When the next try begins.
    pub next_attempt: Option<Millis>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
    /// Its id.
    pub machine: MachineId,
    /// Its name.
    pub name: Name,
    /// Its site's name.
    pub site: Name,
    /// The process that runs; none if what is on disk is shown.
    pub pid: Option<u32>,
    /// Until when the site map is believed.
    pub site_map_expires: Millis,
    /// The connection; none if it does not run.
    pub connection: Option<ConnectionView>,
    /// Its packages by name.
    pub packages: Vec<PackageView>,
}

/// How an install ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledView {
    /// The package.
    pub package: PackageId,
    /// Its name.
    pub name: Name,
    /// The version's number.
    pub version: u32,
    /// The publisher's label.
    pub label: Option<String>,
    /// Its manifest, `b3:…`.
    pub manifest: String,
    /// Where it is.
    pub dest: String,
    /// Where content came from, `host:port`; none if nothing had to be fetched.
    pub source: Option<String>,
    /// It was there already and only verified.
    pub already: bool,
    /// What it cost.
    pub cost: Cost,
    /// Bytes on the wire that a full download would have cost more.
    #[serde(default)]
    pub saved_bytes: u64,
    /// What went otherwise than planned.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What an install would bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// The package.
    pub package: PackageId,
    /// Its name.
    pub name: Name,
    /// The version's number.
    pub version: u32,
    /// Where it would go.
    pub dest: String,
    /// Where content would come from, `host:port`.
    pub source: String,
    /// Files of the version.
    pub files: u64,
    /// Raw bytes of the version.
    pub total_bytes: u64,
    /// Of these: in place already.
    pub kept_bytes: u64,
    /// Of these: taken from what this machine has.
    pub reused_bytes: u64,
    /// Of these: made by patches.
    #[serde(default)]
    pub patched_bytes: u64,
    /// Of these: to be fetched as records, repeated content once.
    pub fetched_bytes: u64,
    /// What would travel for a machine that has nothing, bytes.
    pub full_wire_bytes: u64,
    /// What would travel without patches, bytes.
    pub chunk_wire_bytes: u64,
    /// What would travel, bytes.
    pub planned_wire_bytes: u64,
    /// All of it by kind.
    pub parts: Vec<PlanPart>,
    /// How far the patches are.
    pub patches: PatchesView,
    /// What it may cost at most, bytes on the wire.
    pub max_bytes: Option<u64>,
}

/// One kind of what an install consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPart {
    /// `kept`, `local`, `patch`, `records`, `metadata`.
    pub kind: String,
    /// Files.
    pub files: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
    /// What travels for them, bytes.
    pub wire_bytes: u64,
}

/// How far the patches for an install are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PatchesView {
    /// They are counted in the plan as far as they pay.
    Ready {
        /// How many there are.
        offered: u64,
        /// How many are taken.
        taken: u64,
    },
    /// They are under construction, and not counted in the plan.
    Building {
        /// When they should be done.
        until: Millis,
        /// The install would wait for them.
        waits: bool,
    },
    /// There are none.
    None {
        /// Why.
        reason: String,
    },
}
