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
/// Records are about this much smaller than the files in them, where no server says how much.
const RECORDS_SHRINK: u64 = 3;
/// What a core makes by a patch in a second more than it would take from what is here, bytes of target where next to nothing is coded: measured
/// from start to end of updates of scripts, with writing and reading it again.
const COPY_BYTES_PER_SEC: u64 = 350_000_000;
/// What patches of native code make in a second, by two cores: measured 45 to 70 million bytes by each.
const MADE_BYTES_PER_SEC: u64 = 100_000_000;
/// Decisions that a core decodes in a second: measured 30 to 80 million on packages of scripts and of native programs, the
/// least where two patches are applied at once.
const DECISIONS_PER_SEC: u64 = 30_000_000;
/// What a core compresses again in a second, plain bytes of archives: measured, with all else that applying them takes, 27 million on a package of scripts
/// (91 million bytes, level 9) by two threads at once; by one 28 million on one of programs (170 million, level 9) and 39 million on a wheel (70 million, level 6).
const FOLD_BYTES_PER_SEC: u64 = 26_000_000;

/// Of the time that building and applying take, building takes so many parts of so many: applying took a third (scripts) to three quarters (a .tgz of
/// programs) as long as building.
const BUILT: u64 = 2;
const APPLIED_WITH_BUILT: u64 = 3;

/// A patch makes a part of what records bring only if that ends within so many thousandths of what records alone take: it costs the processors much.
const SHARED_PERMILLE_MAX: u128 = 850;

/// A patch that is to be had, and what else would bring the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    /// Its length, bytes.
    pub patch_len: u64,
    /// What the same content costs as records, bytes.
    pub records_len: u64,
    /// What it makes, bytes.
    pub raw_len: u64,
    /// Decisions that applying it decodes.
    pub decisions: u64,
    /// Plain bytes that applying it compresses, and as many as take as long as what else it does once it has decoded.
    pub folded_bytes: u64,
    /// How many such patches are applied at once.
    pub at_once: u64,
    /// How many threads compress at once, whether for one patch or for several.
    pub fold_threads: u64,
}

/// What changed from one version to the next, as far as is known before there are patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// Bytes of the files that changed.
    pub raw_bytes: u64,
    /// About what they cost as records.
    pub records_bytes: u64,
}

impl Changed {
    /// Estimates it of `raw_bytes`, where all of the version costs `full_wire_bytes` and has `full_raw_bytes`; the first is 0 where nobody says.
    #[must_use]
    pub fn of(raw_bytes: u64, full_wire_bytes: u64, full_raw_bytes: u64) -> Self {
        if full_wire_bytes == 0 || full_raw_bytes == 0 {
            return Self { raw_bytes, records_bytes: raw_bytes / RECORDS_SHRINK };
        }
        let share = u128::from(raw_bytes) * u128::from(full_wire_bytes) / u128::from(full_raw_bytes);
        Self { raw_bytes, records_bytes: u64::try_from(share).unwrap_or(u64::MAX).min(raw_bytes.max(full_wire_bytes)) }
    }
}

/// How long patches that are being built are worth waiting for over a link that carries `bytes_per_sec`: what they spare, less what it takes to
/// apply them, which is longer where building is: half of that.
#[must_use]
pub fn patience(prefer: Prefer, changed: Changed, bytes_per_sec: u64) -> Duration {
    match prefer {
        Prefer::Bytes => PATIENCE_MAX,
        Prefer::Time => {
            let spared = micros(changed.records_bytes, bytes_per_sec);
            let left = spared.saturating_sub(micros(changed.raw_bytes, MADE_BYTES_PER_SEC));
            Duration::from_micros(left / APPLIED_WITH_BUILT * BUILT).min(PATIENCE_MAX)
        }
    }
}

/// How content for which there is a patch is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the patch.
    Patch,
    /// By the patch from the front and by records from the back, at the same time: applying it takes longer than fetching records.
    Shared {
        /// How much the patch makes, in thousandths.
        permille: u32,
    },
    /// By records.
    Records,
}

/// Says how content is brought for which there is a patch, over a link that carries `bytes_per_sec`.
#[must_use]
pub fn way(prefer: Prefer, offered: &Offered, bytes_per_sec: u64) -> Way {
    let Offered { patch_len, records_len, raw_len, decisions, folded_bytes, at_once, fold_threads } = *offered;
    let fetching = micros(patch_len, bytes_per_sec);
    let (decoding, folding) = (micros(decisions, DECISIONS_PER_SEC), micros(folded_bytes, FOLD_BYTES_PER_SEC));
    // What is decoded is compressed again beside it, but of one patch by one thread.
    let by_one = decoding / at_once.max(1);
    let by_all = decoding.saturating_add(folding) / at_once.max(fold_threads).max(1);
    let applying = (micros(raw_len, COPY_BYTES_PER_SEC) / at_once.max(1)).saturating_add(by_one.max(by_all));
    let records = micros(records_len, bytes_per_sec);
    if patch_len >= records_len {
        return Way::Records;
    }
    if prefer == Prefer::Bytes || fetching.saturating_add(applying) < records {
        return Way::Patch;
    }
    // A patch is applied as it arrives, and records leave it room on the link. Both end at the same time if each has a share as large as it is fast.
    let (by_patch, all) = (u128::from(records), u128::from(records - fetching) + u128::from(applying));
    let together = u128::from(applying) * by_patch / all.max(1);
    if together * 1000 >= by_patch * SHARED_PERMILLE_MAX {
        return Way::Records;
    }
    Way::Shared { permille: u32::try_from(by_patch * 1000 / all.max(1)).unwrap_or(1000) }
}

/// How long `count` take at `per_sec` a second.
fn micros(count: u64, per_sec: u64) -> u64 {
    count.saturating_mul(1_000_000) / per_sec.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000 / 8;

    fn offered(patch_len: u64, records_len: u64, raw_len: u64, decisions: u64, folded_bytes: u64) -> Offered {
        Offered { patch_len, records_len, raw_len, decisions, folded_bytes, at_once: 1, fold_threads: 1 }
    }

    fn pays(prefer: Prefer, offered: &Offered, mbit: u64) -> bool {
        way(prefer, offered, mbit * MBIT) == Way::Patch
    }

    #[test]
    fn a_fast_link_takes_records_and_a_slow_one_patches() {
        let pays = |prefer, mbit: u64| pays(prefer, &offered(70_000, 8_000_000, 40_000_000, 5_000_000, 0), mbit);
        assert!(pays(Prefer::Time, 10) && pays(Prefer::Time, 100));
        assert!(!pays(Prefer::Time, 10_000));
        assert!(pays(Prefer::Bytes, 10_000));
        assert_eq!(way(Prefer::Bytes, &offered(10, 10, 10, 0, 0), MBIT), Way::Records, "a patch that saves nothing is not taken");
    }

    #[test]
    fn what_is_mostly_copied_pays_on_a_fast_link_and_what_is_mostly_coded_does_not() {
        assert!(pays(Prefer::Time, &offered(2_000, 15_000_000, 32 << 20, 20_000, 0), 1000));
        let coded = offered(720_000, 8_000_000, 26_000_000, 18_000_000, 0);
        assert!(!pays(Prefer::Time, &coded, 1000));
        assert!(!pays(Prefer::Time, &coded, 100), "one after the other");
        assert!(pays(Prefer::Time, &Offered { at_once: 2, ..coded }, 100));
        assert!(pays(Prefer::Time, &coded, 10));
    }

    #[test]
    fn an_archive_that_takes_long_to_compress_comes_from_both_ends() {
        let way = |folded, fold_threads, mbit: u64| {
            let offered = offered(113_000, 26_900_000, 26_900_000, 0, folded);
            way(Prefer::Time, &Offered { fold_threads, ..offered }, mbit * MBIT)
        };
        assert!(way(0, 1, 100) == Way::Patch && way(66_000_000, 2, 100) == Way::Patch);
        let shared = |way| if let Way::Shared { permille } = way { permille } else { 0 };
        let (by_one, by_two) = (shared(way(66_000_000, 1, 100)), shared(way(110_000_000, 2, 100)));
        assert!((300..600).contains(&by_one) && (300..600).contains(&by_two), "{by_one} {by_two}");
        assert!(shared(way(66_000_000, 1, 200)) < by_one, "the faster the link, the more it brings");
        assert_eq!(way(66_000_000, 1, 1000), Way::Records, "not worth the processors' work");
        assert_eq!(way(u64::MAX, 1, 100), Way::Records, "no overflow");
    }

    #[test]
    fn what_both_do_takes_as_long() {
        // 10 s of records, 30 s of work: a quarter each of its own.
        let way = way(Prefer::Time, &offered(1, 10_000_000, 0, 30 * DECISIONS_PER_SEC, 0), 1_000_000);
        assert_eq!(way, Way::Shared { permille: 250 });
    }

    #[test]
    fn records_shrink_as_the_version_does() {
        let records = |raw, wire, full| Changed::of(raw, wire, full).records_bytes;
        assert_eq!(records(30_000, 0, 90_000), 10_000, "nobody says how much");
        assert_eq!(records(30_000, 89_000, 90_000), 29_666, "an archive");
        assert_eq!(records(30_000, 18_000, 90_000), 6_000);
        assert_eq!(records(0, 0, 0), 0);
        assert_eq!(records(u64::MAX, u64::MAX, 1), u64::MAX, "no overflow");
    }

    #[test]
    fn patience_is_what_records_would_take_less_what_patches_take() {
        let changed = Changed { raw_bytes: 30_000_000, records_bytes: 10_000_000 };
        assert_eq!(patience(Prefer::Time, changed, 100 * MBIT), Duration::from_micros(333_332), "two thirds of half a second");
        assert_eq!(patience(Prefer::Time, changed, 10_000 * MBIT), Duration::ZERO);
        assert_eq!(patience(Prefer::Time, Changed { raw_bytes: 1, records_bytes: u64::MAX }, 1), PATIENCE_MAX);
        assert_eq!(patience(Prefer::Bytes, Changed::default(), u64::MAX), PATIENCE_MAX);
    }
}
