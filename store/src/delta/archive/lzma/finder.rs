//! The matches that a compressor may have chosen from.

use super::super::work::LOOK_BYTES;
use super::window::Window;

/// Bytes that are remembered; matches farther back are not found.
const REMEMBERED_BYTES: usize = 1 << 20;
const HASH_BITS: u32 = 16;
const FOURS_HASH_BITS: u32 = 18;
/// What a place that is looked at counts as, in looks: it mostly waits for memory.
const FAR_LOOKS: u64 = 4;
/// Places that are looked at.
const LOOKS_MAX: usize = 96;
/// Most matches of one place, the longest.
const FOUND_MAX: usize = 8;

/// Where the strings of the last bytes are: places less one, 0 for none.
#[derive(Debug)]
pub(super) struct Finder {
    twos: Vec<u32>,
    threes: Vec<u32>,
    fours: Vec<u32>,
    older: Vec<u32>,
    /// How much later places of this stream count than in it: those of earlier ones are too far back.
    origin: usize,
    /// The next place that is not remembered.
    next: usize,
}

impl Finder {
    /// None yet.
    pub(super) fn new() -> Self {
        let heads = || vec![0; 1 << HASH_BITS];
        Self {
            twos: heads(),
            threes: heads(),
            fours: vec![0; 1 << FOURS_HASH_BITS],
            older: vec![0; REMEMBERED_BYTES],
            origin: 0,
            next: 0,
        }
    }

    /// Begins another stream. Of all together there are less than 4 GiB.
    pub(super) fn restart(&mut self) {
        self.origin += self.next;
        self.next = 0;
    }

    /// Finds the nearest matches at `at`, each longer than those nearer: lengths, `most` at most, and how far back. Returns the work, in looks.
    pub(super) fn find(&mut self, window: &Window, at: usize, most: usize, found: &mut Vec<(usize, usize)>) -> u64 {
        found.clear();
        self.remember(window, at);
        if window.end() < at + 4 {
            return 0;
        }
        let [two, three, four] = hashes(window.bytes(at, at + 4));
        let reach = window.reach(at).min(REMEMBERED_BYTES - 1);
        let (mut longest, mut looks) = (1, 0);
        let mut add = |place: u32, least: usize| {
            let back = (self.origin + at + 1).checked_sub(place as usize).filter(|back| place > 0 && *back <= reach)?;
            let len = window.common(at, back, most);
            looks += FAR_LOOKS + (len / LOOK_BYTES) as u64;
            if len > longest && len >= least {
                longest = len;
                found.push((len, back));
            }
            Some(len)
        };
        add(self.twos[two], 2);
        add(self.threes[three], 3);
        let mut place = self.fours[four];
        for _ in 0..LOOKS_MAX {
            if add(place, 4).is_none_or(|len| len == most) {
                break;
            }
            place = self.older[(place as usize - 1) % REMEMBERED_BYTES];
        }
        if found.len() > FOUND_MAX {
            found.drain(..found.len() - FOUND_MAX);
        }
        looks
    }

    fn remember(&mut self, window: &Window, until: usize) {
        let last = until.min(window.end().saturating_sub(3));
        self.next = self.next.max(until.saturating_sub(REMEMBERED_BYTES));
        if self.next >= last {
            return;
        }
        let bytes = window.bytes(self.next, last + 3);
        for (offset, here) in bytes.windows(4).enumerate() {
            let [two, three, four] = hashes(here);
            let place = self.origin + self.next + offset;
            let stored = place as u32 + 1;
            self.twos[two] = stored;
            self.threes[three] = stored;
            self.older[place % REMEMBERED_BYTES] = self.fours[four];
            self.fours[four] = stored;
        }
        self.next = last;
    }
}

#[inline]
fn hashes(here: &[u8]) -> [usize; 3] {
    let value = u32::from_le_bytes(*here.first_chunk().expect("four bytes"));
    let three = (value << 8).wrapping_mul(0x9e37_79b1) >> (u32::BITS - HASH_BITS);
    let four = value.wrapping_mul(0x9e37_79b1) >> (u32::BITS - FOURS_HASH_BITS);
    [(value & 0xffff) as usize, three as usize, four as usize]
}
