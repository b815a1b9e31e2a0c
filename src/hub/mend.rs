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

/// How long the source of a package is not read again for what it did not have.
const REST: Duration = Duration::from_hours(1);

/// What has been tried.
#[derive(Debug, Default)]
pub(super) struct Mends {
    tried: Mutex<HashMap<Name, Instant>>,
    running: Mutex<Option<Arc<Progress>>>,
}

impl Hub {
    /// Stores anew what the sources of damaged packages still have; nothing is released. Says whether any was read.
    pub(super) async fn mend_from_sources(&self) -> bool {
        let mut read = false;
        for package in self.damaged_versions().into_iter().map(|version| version.package).collect::<BTreeSet<_>>() {
            if !self.mends.is_due(&package) {
                continue;
            }
            match self.mend(&package).await {
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
        let progress = self.mends.begin();
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
    /// Whether a package's source has not been read for a while; it counts as read from now.
    fn is_due(&self, package: &Name) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.retain(|_, when| when.elapsed() < REST);
        if tried.contains_key(package) {
            return false;
        }
        tried.insert(package.clone(), Instant::now());
        true
    }

    fn begin(&self) -> Arc<Progress> {
        let progress = Arc::new(Progress::default());
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&progress));
        progress
    }

    fn end(&self) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Asks what runs to stop.
    pub(super) fn cancel(&self) {
        if let Some(progress) = &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            progress.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
