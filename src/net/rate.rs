//! How fast a link is, as seen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a link is taken to carry before anything was seen, bytes a second: 100 Mbit/s.
const ASSUMED: u64 = 12_500_000;
/// A transfer of fewer bytes says more about delays than about the link.
const SEEN_BYTES_MIN: u64 = 256 << 10;

/// The rate of the link to the servers, from what was fetched lately.
#[derive(Debug)]
pub struct Rate(AtomicU64);

impl Default for Rate {
    fn default() -> Self {
        Self(AtomicU64::new(ASSUMED))
    }
}

impl Rate {
    /// Learns from a transfer of `bytes` that took `elapsed`; half of what is believed is what was seen last.
    pub fn saw(&self, bytes: u64, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
        if bytes >= SEEN_BYTES_MIN {
            let seen = bytes.saturating_mul(1_000_000) / micros;
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| Some(known / 2 + seen / 2));
        }
    }

    /// Bytes a second.
    #[must_use]
    pub fn bytes_per_sec(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
