//! Doubts: somebody got something wrong of a version, or an answer could not be made, so what it needs is read again now and not at the next scrub.
//!
//! Who doubts is not believed, only a reason to look. A version that was looked at is not looked at again for ten times as long as that took, and where it was
//! found good nothing is: so whoever doubts on and on costs a tenth of what a disk reads at most.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use consign_store::upkeep::examine;
use consign_store::{Error, ManifestId};
use tokio::sync::Notify;

use super::Upkeep;
use crate::net::blocking;

/// Shortest time for which a version that was looked at is not looked at again.
const REST_MIN: Duration = Duration::from_mins(1);
/// How many times as long as looking took that version rests, and everything where it was found good.
const REST_TIMES: u32 = 10;
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
    /// What is looked at now.
    present: Option<ManifestId>,
    /// What was looked at, and until when it rests.
    seen: HashMap<ManifestId, Instant>,
}

impl Doubts {
    /// Takes a version in, unless it waits already or was looked at lately; says whether it did.
    fn add(&self, version: ManifestId) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.seen.retain(|_, until| *until > now);
        let known = state.seen.contains_key(&version) || state.waiting.contains(&version) || state.present == Some(version);
        if known || state.waiting.len() >= WAITING_MAX || state.seen.len() >= SEEN_MAX {
            return false;
        }
        state.waiting.push_back(version);
        self.wake.notify_one();
        true
    }

    /// How many versions are looked at or wait for it.
    pub(super) fn count(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.waiting.len() + usize::from(state.present.is_some())) as u64
    }

    async fn next(&self) -> ManifestId {
        loop {
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.present = state.waiting.pop_front();
                if let Some(version) = state.present {
                    return version;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Ends a look that took `took`.
    fn looked_at(&self, version: ManifestId, took: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.present = None;
        state.seen.insert(version, Instant::now() + REST_MIN.max(took.saturating_mul(REST_TIMES)));
    }
}

impl Upkeep {
    /// Has what `version` needs read again soon, unless it is already or was lately; says whether it is.
    pub fn doubt(&self, version: ManifestId) -> bool {
        let taken = self.doubts.add(version);
        if taken {
            tracing::warn!(%version, "in doubt: what it needs is read again");
        }
        taken
    }

    pub(super) async fn examine_forever(self: &Arc<Self>) {
        loop {
            let version = self.doubts.next().await;
            let this = Arc::clone(self);
            // Somebody waits for it: no pauses.
            let mut stop = move |_| if this.stopping.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) };
            let (store, begun) = (self.store.clone(), Instant::now());
            let done = blocking::run("reading a version again", move || examine(&store, version, &mut stop)).await;
            let took = begun.elapsed();
            self.doubts.looked_at(version, took);
            let damaged = match done.map_err(|error| error.to_string()).and_then(|done| done.map_err(|error| error.to_string())) {
                Ok(report) => {
                    let (damaged_chunks, read_bytes) = (report.damaged.len(), report.bytes);
                    tracing::info!(%version, damaged_chunks, read_bytes, "what was in doubt was read again");
                    self.act_on(&report)
                }
                Err(problem) => {
                    tracing::warn!(%version, problem, "what is in doubt cannot be read");
                    false
                }
            };
            if !damaged {
                tokio::time::sleep(took.saturating_mul(REST_TIMES)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_looked_at_once_however_many_doubt_it_and_then_rests() {
        let doubts = Doubts::default();
        let version = |number: u8| ManifestId::from(consign_store::FileDigest([number; 32]));
        assert!(doubts.add(version(1)) && !doubts.add(version(1)));
        assert_eq!(doubts.count(), 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(doubts.next()), version(1));
        assert!(!doubts.add(version(1)), "not while it is looked at");
        assert_eq!(doubts.count(), 1);
        doubts.looked_at(version(1), Duration::from_mins(2));
        assert!(!doubts.add(version(1)), "not again so soon");
        assert_eq!(doubts.count(), 0);
        let rests = doubts.state.lock().unwrap().seen[&version(1)].duration_since(Instant::now());
        assert!(rests > Duration::from_mins(19), "{rests:?}");
        assert_eq!((2..=255).filter(|number| doubts.add(version(*number))).count(), WAITING_MAX);
    }
}
