//! Counts of bytes received and moved, readable at any time.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that one or several clients add to.
#[derive(Debug, Default)]
pub struct Meter {
    wire_bytes: AtomicU64,
    socket_bytes: AtomicU64,
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

    pub(crate) fn add_wire(&self, bytes: usize) {
        self.wire_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
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
