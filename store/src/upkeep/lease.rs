//! Leases: who works with the store, and since when.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::store::{Inner, Store};

/// Protects what its holder appends or looks up: while it lives, garbage collection takes nothing of that away, and what was located can be
/// read.
///
/// Hold it from before the first look-up until the version is named where [`super::gc()`] reads the live versions.
#[must_use = "dropped, it protects nothing"]
pub struct Lease {
    inner: Arc<Inner>,
    number: u64,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Store {
    /// Begins a lease.
    pub fn lease(&self) -> Lease {
        Lease { inner: Arc::clone(&self.inner), number: self.inner.leases.begin() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let oldest = self.inner.leases.end(self.number);
        self.inner.packs.release(oldest);
    }
}

#[derive(Debug, Default)]
struct State {
    /// Number of the next lease.
    next: u64,
    live: BTreeSet<u64>,
}

/// The live leases of a store.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<State>);

impl Leases {
    fn begin(&self) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.live.insert(number);
        number
    }

    /// Ends a lease; returns the oldest that lives, or what the next will be.
    fn end(&self, number: u64) -> u64 {
        let mut state = self.lock();
        state.live.remove(&number);
        state.live.first().copied().unwrap_or(state.next)
    }

    /// Returns the number of the oldest live lease, or of the next if there is none.
    pub(crate) fn oldest(&self) -> u64 {
        let state = self.lock();
        state.live.first().copied().unwrap_or(state.next)
    }

    /// Returns the number of the next lease.
    pub(crate) fn next(&self) -> u64 {
        self.lock().next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it counts leases")
    }
}
