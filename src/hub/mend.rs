//! Mending the hub's store: what it has lost of a package is taken from the package's source again, if that still has it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consign_store::ingest::Progress;

use super::Hub;
use super::error::Result;
use crate::domain::Name;

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

impl Tried {
    /// How long its source rests where `damage` is known now.
    fn rest(&self, damage: usize) -> Duration {
        if self.damage == Some(damage) { REST } else { REST_MIN }
    }
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
        let progress = self.mends.begin().ok_or(consign_store::Error::Cancelled)?;
        tracing::warn!(%package, source = view.source, "damaged; taking what its source still has");
        // The stat cache is the refreshes' own.
        let read = self.read_source(&view.source, &view.platforms, (true, None), progress).await;
        self.mends.end();
        read.map(drop)
    }
}

impl Mends {
    /// Whether the source of a package is worth reading where `damage` is known.
    fn is_due(&self, package: &Name, damage: usize) -> bool {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner).get(package).copied();
        tried.is_none_or(|tried| tried.when.elapsed() >= tried.rest(damage))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_again_sooner_where_it_may_help() {
        let (mends, package) = (Mends::default(), "tools".parse().unwrap());
        assert!(mends.is_due(&package, 3), "never read");
        for (damage, then, rest) in [(Some(3), 3, REST), (Some(3), 4, REST_MIN), (None, 3, REST_MIN)] {
            mends.tried(&package, damage);
            assert!(!mends.is_due(&package, then), "not at once");
            assert_eq!(mends.tried.lock().unwrap()[&package].rest(then), rest);
        }
    }

    #[test]
    fn nothing_begins_once_the_hub_stops() {
        let mends = Mends::default();
        let running = mends.begin().unwrap();
        mends.cancel();
        assert!(running.cancel.load(std::sync::atomic::Ordering::Relaxed));
        mends.end();
        assert!(mends.begin().is_none() && !mends.is_running());
    }
}
