//! The last bytes of the plain content and where their strings are.

use super::tables::MATCH_MAX;
use super::{AHEAD_BYTES, BACK_MAX, Effort, Family};

/// Bytes whose strings are remembered.
const WINDOW_BYTES: usize = 32 << 10;
/// Bytes that are no more needed before they are dropped.
const DROP_BYTES: usize = 1 << 20;

/// Bytes that are compared for the work of one look.
const LOOK_BYTES: u64 = 32;

/// Held bytes, and chains of the places whose strings have the same hash, newest first.
#[derive(Debug)]
pub(super) struct Strings {
    family: Family,
    hash_bits: u32,
    /// Bytes that are held; the first is at `start` of the plain content.
    held: Vec<u8>,
    start: usize,
    /// Bytes at the end of those held that are not content.
    behind: usize,
    /// Place 0 stands for none: zlib never finds it either.
    heads: Vec<u32>,
    older: Vec<u32>,
    /// Work so far.
    pub(super) looks: u64,
}

impl Strings {
    pub(super) fn new(family: Family, memory: u8) -> Self {
        let hash_bits = match family {
            Family::Zlib => u32::from(memory) + 7,
            Family::Chromium => (u32::from(memory) + 7).max(15),
            Family::Gzip => 15,
        };
        Self {
            family,
            hash_bits,
            held: Vec::new(),
            start: 0,
            behind: 0,
            heads: vec![0; 1 << hash_bits],
            older: vec![0; WINDOW_BYTES],
            looks: 0,
        }
    }

    /// Appends bytes and drops what lies before `needed` and before the window.
    pub(super) fn extend(&mut self, bytes: &[u8], needed: usize) {
        let keep = needed.min(self.end().saturating_sub(WINDOW_BYTES + AHEAD_BYTES));
        if keep - self.start >= DROP_BYTES {
            self.held.drain(..keep - self.start);
            self.start = keep;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Where the known bytes end.
    pub(super) fn end(&self) -> usize {
        self.start + self.held.len() - self.behind
    }

    /// Ends the content.
    ///
    /// gzip compares on behind the end: with two zeros, then with what was in its window before, if anything was.
    pub(super) fn end_here(&mut self) {
        if self.family != Family::Gzip {
            return;
        }
        let end = self.end();
        self.behind = MATCH_MAX;
        self.held.extend([0, 0]);
        for at in end + 2..end + MATCH_MAX {
            let stale = at.checked_sub(WINDOW_BYTES).filter(|_| end >= 2 * WINDOW_BYTES);
            let byte = stale.and_then(|stale| self.held.get(stale.checked_sub(self.start)?).copied());
            self.held.push(byte.unwrap_or(0));
        }
    }

    pub(super) fn byte(&self, at: usize) -> u8 {
        self.held[at - self.start]
    }

    pub(super) fn bytes(&self, from: usize, to: usize) -> &[u8] {
        &self.held[from - self.start..to - self.start]
    }

    /// Remembers the string at `at`, of three bytes at least, and returns the newest place with the same hash.
    pub(super) fn insert(&mut self, at: usize) -> usize {
        let bytes = &self.held[at - self.start..];
        let (first, second, third) = (u32::from(bytes[0]), u32::from(bytes[1]), u32::from(bytes[2]));
        let hash = match self.family {
            Family::Zlib | Family::Gzip => {
                let shift = self.hash_bits.div_ceil(3);
                first << (2 * shift) ^ second << shift ^ third
            }
            Family::Chromium => {
                let fourth = bytes.get(3).copied().map_or(0, u32::from);
                let value = first | second << 8 | third << 16 | fourth << 24;
                value.wrapping_mul(66_521).wrapping_add(66_521) >> 16
            }
        };
        let head = &mut self.heads[(hash & ((1 << self.hash_bits) - 1)) as usize];
        let newest = *head;
        self.older[at % WINDOW_BYTES] = newest;
        *head = at as u32;
        newest as usize
    }

    /// Finds a longer match than `than` at `at`, the newest place first; gives its length and place, or `than` and no place.
    pub(super) fn longest(&mut self, at: usize, head: usize, than: usize, effort: &Effort) -> (usize, usize) {
        let ahead = self.end() - at;
        if than >= ahead {
            return (ahead, 0);
        }
        let here = &self.held[at - self.start..];
        let (here, nice) = match self.family {
            Family::Gzip => (&here[..here.len().min(MATCH_MAX)], effort.nice),
            _ => (&here[..ahead.min(MATCH_MAX)], effort.nice.min(ahead)),
        };
        let limit = at.saturating_sub(BACK_MAX);
        let mut left = if than >= effort.good { effort.chain >> 2 } else { effort.chain };
        let mut best = (than, 0);
        let mut place = head;
        loop {
            self.looks += 1;
            let there = &self.held[place - self.start..][..here.len()];
            if there[best.0] == here[best.0] && there[best.0 - 1] == here[best.0 - 1] && there[..2] == here[..2] {
                let len = common(there, here);
                self.looks += len as u64 / LOOK_BYTES;
                if len > best.0 {
                    best = (len, place);
                    if len >= nice {
                        break;
                    }
                }
            }
            place = self.older[place % WINDOW_BYTES] as usize;
            left -= 1;
            if place <= limit || left == 0 {
                break;
            }
        }
        (best.0.min(ahead), best.1)
    }
}

/// How many bytes are the same from the front on.
fn common(one: &[u8], other: &[u8]) -> usize {
    let (left, left_rest) = one.as_chunks::<8>();
    let (right, right_rest) = other.as_chunks::<8>();
    for (index, (left, right)) in left.iter().zip(right).enumerate() {
        let differ = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if differ != 0 {
            return index * 8 + differ.trailing_zeros() as usize / 8;
        }
    }
    one.len() / 8 * 8 + left_rest.iter().zip(right_rest).take_while(|(left, right)| left == right).count()
}
