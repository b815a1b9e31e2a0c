//! How long to wait before a try is repeated.

/// The wait after the first failure, before jitter.
const FIRST_MILLIS: u64 = 1_000;
/// The longest wait.
const WAIT_MILLIS_MAX: u64 = 5 * 60 * 1_000;

/// Returns the wait after `attempt` failures in a row (0 and 1 are the first): one second, doubled each time, five minutes at
/// most.
///
/// Between half and all of that is used, decided by `seed` (such as a machine's id), so that many who failed together do not come
/// back together. Milliseconds; the same arguments give the same wait.
#[must_use]
pub fn back_off_millis(attempt: u32, seed: u64) -> u64 {
    let doublings = attempt.saturating_sub(1).min(16);
    let full = (FIRST_MILLIS << doublings).min(WAIT_MILLIS_MAX);
    let half = full / 2;
    half + scramble(seed ^ u64::from(attempt)) % (full - half + 1)
}

/// Spreads neighbouring numbers over the whole range (the finalizer of `SplitMix64`).
fn scramble(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_from_one_second_to_five_minutes() {
        for (attempt, full) in [(0, 1_000), (1, 1_000), (2, 2_000), (5, 16_000), (9, 256_000), (10, 300_000), (u32::MAX, 300_000)]
        {
            for seed in 0..100 {
                let wait = back_off_millis(attempt, seed);
                assert!((full / 2..=full).contains(&wait), "attempt {attempt}, seed {seed}: {wait} ms");
            }
        }
    }

    #[test]
    fn spreads_by_seed_and_repeats_itself() {
        let waits: std::collections::BTreeSet<u64> = (0..1_000).map(|seed| back_off_millis(10, seed)).collect();
        assert!(waits.len() > 900, "{} different waits of 1000", waits.len());
        assert_eq!(back_off_millis(7, 42), back_off_millis(7, 42));
    }
}
