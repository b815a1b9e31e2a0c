//! How far this site server is with each version that it shall hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use consign_store::ManifestId;
use tokio::sync::watch;

use crate::domain::{CodebaseState, Millis, Name, PackageId};
use crate::policy;
use crate::protocol::fleet::{SiteState, VersionInfo};

/// A version that this site server shall hold. The same manifest may be several versions'; then it is the newest of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assigned {
    /// Its manifest.
    pub manifest: ManifestId,
    /// The package.
    pub package: PackageId,
    /// The package's name.
    pub name: Name,
    /// The version.
    pub info: VersionInfo,
    /// It is its package's current version.
    pub current: bool,
    /// All packages that have a version with this manifest.
    pub packages: BTreeSet<PackageId>,
}

impl Assigned {
    /// What is worked on first is smallest: current versions, and the newest release of those.
    fn rank(&self) -> (bool, Reverse<Millis>) {
        (!self.current, Reverse(self.info.released))
    }
}

/// Collects what a site state assigns.
pub(super) fn assigned(state: &SiteState) -> BTreeMap<ManifestId, Assigned> {
    let mut all: BTreeMap<ManifestId, Assigned> = BTreeMap::new();
    for package in &state.packages {
        let last = package.versions.len().saturating_sub(1);
        for (place, info) in package.versions.iter().enumerate() {
            let Ok(manifest) = info.manifest.parse() else {
                tracing::warn!(package = %package.name, version = info.version, "the hub names a manifest that is no id");
                continue;
            };
            let mut new = Assigned {
                manifest,
                package: package.id,
                name: package.name.clone(),
                info: info.clone(),
                current: place == last,
                packages: BTreeSet::from([package.id]),
            };
            if let Some(old) = all.remove(&manifest) {
                new.packages.extend(&old.packages);
                if old.rank() < new.rank() {
                    new = Assigned { packages: new.packages, ..old };
                }
            }
            all.insert(manifest, new);
        }
    }
    all
}

/// Counters of changes: who waits for one remembers the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Changes {
    /// Every change.
    pub all: u64,
    /// Changes that others wait for: ready, failed.
    pub urgent: u64,
}

/// What there is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This, and it counts as running.
    Work(Assigned),
    /// Nothing before this time, if at all, or a change.
    Wait(Option<Millis>),
}

#[derive(Debug)]
struct Entry {
    assigned: Assigned,
    state: CodebaseState,
    failures: u32,
    running: bool,
}

/// The states of all versions that are assigned.
#[derive(Debug)]
pub(super) struct Codebases {
    entries: Mutex<BTreeMap<ManifestId, Entry>>,
    /// Superseded versions that were given up because there is no room for them.
    given_up: Mutex<BTreeSet<ManifestId>>,
    changes: watch::Sender<Changes>,
    /// Spreads the tries of many site servers.
    seed: u64,
}

impl Codebases {
    pub fn new(seed: u64) -> Self {
        Self { entries: Mutex::default(), given_up: Mutex::default(), changes: watch::Sender::default(), seed }
    }

    /// Holds exactly `wanted` from now on. If something is new, what failed is tried again at once. Says whether something went away.
    pub fn assign(&self, mut wanted: BTreeMap<ManifestId, Assigned>) -> bool {
        {
            let mut given_up = self.given_up();
            given_up.retain(|manifest| wanted.get(manifest).is_some_and(|version| !version.current));
            wanted.retain(|manifest, _| !given_up.contains(manifest));
        }
        let mut entries = self.entries();
        let before = entries.len();
        entries.retain(|manifest, _| wanted.contains_key(manifest));
        let some_gone = entries.len() < before;
        let mut any_new = false;
        for (manifest, assigned) in wanted {
            if let Some(entry) = entries.get_mut(&manifest) {
                entry.assigned = assigned;
            } else {
                any_new = true;
                entries.insert(manifest, Entry { assigned, state: CodebaseState::Assigned, failures: 0, running: false });
            }
        }
        if any_new {
            forgive(&mut entries);
        }
        drop(entries);
        self.changed(false);
        some_gone
    }

    /// Tries again at once what failed.
    pub fn retry_now(&self) {
        forgive(&mut self.entries());
        self.changed(false);
    }

    /// Takes the next version to work on, at `now`.
    pub fn next(&self, now: Millis) -> Next {
        let mut entries = self.entries();
        let due = |entry: &Entry| match &entry.state {
            CodebaseState::Assigned => Some(Millis::default()),
            CodebaseState::Failed { next_attempt, .. } => Some(*next_attempt),
            _ => None,
        };
        let open = || entries.values().filter(|entry| !entry.running).filter_map(|entry| Some((due(entry)?, &entry.assigned)));
        let best = open().filter(|(at, _)| *at <= now).min_by_key(|(_, assigned)| assigned.rank());
        let Some((_, best)) = best else { return Next::Wait(open().map(|(at, _)| at).min()) };
        let best = best.clone();
        if let Some(entry) = entries.get_mut(&best.manifest) {
            entry.running = true;
        }
        Next::Work(best)
    }

    /// Says that a version that is worked on is now in `state`; false if it is no longer assigned.
    pub fn set(&self, manifest: &ManifestId, state: CodebaseState) -> bool {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(manifest) else { return false };
        entry.state = state;
        drop(entries);
        self.changed(false);
        true
    }

    /// Ends the work on a version: it is ready, or `failure` says why not and a later try is set.
    pub fn end(&self, manifest: &ManifestId, failure: Option<String>, now: Millis) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(manifest) else { return };
        entry.running = false;
        if let Some(reason) = failure {
            entry.failures = entry.failures.saturating_add(1);
            let wait = policy::back_off_millis(entry.failures, self.seed);
            let next_attempt = now.plus(Duration::from_millis(wait));
            entry.state = CodebaseState::Failed { reason, next_attempt };
        } else {
            entry.failures = 0;
            entry.state = CodebaseState::Ready;
        }
        drop(entries);
        self.changed(true);
    }

    /// Gives up a superseded version until it is current again or the process starts anew.
    pub fn give_up(&self, manifest: &ManifestId) {
        self.given_up().insert(*manifest);
        self.entries().remove(manifest);
        self.changed(false);
    }

    /// Gives up the oldest superseded version that is not `needed` and not worked on, and returns it.
    pub fn give_up_oldest(&self, needed: impl Fn(&ManifestId) -> bool) -> Option<Assigned> {
        let oldest = {
            let entries = self.entries();
            let free =
                entries.values().filter(|entry| !entry.assigned.current && !entry.running && !needed(&entry.assigned.manifest));
            free.map(|entry| &entry.assigned).min_by_key(|version| version.info.released).cloned()
        };
        if let Some(version) = &oldest {
            self.give_up(&version.manifest);
        }
        oldest
    }

    /// How many versions were given up.
    pub fn given_up_count(&self) -> u64 {
        self.given_up().len() as u64
    }

    /// Takes a ready version back: `reason` says why, and it is worked on again at once.
    pub fn damaged(&self, manifest: &ManifestId, reason: &str, now: Millis) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(manifest).filter(|entry| entry.state == CodebaseState::Ready) else { return };
        entry.state = CodebaseState::Failed { reason: reason.to_owned(), next_attempt: now };
        drop(entries);
        self.changed(true);
    }

    /// Says whether any version is being worked on.
    pub fn is_working(&self) -> bool {
        self.entries().values().any(|entry| entry.running)
    }

    /// How far a version is; `None` if it is not assigned.
    pub fn state(&self, manifest: &ManifestId) -> Option<CodebaseState> {
        self.entries().get(manifest).map(|entry| entry.state.clone())
    }

    /// Says whether a version may be served.
    pub fn is_ready(&self, manifest: &ManifestId) -> bool {
        self.entries().get(manifest).is_some_and(|entry| entry.state == CodebaseState::Ready)
    }

    /// Says whether a version's manifest may be served: also while its content is verified, when agents begin to look at what comes.
    pub fn is_listed(&self, manifest: &ManifestId) -> bool {
        matches!(self.state(manifest), Some(CodebaseState::Ready | CodebaseState::Verifying))
    }

    /// The packages that have a version with this manifest.
    pub fn packages_of(&self, manifest: &ManifestId) -> BTreeSet<PackageId> {
        self.entries().get(manifest).map(|entry| entry.assigned.packages.clone()).unwrap_or_default()
    }

    /// The newest ready version of `package` before `version`, to build on.
    pub fn base_of(&self, package: PackageId, version: u32) -> Option<ManifestId> {
        let entries = self.entries();
        let older = entries.values().filter(|entry| {
            let assigned = &entry.assigned;
            assigned.package == package && assigned.info.version < version && entry.state == CodebaseState::Ready
        });
        older.max_by_key(|entry| entry.assigned.info.version).map(|entry| entry.assigned.manifest)
    }

    /// All of it, in the order of work.
    pub fn list(&self) -> Vec<(Assigned, CodebaseState)> {
        let mut all: Vec<_> = self.entries().values().map(|entry| (entry.assigned.clone(), entry.state.clone())).collect();
        all.sort_by_key(|(assigned, _)| assigned.rank());
        all
    }

    /// All states by manifest, as reported.
    pub fn states(&self) -> BTreeMap<String, CodebaseState> {
        self.entries().iter().map(|(manifest, entry)| (manifest.to_string(), entry.state.clone())).collect()
    }

    /// Learns of changes.
    pub fn changes(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
    }

    fn changed(&self, urgent: bool) {
        self.changes.send_modify(|changes| {
            changes.all += 1;
            changes.urgent += u64::from(urgent);
        });
    }

    fn given_up(&self) -> MutexGuard<'_, BTreeSet<ManifestId>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<ManifestId, Entry>> {
        // Every change is whole before anything that could panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forgive(entries: &mut BTreeMap<ManifestId, Entry>) {
    for entry in entries.values_mut().filter(|entry| matches!(entry.state, CodebaseState::Failed { .. })) {
        entry.state = CodebaseState::Assigned;
        entry.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn version(number: u8, package: u128, released: i64, current: bool) -> Assigned {
        let manifest = ManifestId([number; 32]);
        let package = PackageId(uuid::Uuid::from_u128(package));
        let info = VersionInfo {
            version: u32::from(number),
            label: None,
            manifest: manifest.to_string(),
            manifest_len: 1,
            bytes: 1,
            files: 1,
            released: Millis(released),
        };
        Assigned { manifest, package, name: "p".parse().unwrap(), info, current, packages: BTreeSet::from([package]) }
    }

    fn of(list: &[Assigned]) -> BTreeMap<ManifestId, Assigned> {
        list.iter().map(|assigned| (assigned.manifest, assigned.clone())).collect()
    }

    fn take(codebases: &Codebases, now: Millis) -> Option<u32> {
        match codebases.next(now) {
            Next::Work(assigned) => Some(assigned.info.version),
            Next::Wait(_) => None,
        }
    }

    #[test]
    fn current_versions_come_first_and_among_them_the_newest_release() {
        let codebases = Codebases::new(1);
        codebases.assign(of(&[version(1, 1, 900, false), version(2, 1, 100, true), version(3, 2, 200, true)]));
        assert_eq!([take(&codebases, NOW), take(&codebases, NOW), take(&codebases, NOW)], [Some(3), Some(2), Some(1)]);
        assert_eq!(codebases.next(NOW), Next::Wait(None), "what runs is not taken twice");
    }

    #[test]
    fn a_failure_waits_longer_each_time_until_it_is_forgiven() {
        let codebases = Codebases::new(1);
        let one = version(1, 1, 1, true);
        codebases.assign(of(std::slice::from_ref(&one)));
        let mut waits = Vec::new();
        let mut now = NOW;
        for _ in 0..4 {
            assert_eq!(take(&codebases, now), Some(1));
            codebases.end(&one.manifest, Some("the hub is away".to_owned()), now);
            let Next::Wait(Some(at)) = codebases.next(now) else { panic!("it must wait") };
            waits.push(at.0 - now.0);
            now = at;
        }
        assert!(waits[0] >= 500 && waits[3] > waits[0] * 2, "{waits:?}");
        codebases.end(&one.manifest, Some("again".to_owned()), now);
        codebases.retry_now();
        assert_eq!(take(&codebases, now), Some(1));
        assert_eq!(codebases.state(&one.manifest), Some(CodebaseState::Assigned));
    }

    #[test]
    fn what_is_no_longer_assigned_is_forgotten_and_what_stays_keeps_its_state() {
        let codebases = Codebases::new(1);
        let (one, two) = (version(1, 1, 1, false), version(2, 1, 2, true));
        codebases.assign(of(&[one.clone(), two.clone()]));
        assert!(codebases.set(&two.manifest, CodebaseState::Ready));
        codebases.assign(of(std::slice::from_ref(&two)));
        assert!(codebases.is_ready(&two.manifest));
        assert!(!codebases.set(&one.manifest, CodebaseState::Ready));
        assert_eq!(codebases.states().len(), 1);
    }

    #[test]
    fn the_manifest_is_served_while_the_content_is_verified_and_the_content_when_it_is_ready() {
        let codebases = Codebases::new(1);
        let one = version(1, 1, 1, true);
        assert!(!codebases.is_listed(&one.manifest));
        codebases.assign(of(std::slice::from_ref(&one)));
        let seen = |state| {
            codebases.set(&one.manifest, state);
            (codebases.is_listed(&one.manifest), codebases.is_ready(&one.manifest))
        };
        assert_eq!(seen(CodebaseState::Fetching { done_bytes: 0, total_bytes: 1 }), (false, false));
        assert_eq!(seen(CodebaseState::Verifying), (true, false));
        assert_eq!(seen(CodebaseState::Ready), (true, true));
    }

    #[test]
    fn the_oldest_superseded_version_that_nobody_needs_is_given_up_and_never_a_current_one() {
        let codebases = Codebases::new(1);
        let all = [version(1, 1, 1, false), version(2, 1, 2, false), version(3, 1, 3, false), version(4, 1, 4, true)];
        codebases.assign(of(&all));
        let needed = |manifest: &ManifestId| *manifest == all[0].manifest;
        let given_up = |version: Option<Assigned>| version.map(|version| version.info.version);
        assert_eq!(given_up(codebases.give_up_oldest(needed)), Some(2));
        assert_eq!(given_up(codebases.give_up_oldest(needed)), Some(3));
        assert_eq!(given_up(codebases.give_up_oldest(needed)), None);
        assert!(!codebases.assign(of(&all)), "what was given up does not come back");
        assert_eq!((codebases.states().len(), codebases.given_up_count()), (2, 2));
        // Unless it is current again.
        let again = [all[0].clone(), Assigned { current: true, ..all[1].clone() }];
        codebases.assign(of(&again));
        assert_eq!((codebases.states().len(), codebases.given_up_count()), (2, 0));
    }

    #[test]
    fn what_is_damaged_is_not_ready_and_worked_on_at_once() {
        let codebases = Codebases::new(1);
        let one = version(1, 1, 1, true);
        codebases.assign(of(std::slice::from_ref(&one)));
        codebases.damaged(&one.manifest, "the disk", NOW);
        assert_eq!(codebases.state(&one.manifest), Some(CodebaseState::Assigned), "nothing was ready");
        codebases.set(&one.manifest, CodebaseState::Ready);
        codebases.damaged(&one.manifest, "the disk", NOW);
        assert!(!codebases.is_ready(&one.manifest));
        assert_eq!(take(&codebases, NOW), Some(1));
        assert!(codebases.is_working());
    }

    #[test]
    fn a_base_is_an_older_ready_version_of_the_same_package() {
        let codebases = Codebases::new(1);
        let all = [version(1, 1, 1, false), version(2, 1, 2, false), version(3, 1, 3, true), version(4, 2, 4, true)];
        codebases.assign(of(&all));
        for ready in [0, 1, 3] {
            codebases.set(&all[ready].manifest, CodebaseState::Ready);
        }
        assert_eq!(codebases.base_of(all[2].package, 3), Some(all[1].manifest));
        assert_eq!(codebases.base_of(all[2].package, 1), None);
    }
}
