//! What the hub has told this site server: the verified site state, indexed for the questions that agents ask.

use std::collections::HashMap;

use consign_store::ManifestId;
use serde::{Deserialize, Serialize};

use super::error::Result;
use crate::domain::{Millis, PackageId};
use crate::net::member::{Member, SITE_MAP_KIND, site_audience};
use crate::policy;
use crate::protocol::fleet::{MachineInfo, PackageInfo, SiteMap, SiteState};
use crate::protocol::signed::Signed;
use crate::trust::statement;

/// The kind of the statement that carries a [`SiteState`].
const SITE_STATE_KIND: &str = "site-state";

/// What `state.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    /// When the hub said it.
    pub received: Millis,
    /// What it said.
    pub signed: Signed,
}

/// A verified site state; never changed, only replaced.
#[derive(Debug)]
pub(super) struct Known {
    /// When the hub said it.
    pub received: Millis,
    /// Until when it may be relied on.
    pub expires: Millis,
    /// No older state is believed.
    pub sequence: u64,
    /// What it says.
    pub state: SiteState,
    /// The site map in it, verified.
    pub map: SiteMap,
    by_key: HashMap<[u8; 32], usize>,
    by_id: HashMap<PackageId, usize>,
    by_name: HashMap<String, usize>,
    by_manifest: HashMap<ManifestId, Vec<usize>>,
}

impl Known {
    /// Verifies what the hub said; `floor` is the sequence of the state that was believed before.
    ///
    /// # Errors
    /// Not the fleet's signature, for another machine, expired at `now`, older than what was believed.
    pub fn verify(stored: &Stored, member: &Member, now: Millis, floor: u64) -> Result<Self> {
        let audience = format!("machine:{}", member.id());
        let statement =
            statement::verify::<SiteState>(&stored.signed, member.fleet_key(), SITE_STATE_KIND, &audience, now, floor)?;
        let state = statement.body;
        let audience = site_audience(member.config().site);
        let map = statement::verify::<SiteMap>(&state.site_map, member.fleet_key(), SITE_MAP_KIND, &audience, now, 0)?.body;
        Ok(Self::index(stored.received, statement.expires, statement.sequence, state, map))
    }

    fn index(received: Millis, expires: Millis, sequence: u64, state: SiteState, map: SiteMap) -> Self {
        let mut by_manifest: HashMap<ManifestId, Vec<usize>> = HashMap::new();
        for (place, package) in state.packages.iter().enumerate() {
            for manifest in package.versions.iter().filter_map(|version| version.manifest.parse().ok()) {
                by_manifest.entry(manifest).or_default().push(place);
            }
        }
        let places = || state.packages.iter().enumerate();
        let by_id = places().map(|(place, package)| (package.id, place)).collect();
        let by_name = places().map(|(place, package)| (package.name.to_string(), place)).collect();
        let key = |(place, machine): (usize, &MachineInfo)| {
            let mut key = [0; 32];
            hex::decode_to_slice(&machine.key, &mut key).ok().map(|()| (key, place))
        };
        let by_key = state.machines.iter().enumerate().filter_map(key).collect();
        Self { received, expires, sequence, state, map, by_key, by_id, by_name, by_manifest }
    }

    /// The agent with this key.
    pub fn machine(&self, key: &[u8; 32]) -> Option<&MachineInfo> {
        self.by_key.get(key).map(|&place| &self.state.machines[place])
    }

    /// A package by its id or name, whoever asks.
    pub fn package(&self, name_or_id: &str) -> Option<&PackageInfo> {
        let by_id = name_or_id.parse().ok().and_then(|id: PackageId| self.by_id.get(&id));
        by_id.or_else(|| self.by_name.get(name_or_id)).map(|&place| &self.state.packages[place])
    }

    /// A package by its id, whoever asks.
    pub fn package_by_id(&self, id: PackageId) -> Option<&PackageInfo> {
        self.by_id.get(&id).map(|&place| &self.state.packages[place])
    }

    /// Says whether `machine` may read a package that has a version with `manifest`.
    pub fn may_read(&self, machine: &MachineInfo, manifest: &ManifestId) -> bool {
        let places = self.by_manifest.get(manifest);
        places.is_some_and(|places| places.iter().any(|&place| allowed(machine, &self.state.packages[place])))
    }

    /// Says whether rights or servers differ, so that every agent must ask anew.
    pub fn differs_for_all(&self, other: &Self) -> bool {
        let rights = |known: &Self| -> Vec<_> {
            known
                .state
                .packages
                .iter()
                .map(|package| (package.id, package.name.clone(), package.open, package.readers.clone()))
                .collect()
        };
        self.map != other.map || self.state.machines != other.state.machines || rights(self) != rights(other)
    }

    /// The packages whose current version is another than in `before`.
    pub fn new_versions<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = PackageId> + 'a {
        let current = |package: &PackageInfo| package.versions.last().map(|version| version.version);
        self.state.packages.iter().filter_map(move |package| {
            let same = before.package_by_id(package.id).is_some_and(|old| current(old) == current(package));
            (!same).then_some(package.id)
        })
    }
}

/// Says whether `machine` may read `package`.
pub(super) fn allowed(machine: &MachineInfo, package: &PackageInfo) -> bool {
    policy::may_read(&machine.collections, &package.readers, package.open)
}
