//! What an agent reports: its full state, signed by itself, relayed by site servers; idempotent.

use serde::{Deserialize, Serialize};

use crate::domain::{MachineId, Millis, PackageId};

/// `POST` a [`super::signed::Signed`] of kind `report`, audience `hub`. At hub and site server.
pub const REPORTS_PATH: &str = "/v1/reports";

/// An agent's packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// Who.
    pub machine: MachineId,
    /// All packages it has or is working on.
    pub installs: Vec<InstallReport>,
}

/// How far an install is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallState {
    /// No codebase yet.
    Waiting,
    /// Content is arriving.
    Fetching,
    /// Verified content is being put in place.
    Switching,
    /// In place, verified.
    Installed,
    /// The last try failed; the previous version, if any, is still in place.
    Failed,
    /// A state that a newer Consign knows.
    #[serde(other)]
    Unknown,
}

/// One package of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallReport {
    /// Which package.
    pub package: PackageId,
    /// The version in question.
    pub version: u32,
    /// Its manifest, `b3:…`.
    pub manifest: String,
    /// How far.
    pub state: InstallState,
    /// Why it waits or failed, for people.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when.
    pub since: Millis,
    /// When it is tried again.
    #[serde(default)]
    pub next_attempt: Option<Millis>,
    /// What it cost, once installed.
    #[serde(default)]
    pub cost: Option<Cost>,
}

/// What bringing one version here cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Every byte of every response body received for the version, from announcement to verified.
    pub wire_bytes: u64,
    /// Every byte at this machine's sockets for it, both directions, TLS included.
    pub socket_bytes: u64,
    /// Of `wire_bytes`: metadata and manifest.
    pub metadata_bytes: u64,
    /// Of `wire_bytes`: patches, recipes and chunks.
    pub content_bytes: u64,
    /// Raw bytes of the version's files.
    pub total_bytes: u64,
    /// Raw bytes that were in place already.
    pub kept_bytes: u64,
    /// Raw bytes taken from what the machine had.
    pub reused_bytes: u64,
    /// Raw bytes made by patches from what the machine had.
    #[serde(default)]
    pub patched_bytes: u64,
    /// Raw bytes that came over the wire as records.
    pub fetched_bytes: u64,
    /// From the decision to install to verified and in place, milliseconds.
    pub millis: u64,
}
