//! A set of small numbers, one bit each, shared by threads.

use std::sync::atomic::{AtomicU32, Ordering};

/// A set of numbers below a length fixed at the start.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<AtomicU32>);

impl Bits {
    /// Returns the empty set of numbers below `len`.
    pub(super) fn new(len: u32) -> Self {
        Self((0..len.div_ceil(32)).map(|_| AtomicU32::new(0)).collect())
    }

    /// Says whether `number` is in the set.
    pub(super) fn has(&self, number: u32) -> bool {
        self.0[number as usize / 32].load(Ordering::Acquire) & mask(number) != 0
    }

    /// Adds `number`; says whether it was new, to exactly one of the threads that add it.
    pub(super) fn add(&self, number: u32) -> bool {
        self.0[number as usize / 32].fetch_or(mask(number), Ordering::AcqRel) & mask(number) == 0
    }

    /// Takes `number` out.
    pub(super) fn remove(&self, number: u32) {
        self.0[number as usize / 32].fetch_and(!mask(number), Ordering::AcqRel);
    }
}

fn mask(number: u32) -> u32 {
    1 << (number % 32)
}
