//! Patches between versions that a server holds: built in the background by a worker process, kept in a bounded cache, served by name.
//!
//! The worker is this program with `store patch`: it reads the store without its lock and may use more memory than a server should; it
//! ends when it is done. The cache is disposable: what is missing is built again when somebody asks.

mod cache;
mod serve;
mod worker;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consign_store::ManifestId;
use tokio::sync::{Semaphore, watch};

use crate::domain::Millis;
use crate::net::clock;
use crate::protocol::patches::PatchAnswer;

pub(super) use serve::routes;

/// Patch sets that are built or wait to be built at once; more are not begun.
const BUILDING_MAX: usize = 256;
/// How long a pair that could not be built is not tried again.
const FAILED_REST: Duration = Duration::from_mins(10);
/// What a worker does in a second, bytes of changed files: for telling when it should be done, nothing else.
const WORK_BYTES_PER_SEC: u64 = 15_000_000;
/// Time to start a worker, milliseconds: for telling when it should be done.
const START_MILLIS: u64 = 200;

/// From one version to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    /// What the receiver has.
    pub base: ManifestId,
    /// What it is to get.
    pub target: ManifestId,
}

/// A patch set that is being built.
#[derive(Debug, Clone)]
struct Building {
    until: Millis,
    /// Closed when it has ended.
    ended: watch::Receiver<()>,
}

/// The patches of one store.
#[derive(Debug)]
pub struct Patches {
    store: PathBuf,
    cache: cache::Cache,
    building: Mutex<HashMap<Pair, Building>>,
    failed: Mutex<HashMap<Pair, (Instant, String)>>,
    /// One worker at a time: patches are the least urgent thing a server does.
    turn: Semaphore,
}

impl Patches {
    /// Builds patches of the store in the folder `store`, and keeps at most `bytes_max` of them in `dir`.
    #[must_use]
    pub fn new(store: PathBuf, dir: PathBuf, bytes_max: u64) -> Self {
        let cache = cache::Cache::new(dir, bytes_max);
        Self { store, cache, building: Mutex::default(), failed: Mutex::default(), turn: Semaphore::new(1) }
    }

    /// Says how far the patches of `pair` are, and begins to build them if nobody has; `changed_bytes` tells how much work that is.
    pub fn ask(self: &Arc<Self>, pair: Pair, changed_bytes: u64) -> PatchAnswer {
        if let Some(set) = self.cache.read(pair) {
            return PatchAnswer::Ready { set };
        }
        if let Some(reason) = self.failure(pair) {
            return PatchAnswer::None { reason };
        }
        match self.begin(pair, changed_bytes) {
            Some(building) => PatchAnswer::Building { until: building.until },
            None => PatchAnswer::None { reason: "too many patches are being built; records are as good".to_owned() },
        }
    }

    /// As [`Patches::ask`], and waits up to `wait` for patches that are being built.
    pub async fn ask_waiting(self: &Arc<Self>, pair: Pair, changed_bytes: u64, wait: Duration) -> PatchAnswer {
        let answer = self.ask(pair, changed_bytes);
        if !matches!(answer, PatchAnswer::Building { .. }) || wait.is_zero() {
            return answer;
        }
        let building = self.building.lock().unwrap_or_else(PoisonError::into_inner).get(&pair).cloned();
        if let Some(mut building) = building {
            // Closed at its end, whichever way it went; a wait that runs out leaves the answer as it was.
            let _ = tokio::time::timeout(wait, building.ended.changed()).await;
        }
        self.ask(pair, changed_bytes)
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

    fn begin(self: &Arc<Self>, pair: Pair, changed_bytes: u64) -> Option<Building> {
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begun) = building.get(&pair) {
            return Some(begun.clone());
        }
        if building.len() >= BUILDING_MAX {
            return None;
        }
        let millis = START_MILLIS + changed_bytes.saturating_mul(1000) / WORK_BYTES_PER_SEC;
        let until = clock::now().plus_millis(i64::try_from(millis).unwrap_or(i64::MAX));
        let (end, ended) = watch::channel(());
        let begun = Building { until, ended };
        building.insert(pair, begun.clone());
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.build(pair).await;
            this.building.lock().unwrap_or_else(PoisonError::into_inner).remove(&pair);
            drop(end);
        });
        Some(begun)
    }

    async fn build(&self, pair: Pair) {
        let Ok(_turn) = self.turn.acquire().await else { return };
        match worker::build(&self.store, pair, &self.cache).await {
            Ok(()) => self.cache.trim(),
            Err(reason) => {
                tracing::warn!(base = %pair.base, target = %pair.target, reason, "cannot build patches; records are sent instead");
                let failed = (Instant::now(), reason);
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(pair, failed);
            }
        }
    }
}
