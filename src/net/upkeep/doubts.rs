//! Doubts: somebody got something wrong of a version, or an answer could not be made, so what it needs is read again now and not at the next scrub.
//!
//! Who doubts is not believed, only a reason to look: a version that was found good is not looked at again for a while.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consign_store::upkeep::examine;
use consign_store::{Error, ManifestId};
use tokio::sync::Notify;

use super::Upkeep;
use crate::net::blocking;

/// How long a version that was looked at is not looked at again.
const REST: Duration = Duration::from_mins(1);
/// Most versions that wait to be looked at, and that are remembered; more doubts are dropped: they come again.
const WAITING_MAX: usize = 64;
const SEEN_MAX: usize = 4096;

/// Versions in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<ManifestId>,
    seen: HashMap<ManifestId, Instant>,
}

impl Doubts {
    /// Takes a version in, unless it waits already or was looked at lately; says whether it did.
    fn add(&self, version: ManifestId) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.seen.retain(|_, when| when.elapsed() < REST);
        let known = state.seen.contains_key(&version) || state.waiting.contains(&version);
        if known || state.waiting.len() >= WAITING_MAX || state.seen.len() >= SEEN_MAX {
            return false;
        }
        state.waiting.push_back(version);
        self.wake.notify_one();
        true
    }

    async fn next(&self) -> ManifestId {
        loop {
            if let Some(version) = self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_front() {
                return version;
            }
            self.wake.notified().await;
        }
    }

    fn looked_at(&self, version: ManifestId) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).seen.insert(version, Instant::now());
    }
}

impl Upkeep {
    /// Has what `version` needs read again soon.
    pub fn doubt(&self, version: ManifestId) {
        if self.doubts.add(version) {
            tracing::warn!(%version, "in doubt: what it needs is read again");
        }
    }

    pub(super) async fn examine_forever(self: &Arc<Self>) {
        loop {
            let version = self.doubts.next().await;
            let this = Arc::clone(self);
            // Somebody waits for it: no pauses.
            let stop = move |_| if this.stopping.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) };
            let store = self.store.clone();
            let done = blocking::run("reading a version again", move || examine(&store, version, &mut { stop })).await;
            self.doubts.looked_at(version);
            match done.map_err(|error| error.to_string()).and_then(|done| done.map_err(|error| error.to_string())) {
                Ok(report) => {
                    let (damaged_chunks, read_bytes) = (report.damaged.len(), report.bytes);
                    tracing::info!(%version, damaged_chunks, read_bytes, "what was in doubt was read again");
                    self.act_on(&report);
                }
                Err(problem) => tracing::warn!(%version, problem, "what is in doubt cannot be read"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_looked_at_once_however_many_doubt_it() {
        let doubts = Doubts::default();
        let version = |number: u8| ManifestId::from(consign_store::FileDigest([number; 32]));
        assert!(doubts.add(version(1)) && !doubts.add(version(1)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(doubts.next()), version(1));
        doubts.looked_at(version(1));
        assert!(!doubts.add(version(1)), "not again so soon");
        assert_eq!((2..=255).filter(|number| doubts.add(version(*number))).count(), WAITING_MAX);
    }
}
