//! Refreshes: a row in the catalog becomes an ingest, and the ingest a release.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use consign_store::ingest::{self, Ingested, Options, Progress};
use consign_store::manifest::{Platform, Platforms};

use super::Hub;
use super::error::{Error, Result};
use super::folder::Folder;
use crate::catalog::RefreshJob;
use crate::net::blocking;
use crate::net::clock;
use crate::protocol::admin::RefreshOutcome;

/// Refreshes that run at once: a small package does not wait for a large one.
pub(super) const REFRESHES_RUNNING_MAX: usize = 2;

/// Pause after the catalog failed.
const RETRY: Duration = Duration::from_secs(10);

/// A refresh is taken off the list of running ones when this is dropped.
struct Running<'a> {
    hub: &'a Hub,
    job: &'a RefreshJob,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.hub.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.job.package);
    }
}

impl Hub {
    /// Works off queued refreshes as long as the hub runs.
    pub(super) async fn refresh_forever(&self) {
        loop {
            // Registered before looking, so that a refresh queued in between wakes this worker.
            let queued = self.refresh_queued.notified();
            tokio::pin!(queued);
            queued.as_mut().enable();
            match self.catalog.take_refresh(clock::now()).await {
                Ok(Some(job)) => {
                    // Another worker may find more.
                    self.refresh_queued.notify_one();
                    self.refresh(&job).await;
                }
                Ok(None) => queued.await,
                Err(error) => {
                    tracing::error!(%error, "cannot take the next refresh; trying again in ten seconds");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn refresh(&self, job: &RefreshJob) {
        // Until the catalog names the version: garbage collection knows what is live from there.
        let _lease = self.store.lease();
        let ended = match self.ingest(job).await {
            Ok(ingested) => self.conclude(job, &ingested).await,
            Err(error) => Err(error),
        };
        if !self.damaged_versions().is_empty() {
            self.upkeep.check_damage();
        }
        let failed = match ended {
            Ok(Some(version)) => return tracing::info!(package = %job.name, version, "released"),
            Ok(None) => return tracing::info!(package = %job.name, "unchanged"),
            // The hub is stopping: the row stays and is queued again at the next start.
            Err(Error::Store(consign_store::Error::Cancelled)) => return,
            Err(error) => error,
        };
        tracing::warn!(package = %job.name, error = %failed, "refresh failed");
        let outcome =
            RefreshOutcome { started: job.started, ended: clock::now(), released: None, files_read: 0, new_stored_bytes: 0 };
        // Until it is noted the refresh shows as running; a disk that was full may have room again.
        while let Err(error) = self.catalog.refresh_failed(job.package, outcome.clone(), failed.to_string()).await {
            if !error.may_pass() {
                tracing::error!(package = %job.name, %error, "cannot note that the refresh failed; it runs again at the next start");
                return;
            }
            tracing::error!(package = %job.name, %error, "cannot note that the refresh failed; trying again in ten seconds");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn ingest(&self, job: &RefreshJob) -> Result<Ingested> {
        let progress = Arc::new(Progress::default());
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(job.package, Arc::clone(&progress));
        let _running = Running { hub: self, job };
        Folder::make(&self.folder.stat_caches())?;
        let stat_cache = Some(self.folder.stat_caches().join(job.package.to_string()));
        self.read_source(&job.source, &job.platforms, (job.verify, stat_cache), progress).await
    }

    /// Stores what the folder `source` has for `platforms`: all of it read if that is to be verified, else what `stat_cache` does not know.
    pub(super) async fn read_source(
        &self,
        source: &str,
        platforms: &[String],
        (verify, stat_cache): (bool, Option<PathBuf>),
        progress: Arc<Progress>,
    ) -> Result<Ingested> {
        let options = Options {
            workers: self.hash_threads,
            platforms: platforms_of(platforms),
            stat_cache,
            verify,
            now_unix_nanos: i128::from(clock::now().0) * 1_000_000,
            progress,
        };
        let (store, source) = (self.store.clone(), PathBuf::from(source));
        Ok(blocking::run("hashing a package", move || ingest::ingest(&store, &source, &options)).await??)
    }

    /// Asks every running refresh to stop.
    pub(super) fn cancel_refreshes(&self) {
        for progress in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            progress.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// The systems that `names` mean; all when there is none.
fn platforms_of(names: &[String]) -> Platforms {
    if names.is_empty() {
        return Platforms::ALL;
    }
    names.iter().fold(Platforms::default(), |set, name| match name.as_str() {
        "windows" => set.with(Platform::Windows),
        "macos" => set.with(Platform::Macos),
        _ => set.with(Platform::Linux),
    })
}
