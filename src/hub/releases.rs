//! Releases: signed metadata and catalog change together, in one transaction; and the metadata's renewal before it expires.

use std::time::Duration;

use consign_store::ingest::Ingested;

use super::Hub;
use super::error::Result;
use crate::catalog::{self, NewVersion, RefreshJob, TufChange, TufFiles};
use crate::domain::Millis;
use crate::net::clock;
use crate::protocol::admin::RefreshOutcome;
use crate::trust::tuf::{Release, Repository, TIMESTAMP_FILE};

/// Tries of a release whose metadata was changed by another writer in between.
const RELEASE_TRIES_MAX: u32 = 8;
/// Longest sleep of the renewal timer: a clock that is set forward is noticed within it.
const RENEWAL_CHECK: Duration = Duration::from_mins(10);

impl Hub {
    /// Ends a refresh well: releases what was ingested as a new version, or notes that nothing changed.
    ///
    /// The ingest is durable already; when this returns, so are version and metadata, and only then anybody is told.
    pub(super) async fn conclude(&self, job: &RefreshJob, ingested: &Ingested) -> Result<Option<u32>> {
        let outcome = |released, ended| RefreshOutcome {
            started: job.started,
            ended,
            released,
            files_read: ingested.files_read,
            new_stored_bytes: ingested.new_stored_bytes,
        };
        let current = self.catalog.package(&job.package.to_string()).await?.versions.pop();
        if current.as_ref().is_some_and(|version| version.manifest == ingested.manifest.to_string()) {
            self.catalog.refresh_unchanged(job.package, outcome(None, clock::now())).await?;
            return Ok(None);
        }
        let number = current.map_or(0, |version| version.version) + 1;
        let mut tries = 1;
        loop {
            let now = clock::now();
            let change = self.sign_release(job, number, ingested, now).await?;
            let version = NewVersion {
                number,
                label: job.label.clone(),
                manifest: ingested.manifest,
                sha256: ingested.sha256,
                manifest_len: ingested.manifest_len,
                bytes: ingested.bytes,
                files: ingested.files,
            };
            match self.catalog.release(job.package, version, change, outcome(Some(number), now), now).await {
                // Another refresh released in between: its metadata is the base now.
                Err(catalog::Error::Conflict { what: "release metadata", .. }) if tries < RELEASE_TRIES_MAX => tries += 1,
                done => return done.map(|_| Some(number)).map_err(Into::into),
            }
        }
    }

    async fn sign_release(&self, job: &RefreshJob, number: u32, ingested: &Ingested, now: Millis) -> Result<TufChange> {
        let (files, repository) = self.repository().await?;
        let release = Release {
            package: job.package,
            version: number,
            manifest: ingested.manifest,
            length: ingested.manifest_len,
            sha256: ingested.sha256,
            label: job.label.clone(),
            released: now,
        };
        Ok(change(&files, &repository.release(&self.signing.online, &[release], now)?))
    }

    async fn repository(&self) -> Result<(TufFiles, Repository)> {
        let files = self.catalog.tuf_files().await?;
        let text = |ending: &str| {
            let file = files.files.iter().rfind(|(name, _)| name == ending || name.ends_with(&format!(".{ending}")));
            file.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        };
        let repository =
            Repository::open(&text("root.json"), &text("targets.json"), &text("snapshot.json"), &text("timestamp.json"))?;
        Ok((files, repository))
    }

    /// When metadata is signed anew at the latest.
    pub(super) async fn renewal_due(&self) -> Result<Millis> {
        Ok(self.repository().await?.1.renewal_due())
    }

    /// Signs metadata anew whenever it is due; runs as long as the hub does.
    pub(super) async fn renew_forever(&self) {
        loop {
            match self.renew_if_due().await {
                Ok(due) => {
                    let wait = u64::try_from(due.0 - clock::now().0).unwrap_or(0);
                    tokio::time::sleep(Duration::from_millis(wait.max(1000)).min(RENEWAL_CHECK)).await;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot renew the release metadata; trying again in a minute");
                    tokio::time::sleep(Duration::from_mins(1)).await;
                }
            }
        }
    }

    async fn renew_if_due(&self) -> Result<Millis> {
        let (files, repository) = self.repository().await?;
        let now = clock::now();
        if repository.renewal_due() > now {
            return Ok(repository.renewal_due());
        }
        let next = repository.renew(&self.signing.online, now)?;
        self.catalog.put_tuf(change(&files, &next)).await?;
        Ok(next.renewal_due())
    }
}

/// What of `next` is new against the stored files: versioned files never change.
fn change(stored: &TufFiles, next: &Repository) -> TufChange {
    let known = |name: &String| stored.files.iter().any(|(stored, _)| stored == name && stored != TIMESTAMP_FILE);
    TufChange { based_on: stored.revision, files: next.files().into_iter().filter(|(name, _)| !known(name)).collect() }
}
