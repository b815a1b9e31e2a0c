//! Working off what is assigned: current versions first, the newest release first, few at once.

mod missing;
mod patches;
mod shared;
mod version;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::Instrument as _;

use self::version::Job;
use super::Core;
use super::codebases::{Assigned, Next};
use super::error::Error;
use crate::net::clock;
use crate::net::data_plane::DataPlane;

/// Most versions that are worked on at once.
const RUNNING_MAX: usize = 2;

/// Makes every assigned version ready, until the task ends.
pub(super) async fn replicate(core: Arc<Core>, plane: Arc<DataPlane>) {
    let mut changes = core.codebases.changes();
    let mut running = JoinSet::new();
    loop {
        changes.mark_unchanged();
        let mut wait = None;
        while running.len() < RUNNING_MAX {
            match core.codebases.next(clock::now()) {
                Next::Work(assigned) => {
                    let span = tracing::info_span!("version", package = %assigned.name, version = assigned.info.version);
                    running.spawn(work(Arc::clone(&core), Arc::clone(&plane), assigned).instrument(span));
                }
                Next::Wait(until) => {
                    wait = until;
                    break;
                }
            }
        }
        let millis = wait.map(|until| u64::try_from(until.0 - clock::now().0).unwrap_or(0));
        tokio::select! {
            Some(_) = running.join_next() => {}
            news = changes.changed() => if news.is_err() { return },
            () = tokio::time::sleep(Duration::from_millis(millis.unwrap_or_default())), if millis.is_some() => {}
        }
    }
}

async fn work(core: Arc<Core>, plane: Arc<DataPlane>, assigned: Assigned) {
    let manifest = assigned.manifest;
    let (package, current) = (assigned.package, assigned.current);
    let job = Job { core: Arc::clone(&core), plane: Arc::clone(&plane), assigned };
    match job.run().await {
        Ok(()) => {
            tracing::info!("ready");
            core.end(&manifest, None);
            if current {
                // Agents that are away now find them when they come.
                for base in core.installed.of(package).into_iter().filter(|base| *base != manifest) {
                    plane.build_ahead(base, manifest).await;
                }
            }
        }
        Err(Error::Dropped) => {}
        Err(error) => {
            tracing::warn!(%error, "not ready");
            core.end(&manifest, Some(error.to_string()));
        }
    }
}
