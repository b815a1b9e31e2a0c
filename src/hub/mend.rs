//! Mending the hub's store: what it has lost of a package is taken from the package's source again, if that still has it.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consign_store::ingest::{self, Options, Progress};

use super::Hub;
use super::error::Result;
use super::refreshes::platforms;
use crate::domain::Name;
use crate::net::{blocking, clock};

/// How long the source of a package is not read again for what it did not have; where more is damaged since, or it could not be read, for the shorter time.
const REST: Duration = Duration::from_hours(1);
const REST_MIN: Duration = Duration::from_mins(10);

/// What has been tried.
#[derive(Debug, Default)]
pub(super) struct Mends {
    tried: Mutex<HashMap<Name, Tried>>,
    running: Mutex<Running>,
}

/// When the source of a package was read, and what the store knew then as damaged.
#[derive(Debug, Clone, Copy)]
struct Tried {
    when: Instant,
    /// A count that changes with what is damaged; none if the source could not be read.
    damage: Option<usize>,
}

#[derive(Debug, Default)]
struct Running {
    progress: Option<Arc<Progress>>,
    /// The hub stops: nothing more is begun.
    stopping: bool,
}

impl Hub {
    /// Stores anew what the sources of damaged packages still have; nothing is released. Says whether any was read.
    pub(super) async fn mend_from_sources(&self) -> bool {
        let mut read = false;
        for package in self.damaged_versions().into_iter().map(|version| version.package).collect::<BTreeSet<_>>() {
            let damage = self.store.damage_noted();
            if !self.mends.is_due(&package, damage) {
                continue;
            }
            let done = self.mend(&package).await;
            self.mends.tried(&package, done.is_ok().then_some(damage));
            match done {
                Ok(()) => read = true,
                Err(error) => tracing::warn!(%package, %error, "what is damaged cannot be taken from the source"),
            }
        }
        read
    }

    async fn mend(&self, package: &Name) -> Result<()> {
        // What is stored anew is needed by versions that the catalog names already; the rest is garbage.
        let _lease = self.store.lease();
        let view = self.catalog.package(package.as_str()).await?;
        tracing::warn!(%package, source = view.source, "damaged; taking what its source still has");
        let progress = self.mends.begin().ok_or(consign_store::Error::Cancelled)?;
        let options = Options {
            workers: self.hash_threads,
            platforms: platforms(&view.platforms),
            stat_cache: None,
            verify: true,
            now_unix_nanos: i128::from(clock::now().0) * 1_000_000,
            progress,
        };
        let (store, source) = (self.store.clone(), PathBuf::from(view.source));
        let done = blocking::run("reading a source again", move || ingest::ingest(&store, &source, &options)).await;
        self.mends.end();
        done??;
        Ok(())
    }
}

impl Mends {
    /// Whether the source of a package is worth reading where `damage` is known.
    fn is_due(&self, package: &Name, damage: usize) -> bool {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner).get(package).copied();
        tried.is_none_or(|tried| {
            let rest = if tried.damage == Some(damage) { REST } else { REST_MIN };
            tried.when.elapsed() >= rest
        })
    }

    fn tried(&self, package: &Name, damage: Option<usize>) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.retain(|_, tried| tried.when.elapsed() < REST);
        tried.insert(package.clone(), Tried { when: Instant::now(), damage });
    }

    fn begin(&self) -> Option<Arc<Progress>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.stopping {
            return None;
        }
        running.progress = Some(Arc::default());
        running.progress.clone()
    }

    fn end(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).progress = None;
    }

    /// Whether a source is being read.
    pub(super) fn is_running(&self) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).progress.is_some()
    }

    /// Asks what runs to stop, and lets nothing more begin.
    pub(super) fn cancel(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.stopping = true;
        if let Some(progress) = &running.progress {
            progress.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
