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
    /// What went otherwise than planned, for people, such as a patch that was useless.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What all versions of the package together have cost this machine: rises only, so that reports may be lost or repeated.
    #[serde(default)]
    pub totals: Option<Traffic>,
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
    /// Raw bytes written to this machine's disk: all but those in place.
    #[serde(default)]
    pub written_bytes: u64,
    /// What content of a full download would have cost on the wire; 0 if no server said.
    #[serde(default)]
    pub full_wire_bytes: u64,
    /// From the decision to install to verified and in place, milliseconds.
    pub millis: u64,
}

impl Cost {
    /// Bytes on the wire that a full download would have cost more.
    #[must_use]
    pub const fn saved_bytes(&self) -> u64 {
        self.full_wire_bytes.saturating_sub(self.content_bytes)
    }
}

/// What bringing versions cost, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Versions that were put in place.
    pub installs: u64,
    /// Bytes of all response bodies for them.
    pub wire_bytes: u64,
    /// Bytes on the wire that full downloads would have cost more.
    pub saved_bytes: u64,
    /// Raw bytes taken from what machines had.
    pub reused_bytes: u64,
    /// Raw bytes made by patches.
    pub patched_bytes: u64,
    /// Raw bytes that came as records.
    pub fetched_bytes: u64,
    /// Raw bytes written to machines' disks.
    pub written_bytes: u64,
}

impl Traffic {
    /// What one install adds.
    #[must_use]
    pub const fn of(cost: &Cost) -> Self {
        Self {
            installs: 1,
            wire_bytes: cost.wire_bytes,
            saved_bytes: cost.saved_bytes(),
            reused_bytes: cost.reused_bytes,
            patched_bytes: cost.patched_bytes,
            fetched_bytes: cost.fetched_bytes,
            written_bytes: cost.written_bytes,
        }
    }

    /// Sums up two; what is beyond counting stays at the most that can be counted.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            installs: self.installs.saturating_add(other.installs),
            wire_bytes: self.wire_bytes.saturating_add(other.wire_bytes),
            saved_bytes: self.saved_bytes.saturating_add(other.saved_bytes),
            reused_bytes: self.reused_bytes.saturating_add(other.reused_bytes),
            patched_bytes: self.patched_bytes.saturating_add(other.patched_bytes),
            fetched_bytes: self.fetched_bytes.saturating_add(other.fetched_bytes),
            written_bytes: self.written_bytes.saturating_add(other.written_bytes),
        }
    }

    /// What was added since `earlier`: nothing when it was told before, all of it when the machine has begun anew.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        if self.installs < earlier.installs {
            return *self;
        }
        Self {
            installs: self.installs - earlier.installs,
            wire_bytes: self.wire_bytes.saturating_sub(earlier.wire_bytes),
            saved_bytes: self.saved_bytes.saturating_sub(earlier.saved_bytes),
            reused_bytes: self.reused_bytes.saturating_sub(earlier.reused_bytes),
            patched_bytes: self.patched_bytes.saturating_sub(earlier.patched_bytes),
            fetched_bytes: self.fetched_bytes.saturating_sub(earlier.fetched_bytes),
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}
