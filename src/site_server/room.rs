//! Room for what is to be fetched: within the quota and on the disk; and what is given up for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use consign_store::{ManifestId, fsx};

use super::Core;
use super::codebases::Assigned;
use super::error::{Error, Result};
use crate::domain::{MachineId, PackageId};
use crate::net::blocking;
use crate::net::data_plane::DataPlane;
use crate::protocol::report::{AgentReport, InstallState};
use crate::protocol::signed::{Signed, Statement};

/// What the agents of the site have installed, as they reported it since this process runs: an update builds on it.
#[derive(Debug, Default)]
pub(super) struct Installed(Mutex<BTreeMap<MachineId, BTreeMap<PackageId, ManifestId>>>);

impl Installed {
    /// Learns from a report that `machine` itself has brought. While an update is on its way, what was installed before still is.
    pub fn learn(&self, machine: MachineId, report: &Signed) {
        let Ok(statement) = serde_json::from_str::<Statement<AgentReport>>(&report.payload) else { return };
        if statement.body.machine != machine {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(machine).or_default();
        known.retain(|package, _| statement.body.installs.iter().any(|install| install.package == *package));
        for install in statement.body.installs.iter().filter(|install| install.state == InstallState::Installed) {
            if let Ok(manifest) = install.manifest.parse() {
                known.insert(install.package, manifest);
            }
        }
    }

    /// The versions of `package` that agents have.
    pub fn of(&self, package: PackageId) -> BTreeSet<ManifestId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().filter_map(|installs| installs.get(&package).copied()).collect()
    }

    /// Says whether any agent has this version.
    pub fn has(&self, manifest: &ManifestId) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().any(|installs| installs.values().any(|installed| installed == manifest))
    }
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes in use: packs, and what lies beside the store.
    pub used_bytes: u64,
    /// Bytes left of the quota, where there is one.
    pub quota_left: Option<u64>,
    /// Bytes free on the disk, where the system tells.
    pub disk_left: Option<u64>,
}

impl Core {
    /// How much room there is now. Reads folders: blocking.
    pub fn room(&self, plane: &DataPlane) -> Result<Room> {
        let used_bytes = self.store.stats()?.stored_bytes + plane.beside_bytes();
        let quota_left = self.quota_bytes.map(|quota| quota.saturating_sub(used_bytes));
        Ok(Room { used_bytes, quota_left, disk_left: fsx::free_bytes(self.folder.dir())? })
    }

    /// Makes sure that `needed` bytes more fit before `version` is fetched.
    ///
    /// What does not fit is made to fit by giving up what nobody needs: superseded versions that no agent has, the oldest first, then patches
    /// that can be built again. Nothing is given up for a superseded version: that is itself given up.
    ///
    /// # Errors
    /// [`Error::NoRoom`] until there is room; [`Error::Dropped`] if the version is given up; I/O.
    pub async fn reserve(self: &Arc<Self>, plane: &Arc<DataPlane>, version: &Assigned, needed: u64) -> Result<()> {
        let (core, its_plane) = (Arc::clone(self), Arc::clone(plane));
        let room = blocking::run("looking for room", move || core.room(&its_plane)).await??;
        let by_quota = room.quota_left.is_some_and(|left| left < needed);
        let available = room.quota_left.into_iter().chain(room.disk_left).min().unwrap_or(u64::MAX);
        if available >= needed {
            return Ok(());
        }
        if !version.current {
            tracing::info!(needed, available, "no room for a superseded version");
            self.codebases.give_up(&version.manifest);
            return Err(Error::Dropped);
        }
        let way_out = if by_quota { "raise `--quota` of this site server" } else { "make room on the disk" };
        let next = if self.make_room(plane, needed - available) {
            format!("what nobody needs is being removed; if that is not enough, {way_out}")
        } else {
            format!("nothing can be given up: every other version is current or installed at an agent; {way_out}")
        };
        let of = match self.quota_bytes.filter(|_| by_quota) {
            Some(quota) => format!("of the quota of {quota} bytes"),
            None => format!("of space on the disk of {}", self.folder.dir().display()),
        };
        Err(Error::NoRoom { needed, available, of, next })
    }

    /// Gives up what nobody needs; says whether there was anything, or there is something dead still.
    fn make_room(&self, plane: &DataPlane, short_bytes: u64) -> bool {
        let (mut found, mut given_up) = (0, false);
        while found < short_bytes {
            let Some(version) = self.codebases.give_up_oldest(|manifest| self.installed.has(manifest)) else { break };
            tracing::info!(package = %version.name, version = version.info.version, "given up to make room");
            found += version.info.bytes;
            given_up = true;
        }
        // Patches go last: only when no version is left to be given up.
        given_up |= found < short_bytes && plane.patches().clear();
        let goes_on = given_up || self.upkeep.has_dead();
        if goes_on {
            self.upkeep.collect_urgently();
        }
        goes_on
    }
}
