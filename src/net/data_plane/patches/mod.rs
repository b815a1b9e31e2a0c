//! Patches between versions that a server holds: built in the background by a worker process, kept in a bounded cache, served by name.
//!
//! The worker is this program with `store patch`: it reads the store without its lock and may use more memory than a server should; it
//! ends when it is done. Where there is little to read the server does it itself: to start a worker would cost more than its work.
//! The cache is disposable: what is missing is built again when somebody asks.

mod cache;
mod serve;
mod worker;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consign_store::{ManifestId, Store, cores, delta};
use tokio::sync::{Semaphore, watch};

use super::versions::Version;
use crate::domain::Millis;
use crate::net::{blocking, clock};
use crate::protocol::patches::PatchAnswer;

pub use cache::write_set;
pub(super) use serve::routes;

/// Patch sets that are built or wait to be built at once; more are not begun.
const BUILDING_MAX: usize = 256;
/// How long a pair that could not be built is not tried again.
const FAILED_REST: Duration = Duration::from_mins(10);
/// What a thread of a worker does in a second, bytes of changed files: for telling when it should be done, nothing else.
const WORK_BYTES_PER_SEC: u64 = 10_000_000;
/// Threads that a worker usually has work for.
const WORKER_THREADS: u64 = 2;
/// Time to start a worker, milliseconds: for telling when it should be done.
const START_MILLIS: u64 = 200;

/// Longest wait for patches that are built before anybody asks.
const PREPARE_MAX: Duration = Duration::from_millis(200);
/// Bytes to read on both sides up to which patches are built in the server itself.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// From one version to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    /// What the receiver has.
    pub base: ManifestId,
    /// What it is to get.
    pub target: ManifestId,
}

/// The two versions of a pair, opened.
pub(super) type Opened = (Arc<Version>, Arc<Version>);

fn pair_of((base, target): &Opened) -> Pair {
    Pair { base: base.manifest.id(), target: target.manifest.id() }
}

/// A patch set that is being built.
#[derive(Debug, Clone)]
struct Building {
    begun: Millis,
    /// It is likely built in the server itself, which has a line of its own.
    small: bool,
    /// When it should be done.
    until: Millis,
    /// Closed when it has ended.
    ended: watch::Receiver<()>,
}

impl Building {
    /// How long it should still take. What is late by its estimate likely takes as long again as it has: so whoever waits is never told that it ends
    /// at once, for ever.
    fn answer(&self) -> PatchAnswer {
        let now = clock::now();
        let left = now.until(self.until);
        PatchAnswer::building(if left.is_zero() { self.begun.until(now).max(Duration::from_millis(1)) } else { left })
    }
}

/// The patches of one store.
#[derive(Debug)]
pub struct Patches {
    store: Store,
    cache: cache::Cache,
    building: Mutex<HashMap<Pair, Building>>,
    failed: Mutex<HashMap<Pair, (Instant, String)>>,
    /// One worker at a time: patches are the least urgent thing a server does.
    turn: Semaphore,
    /// The same for what is built in the server, which never waits for a worker.
    turn_here: Semaphore,
}

impl Patches {
    /// Builds patches of the versions in `store`, and keeps at most `bytes_max` of them in `dir`.
    #[must_use]
    pub fn new(store: Store, dir: PathBuf, bytes_max: u64) -> Self {
        let cache = cache::Cache::open(dir, bytes_max);
        Self {
            store,
            cache,
            building: Mutex::default(),
            failed: Mutex::default(),
            turn: Semaphore::new(1),
            turn_here: Semaphore::new(1),
        }
    }

    /// Says how far the patches between `versions` are, and begins to build them if nobody has. Blocking: it compares them.
    fn ask(self: &Arc<Self>, versions: &Opened) -> PatchAnswer {
        let pair = pair_of(versions);
        if let Some(set) = self.cache.read(pair) {
            return PatchAnswer::Ready { set };
        }
        if let Some(reason) = self.failure(pair) {
            return PatchAnswer::None { reason };
        }
        match self.begin(versions) {
            Some(building) => building.answer(),
            None => PatchAnswer::None { reason: "too many patches are being built; records are as good".to_owned() },
        }
    }

    /// Says how far the patches between `versions` are, and begins to build them if nobody has; waits up to `wait` for those that are being
    /// built.
    pub(super) async fn ask_waiting(self: &Arc<Self>, versions: &Opened, wait: Duration) -> PatchAnswer {
        let answer = self.ask_once(versions).await;
        if !matches!(answer, PatchAnswer::Building { .. }) || wait.is_zero() {
            return answer;
        }
        let building = self.building.lock().unwrap_or_else(PoisonError::into_inner).get(&pair_of(versions)).cloned();
        if let Some(mut building) = building {
            // Closed at its end, whichever way it went; a wait that runs out leaves the answer as it was.
            let _ = tokio::time::timeout(wait, building.ended.changed()).await;
        }
        self.ask_once(versions).await
    }

    async fn ask_once(self: &Arc<Self>, versions: &Opened) -> PatchAnswer {
        let (this, versions) = (Arc::clone(self), versions.clone());
        let asked = blocking::run("looking for patches", move || this.ask(&versions)).await;
        asked.unwrap_or_else(|error| PatchAnswer::None { reason: error.to_string() })
    }

    /// Builds the patches between `versions` unless they are there, if little has changed, and waits for it; says whether it was little.
    pub(super) async fn prepare(self: &Arc<Self>, versions: &Opened) -> bool {
        let (base, target) = (Arc::clone(&versions.0.manifest), Arc::clone(&versions.1.manifest));
        let changed = blocking::run("comparing versions", move || delta::changed_bytes(&base, &target)).await;
        let little = matches!(changed, Ok(Ok(bytes)) if bytes <= SMALL_BYTES_MAX);
        if little {
            self.ask_waiting(versions, PREPARE_MAX).await;
        }
        little
    }

    /// Reads all patches to `target` again, without waiting for that; those that are damaged are built anew when somebody asks.
    pub(super) fn check(self: &Arc<Self>, target: ManifestId) {
        let this = Arc::clone(self);
        tokio::spawn(blocking::run("reading patches again", move || this.cache.check(target)));
    }

    /// Removes all patches that are built; says whether there were any.
    pub fn clear(&self) -> bool {
        self.cache.trim_to(0)
    }

    fn failure(&self, pair: Pair) -> Option<String> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|_, (when, _)| when.elapsed() < FAILED_REST);
        failed.get(&pair).map(|(_, reason)| reason.clone())
    }

    fn begin(self: &Arc<Self>, versions: &Opened) -> Option<Building> {
        let pair = pair_of(versions);
        let begun = |building: &HashMap<Pair, Building>| building.get(&pair).cloned();
        if let Some(begun) = begun(&self.building.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Some(begun);
        }
        // Where it cannot be counted, building tells what is wrong.
        let work_bytes = delta::work_bytes(&self.store, &versions.0.manifest, &versions.1.manifest).unwrap_or(0);
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begun) = begun(&building) {
            return Some(begun);
        }
        if building.len() >= BUILDING_MAX {
            return None;
        }
        let rate = WORK_BYTES_PER_SEC * WORKER_THREADS.min(cores() as u64);
        let millis = START_MILLIS + work_bytes.saturating_mul(1000) / rate;
        let now = clock::now();
        // Behind what is in the same line already.
        let small = work_bytes <= SMALL_BYTES_MAX;
        let before = building.values().filter(|before| before.small == small);
        let start = before.map(|before| before.until).fold(now, Millis::max);
        let until = start.plus(Duration::from_millis(millis));
        let (end, ended) = watch::channel(());
        let begun = Building { begun: now, small, until, ended };
        building.insert(pair, begun.clone());
        let (this, versions) = (Arc::clone(self), versions.clone());
        tokio::spawn(async move {
            this.build(pair, versions).await;
            this.building.lock().unwrap_or_else(PoisonError::into_inner).remove(&pair);
            drop(end);
        });
        Some(begun)
    }

    async fn build(self: &Arc<Self>, pair: Pair, versions: Opened) {
        let Ok(turn_here) = self.turn_here.acquire().await else { return };
        let this = Arc::clone(self);
        let small = blocking::run("building patches", move || this.build_here(pair, &versions)).await;
        drop(turn_here);
        let built = match small.map_err(|error| error.to_string()).and_then(|built| built) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let Ok(_turn) = self.turn.acquire().await else { return };
                worker::build(self.store.dir(), pair, &self.cache).await
            }
            Err(reason) => Err(reason),
        };
        match built {
            Ok(()) => self.cache.trim(),
            Err(reason) => {
                tracing::warn!(base = %pair.base, target = %pair.target, reason, "cannot build patches; records are sent instead");
                let failed = (Instant::now(), reason);
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(pair, failed);
            }
        }
    }

    /// Builds what is small; says whether it was.
    fn build_here(&self, pair: Pair, (base, target): &Opened) -> Result<bool, String> {
        let build = |out: &Path| {
            let built = delta::build_small_set(&self.store, (&base.manifest, &target.manifest), out, SMALL_BYTES_MAX)?;
            built.map(|built| write_set(out, &built)).transpose()
        };
        let out = self.cache.begin()?;
        if build(out.path()).map_err(|error| error.to_string())?.is_none() {
            return Ok(false);
        }
        self.cache.keep(pair, out).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(begun_ago: i64, until_in: i64) -> u64 {
        let now = clock::now();
        let (_, ended) = watch::channel(());
        let (begun, until) = (now.plus_millis(-begun_ago), now.plus_millis(until_in));
        let building = Building { begun, small: false, until, ended };
        match building.answer() {
            PatchAnswer::Building { millis } => millis,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_late_likely_takes_as_long_again() {
        assert!((59_000..=60_000).contains(&left(10, 60_000)));
        assert!((30_000..31_000).contains(&left(30_000, -20_000)));
        assert!(left(0, 0) >= 1, "never at once, for ever");
    }
}
