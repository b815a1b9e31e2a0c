//! How fast a link is, as seen.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consign_store::fsx;

/// What a link is taken to carry before anything was seen, bytes a second: 100 Mbit/s.
const ASSUMED: u64 = 12_500_000;
/// A transfer of fewer bytes says more about delays than about the link.
const SEEN_BYTES_MIN: u64 = 256 << 10;

/// The rate of the link to the servers, from what was fetched lately; kept over a restart where it has a file.
#[derive(Debug, Default)]
pub struct Rate {
    /// 0 before anything was seen.
    seen: AtomicU64,
    file: Option<PathBuf>,
}

impl Rate {
    /// Goes on with the rate that `file` tells, if it tells one.
    #[must_use]
    pub fn kept_in(file: PathBuf) -> Self {
        let known = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        Self { seen: AtomicU64::new(known.unwrap_or(0)), file: Some(file) }
    }

    /// Learns from a transfer of `bytes` that took `elapsed`; half of what is believed is what was seen last. May write its file.
    pub fn saw(&self, bytes: u64, elapsed: Duration) {
        if bytes < SEEN_BYTES_MIN {
            return;
        }
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
        let now = (bytes.saturating_mul(1_000_000) / micros).max(1);
        let learnt = |known: u64| if known == 0 { now } else { (known / 2).saturating_add(now / 2).max(1) };
        let known = self.seen.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| Some(learnt(known)));
        if let (Some(file), Ok(known)) = (&self.file, known) {
            // Lost by a crash it is assumed again; durable it would cost more than it is worth.
            let temp = fsx::temp_beside(file);
            let _ = std::fs::write(&temp, learnt(known).to_string()).and_then(|()| std::fs::rename(&temp, file));
        }
    }

    /// Bytes a second.
    #[must_use]
    pub fn bytes_per_sec(&self) -> u64 {
        match self.seen.load(Ordering::Relaxed) {
            0 => ASSUMED,
            seen => seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_seen_stands_in_place_of_what_was_assumed_and_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rate");
        let rate = Rate::kept_in(file.clone());
        rate.saw(SEEN_BYTES_MIN - 1, SECOND);
        assert_eq!(rate.bytes_per_sec(), ASSUMED, "too little to tell");
        rate.saw(500_000_000, SECOND);
        assert_eq!(rate.bytes_per_sec(), 500_000_000);
        rate.saw(300_000, SECOND);
        assert_eq!(Rate::kept_in(file.clone()).bytes_per_sec(), 250_150_000);
        for damaged in ["", "0", "-1", "fast", "99999999999999999999999"] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(Rate::kept_in(file.clone()).bytes_per_sec(), ASSUMED, "{damaged}");
        }
        rate.saw(u64::MAX, Duration::ZERO);
        rate.saw(u64::MAX, Duration::ZERO);
        assert!(rate.bytes_per_sec() > 250_150_000, "no overflow");
    }
}
