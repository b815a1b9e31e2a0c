//! Where bytes of the target may come from: an index of the bases by their eight-byte strings.

/// Bytes of an indexed string.
pub(super) const KEY_BYTES: usize = 8;
/// One of so many strings is indexed and looked for: which, the string itself tells, so that both sides choose the same. What is worth
/// finding holds several that are. Of native packages patches are up to 6 % larger than with each second place of the base indexed and each place of
/// the target looked for, or smaller by as much, and mostly built in 0.8 to 0.9 of the time.
const SAMPLE: usize = 4;
/// Bits of a hash by which it is chosen: below those that tell where it is kept, and not the lowest, which only the first bytes decide.
const SAMPLE_SHIFT: u32 = 36;
/// Most bits of the count of strings with places: an index of 256 MiB, so that building keeps within 512 MiB. Of bases over 256 MiB one of eight,
/// sixteen … strings is indexed.
const HEAD_BITS_MAX: u32 = 24;
/// Strings that are chosen before they are remembered.
const BATCH: usize = 64;
/// Bytes over which two places are compared.
const COMPARE_BYTES_MAX: usize = 256;
/// Points behind the best at which a comparison ends.
const SLACK: i64 = 16;

/// Strings that are looked up at once, so that their memory is waited for at once, and the bytes of the target in which they are.
const AHEAD: usize = 16;
const AHEAD_BYTES: usize = 128;

/// What was looked up of one string.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    at: usize,
    places: u128,
    /// The bytes at the newest place.
    newest: u64,
}

/// What was looked up ahead of one target.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// One more, which is overwritten until it counts.
    all: [Look; AHEAD + 1],
    len: usize,
    next: usize,
}

impl Looks {
    /// Takes what was looked up of the string at `at`; what is before it is passed over.
    fn take(&mut self, at: usize) -> Option<Look> {
        while self.next < self.len && self.all[self.next].at < at {
            self.next += 1;
        }
        self.all[..self.len].get(self.next).filter(|look| look.at == at).copied()
    }
}

/// The bytes at the newest of some places; zero if there is none.
fn newest(base: &[u8], places: u128) -> u64 {
    (places as u32).checked_sub(1).map_or(0, |place| key(base, place as usize))
}

/// An index of a base: the last four places of the strings with equal hash.
#[derive(Debug)]
pub(super) struct Matcher {
    /// Four numbers of 32 bits, the newest lowest: each a place plus one, and above its bits as much of the string's tag as there is room for; zero is
    /// none. Where much is new, tags spare the look at most places of other strings, each of which waits for memory.
    places: Vec<u128>,
    /// The bits of a number that are tag.
    tag_mask: u32,
    shift: u32,
    sample: usize,
}

impl Matcher {
    /// Indexes `base`, of which only the first 4 GiB count: at most 2 bytes of memory for each of its bytes, and at most 256 MiB.
    pub(super) fn new(base: &[u8]) -> Self {
        let base = &base[..base.len().min(u32::MAX as usize)];
        let (bits, sample) = size(base.len());
        let place_bits = base.len().checked_ilog2().unwrap_or(0) + 1;
        let tag_mask = u32::MAX.checked_shl(place_bits).unwrap_or(0);
        let mut matcher = Self { places: vec![0; 1 << bits], tag_mask, shift: 64 - bits, sample };
        // Strings are chosen first and remembered then, so that the memory of many is waited for at once.
        let mut chosen = [(0, 0); BATCH];
        let mut count = 0;
        let mut before = None;
        for at in 0..(base.len() + 1).saturating_sub(KEY_BYTES) {
            let key = key(base, at);
            chosen[count] = (key, at as u32 + 1);
            // A run of one byte would take all places with what is all alike.
            count += usize::from(matcher.is_indexed(key) && before != Some(key));
            before = Some(key);
            if count == BATCH {
                matcher.remember(&chosen);
                count = 0;
            }
        }
        matcher.remember(&chosen[..count]);
        matcher
    }

    /// The memory of an index of `len` bytes.
    pub(super) fn bytes(len: usize) -> u64 {
        (size_of::<u128>() as u64) << size(len).0
    }

    fn remember(&mut self, chosen: &[(u64, u32)]) {
        for &(key, place) in chosen {
            let (head, place) = (self.head(key), self.tag(key) | place);
            let places = &mut self.places[head];
            *places = *places << u32::BITS | u128::from(place);
        }
    }

    /// Where the places of a string are.
    #[inline]
    fn head(&self, key: u64) -> usize {
        (hash(key) >> self.shift) as usize
    }

    /// What is kept of a string above the bits of its place.
    #[inline]
    fn tag(&self, key: u64) -> u32 {
        // Not from the bits of its hash that choose it and tell where it is kept: they are the same for all that are there.
        (hash(key.rotate_left(u32::BITS)) >> u32::BITS) as u32 & self.tag_mask
    }

    /// The places of the string `key`, and few of others, among `all` that are kept where it would be; without tags.
    #[inline]
    fn own(&self, all: u128, key: u64) -> u128 {
        let (tag, mask) = (self.tag(key), self.tag_mask);
        (0..4).rev().fold(0, |found, number| {
            let place = (all >> (number * u32::BITS)) as u32;
            if place & mask == tag && place != 0 { found << u32::BITS | u128::from(place & !mask) } else { found }
        })
    }

    /// Says whether a string is among those that are indexed.
    #[inline]
    fn is_indexed(&self, key: u64) -> bool {
        is_one_of(key, self.sample)
    }

    /// Looks up what is indexed of `target` from `at` on.
    fn look_ahead(&self, base: &[u8], target: &[u8], at: usize, looks: &mut Looks) {
        let end = (at + AHEAD_BYTES).min((target.len() + 1).saturating_sub(KEY_BYTES));
        let mut keys = [0; AHEAD + 1];
        (looks.len, looks.next) = (0, 0);
        // Step by step for all, and without a branch that is hard to foresee, so that nothing keeps the next one's memory waiting.
        for at in at..end {
            let wanted = key(target, at);
            (looks.all[looks.len].at, keys[looks.len]) = (at, wanted);
            looks.len += usize::from(self.is_indexed(wanted));
            if looks.len == AHEAD {
                break;
            }
        }
        let looks = &mut looks.all[..looks.len];
        for (look, wanted) in looks.iter_mut().zip(keys) {
            look.places = self.places[self.head(wanted)];
        }
        for (look, wanted) in looks.iter_mut().zip(keys) {
            look.places = self.own(look.places, wanted);
            look.newest = newest(base, look.places);
        }
    }

    /// Finds the place of `base`, which was indexed, that `target[at..]` resembles best, and its score, if any scores above `floor`.
    pub(super) fn best(&self, base: &[u8], target: &[u8], at: usize, floor: i64, looks: &mut Looks) -> Option<(usize, i64)> {
        if at + KEY_BYTES > target.len() {
            return None;
        }
        let wanted = key(target, at);
        if !self.is_indexed(wanted) {
            return None;
        }
        let mut best = None;
        let mut top = floor;
        let Look { mut places, newest: mut found, .. } = looks.take(at).unwrap_or_else(|| {
            self.look_ahead(base, target, at, looks);
            looks.all[0]
        });
        while places != 0 {
            let place = (places as u32 - 1) as usize;
            places >>= u32::BITS;
            let same = found == wanted;
            found = newest(base, places);
            if same {
                let score = resemblance(&base[place..], &target[at..]);
                if score > top {
                    top = score;
                    best = Some((place, score));
                    if score >= COMPARE_BYTES_MAX as i64 {
                        break;
                    }
                }
            }
        }
        best
    }
}

/// How an index of `len` bytes is laid out: bits of the count of strings with places, and one of how many strings is indexed.
fn size(len: usize) -> (u32, usize) {
    // As many places as strings, or up to twice as many.
    let bits = |sample: usize| (len / sample / 2).max(1).ilog2().max(6);
    let mut sample = SAMPLE;
    while bits(sample) > HEAD_BITS_MAX {
        sample *= 2;
    }
    (bits(sample), sample)
}

/// Says whether a string is one of those that are looked for: all that a base up to 256 MiB may have indexed.
#[inline]
pub(super) fn is_chosen(bytes: &[u8], at: usize) -> bool {
    at + KEY_BYTES <= bytes.len() && is_one_of(key(bytes, at), SAMPLE)
}

/// Says whether a string is the one of so many, a power of two, that is looked at; which, the string itself tells.
#[inline]
pub(super) fn is_one_of(key: u64, sample: usize) -> bool {
    hash(key) >> SAMPLE_SHIFT & (sample as u64 - 1) == 0
}

/// Spreads a string of eight bytes.
#[inline]
pub(super) fn hash(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
