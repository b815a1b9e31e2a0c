//! Reading everything again from time to time, and what follows from damage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use consign_store::upkeep::{self, ScrubReport};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Holder, Upkeep, rest};
use crate::net::{blocking, clock};
use crate::protocol::upkeep::ScrubRun;

/// Pause before a scrub that failed is repeated.
const AGAIN: Duration = Duration::from_mins(10);

impl Upkeep {
    pub(super) async fn scrub_forever(self: &Arc<Self>, holder: &Arc<dyn Holder>) {
        let nobody = Notify::new();
        while !self.stopping.load(Ordering::Relaxed) {
            let due = self.scrub_due(clock::now());
            if due > clock::now() {
                rest(due, &nobody).await;
                continue;
            }
            let started = clock::now();
            self.scrub_read.store(0, Ordering::Relaxed);
            self.scrub_running.store(true, Ordering::Relaxed);
            let (this, holder) = (Arc::clone(self), Arc::clone(holder));
            let done = blocking::run("reading everything again", move || this.scrub(&*holder)).await;
            self.scrub_running.store(false, Ordering::Relaxed);
            let done = done.map_err(|error| error.to_string()).and_then(|done| done.map_err(|error| error.to_string()));
            if done.is_err() && self.stopping.load(Ordering::Relaxed) {
                return;
            }
            match done {
                Ok(report) => self.scrubbed(started, &report),
                Err(problem) => {
                    tracing::warn!(problem, "reading everything again ended early");
                    let run = ScrubRun { started, ended: clock::now(), problem: Some(problem), ..ScrubRun::default() };
                    self.note(|memory| memory.scrub = Some(run));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Reads at the pace; what is found damaged is told at once.
    fn scrub(&self, holder: &dyn Holder) -> consign_store::Result<ScrubReport> {
        let never = AtomicBool::new(false);
        let mut pace = self.pace(holder, &never, &self.scrub_holding_back);
        let mut noted = self.store.damage_noted();
        upkeep::scrub(&self.store, &mut |bytes| {
            self.scrub_read.fetch_add(bytes, Ordering::Relaxed);
            let now = self.store.damage_noted();
            if now != noted {
                noted = now;
                self.check_damage();
            }
            pace.take(bytes)
        })
    }

    fn scrubbed(&self, started: crate::domain::Millis, report: &ScrubReport) {
        let (read_bytes, damaged_chunks) = (report.bytes, report.damaged.len() as u64);
        let damaged_packs = report.damaged_packs.len() as u64;
        if !self.act_on(report) {
            tracing::info!(read_bytes, "everything was read again");
        }
        let ended = clock::now();
        let run = ScrubRun { started, ended, read_bytes, damaged_chunks, damaged_packs, problem: None };
        self.note(|memory| memory.scrub = Some(run));
    }

    /// Has what was found damaged looked after; says whether there was any.
    pub(super) fn act_on(&self, report: &ScrubReport) -> bool {
        let (damaged_chunks, damaged_packs) = (report.damaged.len(), report.damaged_packs.len());
        if damaged_chunks + damaged_packs == 0 {
            return false;
        }
        tracing::error!(damaged_chunks, damaged_packs, "the disk has lost or changed content");
        if damaged_packs > 0 {
            self.frames_damaged.store(true, Ordering::Relaxed);
        }
        self.check_damage();
        true
    }

    /// Lets the role act on damage; packs whose frame is damaged are written anew as soon as nothing in them is missing.
    pub(super) async fn mend_forever(self: &Arc<Self>, holder: &Arc<dyn Holder>) {
        let mut again = false;
        loop {
            if again || self.frames_damaged.load(Ordering::Relaxed) {
                // Content in them that is mended meanwhile makes the next try possible.
                let _ = timeout(AGAIN, self.damage_wake.notified()).await;
            } else {
                self.damage_wake.notified().await;
            }
            again = holder.damage_found().await;
            if self.frames_damaged.load(Ordering::Relaxed) {
                let store = self.store.clone();
                let mended = blocking::run("writing packs anew", move || {
                    upkeep::repair(&store, &mut |_| Ok(Vec::new())).map(|report| report.remaining.is_empty())
                });
                match mended.await {
                    Ok(Ok(true)) => self.frames_damaged.store(false, Ordering::Relaxed),
                    Ok(Ok(false)) | Err(_) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "a damaged pack cannot be written anew"),
                }
            }
        }
    }
}
