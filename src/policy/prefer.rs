//! Patches or records: what a machine spares where it can choose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a machine spares where it can choose between patches, which may have to be waited for and take time to apply, and records at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    /// Time: patches only where that ends sooner than fetching records would.
    #[default]
    Time,
    /// Bytes on the wire: it waits for patches, ten minutes at most.
    Bytes,
}

/// Longest wait for patches.
pub(super) const PATIENCE_MAX: Duration = Duration::from_mins(10);
/// Records are about this much smaller than the files in them.
const RECORDS_SHRINK: u64 = 3;
/// What a core copies by a patch in a second, bytes of target: measured on packages of scripts, where next to nothing is coded (940 MB/s), and less
/// for slower machines.
const COPY_BYTES_PER_SEC: u64 = 600_000_000;
/// What a core decodes besides in a second, bytes of patch: measured 0.5 to 1.2 MB/s on packages of scripts and of native programs.
const DECODE_BYTES_PER_SEC: u64 = 800_000;
/// What a core compresses again in a second, plain bytes of archives: measured at the highest level.
const FOLD_BYTES_PER_SEC: u64 = 20_000_000;

/// How long patches that are being built are worth waiting for, where `changed_bytes` of files changed and the link carries `bytes_per_sec`.
#[must_use]
pub fn patience(prefer: Prefer, changed_bytes: u64, bytes_per_sec: u64) -> Duration {
    match prefer {
        Prefer::Bytes => PATIENCE_MAX,
        Prefer::Time => Duration::from_millis(millis(changed_bytes / RECORDS_SHRINK, bytes_per_sec)).min(PATIENCE_MAX),
    }
}

/// Says whether a patch of `patch_len` bytes that makes `raw_len` bytes, and compresses `folded_len` for that, is to be taken instead of
/// `records_len` bytes of records.
#[must_use]
pub fn patch_pays(prefer: Prefer, patch_len: u64, records_len: u64, raw_len: u64, folded_len: u64, bytes_per_sec: u64) -> bool {
    let rates = [
        (patch_len, bytes_per_sec),
        (raw_len, COPY_BYTES_PER_SEC),
        (patch_len, DECODE_BYTES_PER_SEC),
        (folded_len, FOLD_BYTES_PER_SEC),
    ];
    let patch_millis = || rates.into_iter().map(|(bytes, rate)| millis(bytes, rate)).fold(0, u64::saturating_add);
    patch_len < records_len && (prefer == Prefer::Bytes || patch_millis() < millis(records_len, bytes_per_sec))
}

fn millis(bytes: u64, bytes_per_sec: u64) -> u64 {
    bytes.saturating_mul(1000) / bytes_per_sec.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000 / 8;

    #[test]
    fn a_fast_link_takes_records_and_a_slow_one_patches() {
        let pays = |prefer, mbit: u64| patch_pays(prefer, 70_000, 8_000_000, 40_000_000, 0, mbit * MBIT);
        assert!(pays(Prefer::Time, 10));
        assert!(!pays(Prefer::Time, 10_000));
        assert!(pays(Prefer::Bytes, 10_000));
        assert!(!patch_pays(Prefer::Bytes, 10, 10, 10, 0, MBIT), "a patch that saves nothing is not taken");
    }

    #[test]
    fn what_is_mostly_copied_pays_on_a_fast_link_and_what_is_mostly_coded_does_not() {
        assert!(patch_pays(Prefer::Time, 2_000, 12_000_000, 32 << 20, 0, 1000 * MBIT));
        assert!(!patch_pays(Prefer::Time, 1_440_000, 12_000_000, 51_000_000, 0, 1000 * MBIT));
        assert!(patch_pays(Prefer::Time, 1_440_000, 12_000_000, 51_000_000, 0, 10 * MBIT));
    }

    #[test]
    fn an_archive_that_takes_long_to_compress_comes_as_records() {
        let pays = |folded| patch_pays(Prefer::Time, 58_000, 20_700_000, 20_700_000, folded, 100 * MBIT);
        assert!(pays(0));
        assert!(!pays(91_000_000));
    }

    #[test]
    fn patience_is_what_records_would_take() {
        assert_eq!(patience(Prefer::Time, 30_000_000, 100 * MBIT), Duration::from_millis(800));
        assert!(patience(Prefer::Time, 30_000_000, 10_000 * MBIT) < Duration::from_millis(10));
        assert_eq!(patience(Prefer::Time, u64::MAX, 1), PATIENCE_MAX);
        assert_eq!(patience(Prefer::Bytes, 0, u64::MAX), PATIENCE_MAX);
    }
}
