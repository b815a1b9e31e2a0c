//! Where bytes of the target may come from: an index of the bases by their eight-byte strings.

/// Bytes of an indexed string.
pub(super) const KEY_BYTES: usize = 8;
/// Most candidates that are looked at for one place of the target: eight make patches of native programs 2 to 5 % smaller, in 1.2 to 1.4 times the time.
const CANDIDATES_MAX: usize = 2;
/// Largest index, bytes, so that building keeps within 512 MiB: bases over 128 MiB are indexed at every fourth, eighth … place.
const INDEX_BYTES_MAX: usize = 384 << 20;
/// Bytes over which two places are compared.
const COMPARE_BYTES_MAX: usize = 256;
/// Points behind the best at which a comparison ends.
const SLACK: i64 = 16;

/// An index of a base: chains of the places with equal hash, newest first.
#[derive(Debug)]
pub(super) struct Matcher {
    heads: Vec<u32>,
    older: Vec<u32>,
    shift: u32,
    step: usize,
}

impl Matcher {
    /// Indexes `base`, at most 2^40 bytes: at most 3 bytes of memory for each of its bytes, and at most [`INDEX_BYTES_MAX`].
    pub(super) fn new(base: &[u8]) -> Self {
        let mut step = 2;
        while base.len() / step * 6 > INDEX_BYTES_MAX {
            step *= 2;
        }
        let places = base.len() / step;
        // Between a quarter and a half as many heads as places: 1 to 2 bytes a place, and 4 for its chain.
        let bits = (places / 2).max(1).ilog2().max(8);
        let mut matcher = Self { heads: vec![0; 1 << bits], older: vec![0; places + 1], shift: 64 - bits, step };
        let mut last = None;
        for (number, at) in (0..(base.len() + 1).saturating_sub(KEY_BYTES)).step_by(step).enumerate() {
            let key = key(base, at);
            // A run of one byte would fill a chain with places that are all alike.
            if last == Some(key) {
                continue;
            }
            last = Some(key);
            let head = matcher.slot(key);
            matcher.older[number] = matcher.heads[head];
            matcher.heads[head] = number as u32 + 1;
        }
        matcher
    }

    fn slot(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// Finds the place of `base`, which was indexed, that `target[at..]` resembles best, and its score, if any scores above `floor`.
    pub(super) fn best(&self, base: &[u8], target: &[u8], at: usize, floor: i64) -> Option<(usize, i64)> {
        if at + KEY_BYTES > target.len() {
            return None;
        }
        let wanted = key(target, at);
        let mut next = self.heads[self.slot(wanted)];
        let mut best = None;
        let mut top = floor;
        for _ in 0..CANDIDATES_MAX {
            if next == 0 {
                break;
            }
            let number = next as usize - 1;
            let place = number * self.step;
            if key(base, place) == wanted {
                let score = resemblance(&base[place..], &target[at..]);
                if score > top {
                    top = score;
                    best = Some((place, score));
                    if score >= COMPARE_BYTES_MAX as i64 {
                        break;
                    }
                }
            }
            next = self.older[number];
        }
        best
    }
}

fn key(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + KEY_BYTES].try_into().expect("a slice of KEY_BYTES bytes is an array of them"))
}

/// Counts the bytes of eight that are equal, given their exclusive or.
#[inline]
pub(super) fn equal_bytes(differences: u64) -> u32 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The top bit of each byte is set where the byte is not zero.
    let changed = (((differences & LOW) + LOW) | differences) & !LOW;
    8 - changed.count_ones()
}

/// Scores how alike two strings begin: equal bytes less different ones, at the best length up to [`COMPARE_BYTES_MAX`].
#[inline]
pub(super) fn resemblance(a: &[u8], b: &[u8]) -> i64 {
    let len = a.len().min(b.len()).min(COMPARE_BYTES_MAX);
    let (mut score, mut best) = (0, 0);
    let mut at = 0;
    while at + 8 <= len {
        let equal = equal_bytes(key(a, at) ^ key(b, at));
        score += i64::from(equal) * 2 - 8;
        best = best.max(score);
        if score < best - SLACK {
            return best;
        }
        at += 8;
    }
    for (a, b) in a[at..len].iter().zip(&b[at..len]) {
        score += if a == b { 1 } else { -1 };
        best = best.max(score);
    }
    best
}

/// Counts equal bytes at the front of two strings.
#[inline]
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let mut at = 0;
    while at + 8 <= len {
        let differences = key(a, at) ^ key(b, at);
        if differences != 0 {
            return at + differences.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + a[at..len].iter().zip(&b[at..len]).take_while(|(a, b)| a == b).count()
}
