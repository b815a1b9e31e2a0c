//! Garbage collection from time to time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use consign_store::Error;
use consign_store::upkeep::{GcOptions, GcReport, gc_paced};
use tokio::runtime::Handle;

use super::{Holder, Upkeep, millis, rest};
use crate::net::data_plane::DataPlane;
use crate::net::{blocking, clock};
use crate::protocol::upkeep::GcRun;

/// Where room is needed, also packs of which little is dead are written anew.
const URGENT_PERCENT: u8 = 90;

impl Upkeep {
    pub(super) async fn collect_forever(self: &Arc<Self>, holder: &Arc<dyn Holder>, plane: &Arc<DataPlane>) {
        while !self.stopping.load(Ordering::Relaxed) {
            let due = self.gc_due(clock::now());
            if due > clock::now() {
                rest(due, &self.gc_wake).await;
                continue;
            }
            let started = clock::now();
            self.asked.store(false, Ordering::Relaxed);
            let urgent = self.urgent.load(Ordering::Relaxed);
            self.gc_running.store(true, Ordering::Relaxed);
            let (this, holder, plane) = (Arc::clone(self), Arc::clone(holder), Arc::clone(plane));
            let done = blocking::run("collecting garbage", move || this.collect(&*holder, &plane, urgent)).await;
            self.gc_running.store(false, Ordering::Relaxed);
            let done = match done {
                Ok(Ok(report)) => Ok(report),
                Ok(Err(problem)) => Err(problem),
                Err(error) => Err(error.to_string()),
            };
            if done.is_err() && self.stopping.load(Ordering::Relaxed) {
                return;
            }
            let run = ended(started, done);
            if urgent {
                // Whoever still has no room asks again.
                self.urgent.store(false, Ordering::Relaxed);
            }
            self.note(|memory| {
                memory.freed_bytes = memory.freed_bytes.saturating_add(run.freed_bytes);
                memory.gc = Some(run);
            });
        }
    }

    /// Collects; the files of versions that are gone go too.
    fn collect(&self, holder: &dyn Holder, plane: &DataPlane, urgent: bool) -> Result<GcReport, String> {
        // Listed before it is asked what is live: what comes later is not looked at.
        let files = plane.version_files();
        let mut pace = self.pace(holder, &self.urgent, &self.gc_holding_back);
        let regular = GcOptions::new(clock::now().0, millis(self.options.gc_grace));
        let options = if urgent { GcOptions { grace_millis: 0, poor_percent: URGENT_PERCENT, ..regular } } else { regular };
        let (mut live, mut unknown) = (Vec::new(), None);
        let report = gc_paced(&self.store, &options, &mut |bytes| pace.take(bytes), || {
            // Nobody else waits for this thread.
            match Handle::current().block_on(holder.live()) {
                Ok(known) => {
                    live.extend(known.whole.iter().chain(&known.partial));
                    Ok(known)
                }
                Err(why) => {
                    unknown = Some(why);
                    Err(Error::Cancelled)
                }
            }
        });
        let report = report.map_err(|error| unknown.unwrap_or_else(|| error.to_string()))?;
        plane.remove_others(files, &live);
        Ok(report)
    }
}

fn ended(started: crate::domain::Millis, done: Result<GcReport, String>) -> GcRun {
    let run = GcRun { started, ended: clock::now(), ..GcRun::default() };
    match done {
        Ok(report) => {
            let (freed_bytes, waiting_bytes) = (report.freed_bytes, report.waiting_raw_bytes);
            tracing::info!(freed_bytes, waiting_bytes, packs_kept = report.packs_kept, "garbage collected");
            GcRun { freed_bytes, waiting_bytes, ..run }
        }
        Err(problem) => {
            tracing::warn!(problem, "garbage was not collected");
            GcRun { problem: Some(problem), ..run }
        }
    }
}
