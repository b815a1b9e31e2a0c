//! Upkeep of a served store, the same at hub and site server: garbage is collected and everything is read again, each from time to time, at a
//! set rate, and behind all that somebody waits for.
//!
//! When is decided by `policy`, what is live and what damage means by the role ([`Holder`]). What was done last is kept in a small file; the
//! position of a scrub and what is condemned are in the store.

mod collect;
mod doubts;
mod pace;
mod scrub;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use consign_store::upkeep::Live;
use consign_store::{Store, fsx};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::timeout;

use self::doubts::Doubts;
use self::pace::Pace;
use super::clock;
use super::data_plane::{BoxFuture, DataPlane};
use crate::domain::Millis;
use crate::policy::{Collection, collection_due, scrub_due};
use crate::protocol::upkeep::{GcRun, GcView, ScrubRun, ScrubView, UpkeepView};

/// Longest sleep: a clock that is set forward is noticed within it.
const SLEEP_MAX: Duration = Duration::from_mins(10);
/// Bytes of the file that says what was done last.
const MEMORY_BYTES_MAX: u64 = 1 << 20;

/// What a role tells the upkeep of its store.
pub trait Holder: Send + Sync + 'static {
    /// The versions that the store is kept for, or why that is not known.
    fn live(&self) -> BoxFuture<'_, Result<Live, String>>;

    /// Says whether somebody waits for work on the store now: upkeep holds back meanwhile.
    fn is_busy(&self) -> bool;

    /// Acts on damage that was found; also called when there is some at a start, and when some may have been mended. Says whether to be called again after
    /// a while.
    fn damage_found(&self) -> BoxFuture<'_, bool>;
}

/// How a store is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpkeepOptions {
    /// Between collections of garbage.
    pub gc_every: Duration,
    /// How long what is dead stays.
    pub gc_grace: Duration,
    /// Between scrubs.
    pub scrub_every: Duration,
    /// Most bytes a second that each of the two reads.
    pub bytes_per_sec: u64,
}

impl Default for UpkeepOptions {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self { gc_every: day, gc_grace: day, scrub_every: 7 * day, bytes_per_sec: 20 << 20 }
    }
}

/// What was done last, as kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Memory {
    gc: Option<GcRun>,
    #[serde(default)]
    freed_bytes: u64,
    scrub: Option<ScrubRun>,
}

/// The upkeep of one store.
#[derive(Debug)]
pub struct Upkeep {
    store: Store,
    path: PathBuf,
    options: UpkeepOptions,
    memory: Mutex<Memory>,
    /// Who changes the memory holds it until that is written: the file never goes back, and nobody is shown what a kill would undo.
    noting: Mutex<()>,
    /// A version went away.
    asked: AtomicBool,
    /// Room is needed now: no grace, no pauses.
    urgent: AtomicBool,
    gc_wake: Notify,
    damage_wake: Notify,
    doubts: Doubts,
    gc_running: AtomicBool,
    scrub_running: AtomicBool,
    scrub_read: AtomicU64,
    gc_holding_back: AtomicBool,
    scrub_holding_back: AtomicBool,
    /// A part of a pack that is no content is damaged.
    frames_damaged: AtomicBool,
    stopping: AtomicBool,
}

impl Upkeep {
    /// Looks after `store`; what was done last is kept in the file `path`.
    #[must_use]
    pub fn new(store: Store, path: PathBuf, options: UpkeepOptions) -> Self {
        let memory = read(&path).unwrap_or_default();
        Self {
            store,
            path,
            options,
            memory: Mutex::new(memory),
            noting: Mutex::new(()),
            asked: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            gc_wake: Notify::new(),
            damage_wake: Notify::new(),
            doubts: Doubts::default(),
            gc_running: AtomicBool::new(false),
            scrub_running: AtomicBool::new(false),
            scrub_read: AtomicU64::new(0),
            gc_holding_back: AtomicBool::new(false),
            scrub_holding_back: AtomicBool::new(false),
            frames_damaged: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// Runs until the task ends; `plane` holds files of versions that go with them.
    pub async fn run(self: Arc<Self>, holder: Arc<dyn Holder>, plane: Arc<DataPlane>) {
        if self.store.damage_noted() > 0 {
            self.check_damage();
        }
        tokio::join!(
            self.collect_forever(&holder, &plane),
            self.scrub_forever(&holder),
            self.examine_forever(),
            self.mend_forever(&holder)
        );
    }

    /// A version went away: garbage is collected soon.
    pub fn collect_soon(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.gc_wake.notify_one();
    }

    /// Versions were given up because room is needed now: what they alone needed goes without grace or pause.
    pub fn collect_urgently(&self) {
        self.urgent.store(true, Ordering::Relaxed);
        self.collect_soon();
    }

    /// Says whether the last collection left something dead.
    pub fn has_dead(&self) -> bool {
        self.memory().gc.as_ref().is_some_and(|run| run.waiting_bytes > 0)
    }

    /// Damage was found or may be mended: the role looks what that means for its versions.
    pub fn check_damage(&self) {
        self.damage_wake.notify_one();
    }

    /// Ends what runs; what is done stays done.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What `status` shows; the role adds its damaged versions.
    pub fn view(&self) -> UpkeepView {
        let now = clock::now();
        let memory = self.memory().clone();
        let flag = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        UpkeepView {
            gc: GcView {
                running: flag(&self.gc_running),
                next: self.gc_due(now),
                last: memory.gc,
                freed_bytes: memory.freed_bytes,
            },
            scrub: ScrubView {
                running: flag(&self.scrub_running),
                read_bytes: self.scrub_read.load(Ordering::Relaxed),
                total_bytes: self.store.stats().map_or(0, |stats| stats.stored_bytes),
                next: self.scrub_due(now),
                last: memory.scrub,
            },
            holding_back: flag(&self.gc_holding_back) || flag(&self.scrub_holding_back),
            doubts: self.doubts.count(),
            damaged_chunks: self.store.damaged().map_or(0, |chunks| chunks.len() as u64),
            damaged: Vec::new(),
        }
    }

    fn gc_due(&self, now: Millis) -> Millis {
        let last = self.memory().gc.clone();
        collection_due(
            now,
            &Collection {
                unfinished: last.as_ref().is_some_and(|run| run.waiting_bytes > 0),
                failed: last.as_ref().is_some_and(|run| run.problem.is_some()),
                last: last.map(|run| run.ended),
                asked: self.asked.load(Ordering::Relaxed),
                every_millis: millis(self.options.gc_every),
                grace_millis: millis(self.options.gc_grace),
            },
        )
    }

    fn scrub_due(&self, now: Millis) -> Millis {
        let last = self.memory().scrub.as_ref().filter(|run| run.problem.is_none()).map(|run| run.ended);
        scrub_due(now, last, millis(self.options.scrub_every))
    }

    fn pace<'a>(&'a self, holder: &'a dyn Holder, urgent: &'a AtomicBool, holding_back: &'a AtomicBool) -> Pace<'a> {
        let (bytes_per_sec, stopping) = (self.options.bytes_per_sec, &self.stopping);
        Pace { bytes_per_sec, due: Instant::now(), holder, urgent, stopping, holding_back }
    }

    /// Keeps what was done, and shows it once it is kept; if that cannot be written it is done again after the next start.
    fn note(&self, change: impl FnOnce(&mut Memory)) {
        let _turn = self.noting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = self.memory().clone();
        change(&mut memory);
        let text = serde_json::to_vec(&memory).expect("plain structs of texts and numbers always have a JSON form");
        if let Err(error) = fsx::write_durable(&self.path, &text) {
            tracing::warn!(%error, "cannot keep what upkeep has done");
        }
        *self.memory() = memory;
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every change is whole before anything that could panic.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &std::path::Path) -> Option<Memory> {
    let known = std::fs::metadata(path).is_ok_and(|file| file.len() <= MEMORY_BYTES_MAX);
    let bytes = if known { std::fs::read(path).ok()? } else { return None };
    serde_json::from_slice(&bytes).ok()
}

/// Waits until `due`, or for a shorter time: until `wake` is told or the clock is to be looked at again.
async fn rest(due: Millis, wake: &Notify) {
    let left = Duration::from_millis(u64::try_from(due.0 - clock::now().0).unwrap_or(0));
    // Either end of it is followed by another look.
    let _ = timeout(left.min(SLEEP_MAX), wake.notified()).await;
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is shown something finds it in the file: a kill right then undoes nothing.
    #[test]
    fn what_is_shown_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let path = dir.path().join("upkeep.json");
        let upkeep = Upkeep::new(store, path.clone(), UpkeepOptions::default());
        std::thread::scope(|scope| {
            let noting = scope.spawn(|| (0..200).for_each(|_| upkeep.note(|memory| memory.freed_bytes += 1)));
            while !noting.is_finished() {
                let shown = upkeep.memory().freed_bytes;
                let kept = read(&path).unwrap_or_default().freed_bytes;
                assert!(kept >= shown, "{shown} are shown, {kept} are kept");
            }
        });
        assert_eq!(read(&path).unwrap().freed_bytes, 200);
    }
}
