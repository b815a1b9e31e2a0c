//! Counts of bytes received and moved, readable at any time.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that one or several clients add to.
#[derive(Debug)]
pub struct Meter {
    wire_bytes: AtomicU64,
    socket_bytes: AtomicU64,
    wire_bytes_max: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { wire_bytes: AtomicU64::new(0), socket_bytes: AtomicU64::new(0), wire_bytes_max: AtomicU64::new(u64::MAX) }
    }
}

/// What a [`Meter`] said at one moment, or the difference of two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// Every byte of every response body.
    pub wire_bytes: u64,
    /// Every byte at the sockets, both directions, TLS included.
    pub socket_bytes: u64,
}

impl Meter {
    /// Reads the counters.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading { wire_bytes: self.wire_bytes.load(Ordering::Relaxed), socket_bytes: self.socket_bytes.load(Ordering::Relaxed) }
    }

    /// Sets how many body bytes may arrive in all: answers end with [`super::Error::OverBudget`] when more do.
    pub fn limit_wire(&self, wire_bytes_max: u64) {
        self.wire_bytes_max.store(wire_bytes_max, Ordering::Relaxed);
    }

    /// Counts body bytes; false if they are more than may arrive.
    pub(crate) fn add_wire(&self, bytes: usize) -> bool {
        let before = self.wire_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        before.saturating_add(bytes as u64) <= self.wire_bytes_max.load(Ordering::Relaxed)
    }

    pub(crate) fn add_socket(&self, bytes: usize) {
        self.socket_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Sub for Reading {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            wire_bytes: self.wire_bytes.saturating_sub(earlier.wire_bytes),
            socket_bytes: self.socket_bytes.saturating_sub(earlier.socket_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_limit_is_counted_and_told() {
        let meter = Meter::default();
        assert!(meter.add_wire(usize::MAX), "no limit");
        let meter = Meter::default();
        meter.limit_wire(10);
        assert!(meter.add_wire(10) && !meter.add_wire(1));
        meter.limit_wire(20);
        assert!(meter.add_wire(9) && !meter.add_wire(1));
        assert_eq!(meter.read().wire_bytes, 21);
    }
}
