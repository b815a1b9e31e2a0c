//! Where the strings of the last bytes of the plain content are.

use super::super::work::LOOK_BYTES;
use super::plain::Plain;
use super::tables::{MATCH_MAX, MATCH_MIN};
use super::{BACK_MAX, Effort, Family, LONG_BYTES_MAX, WINDOW_BYTES};
use crate::delta::matcher::hash;

/// Bits of the hashes of strings of which zlib knows nothing.
const HASH_BITS: u32 = 15;
/// Bytes of long strings: two kinds. Measured on 170 MB of programs at level 9: with one of 8 it takes a seventh longer, with three of 6, 8 and 16 as long.
const LONGS: [usize; 2] = [6, LONG_BYTES_MAX];
/// Places that are looked at from which on it is worth keeping long strings: at level 6, which looks at 128, they cost what they spare.
const LONGS_CHAIN_MIN: usize = 256;
/// Bytes of the content from which on they are kept: of short streams there may be thousands.
const LONGS_FROM: usize = 64 << 10;
/// Looks after which it is asked whether zlib would have come this far; a place that is not of the same string cannot tell.
const RANK_LOOKS: u64 = 32;

/// Places in chains: those with equal hash of what follows, newest first. Place 0 stands for none: zlib never finds it either.
#[derive(Debug)]
struct Chains {
    heads: Vec<u32>,
    older: Vec<u32>,
}

impl Chains {
    fn new(bits: u32) -> Self {
        Self { heads: vec![0; 1 << bits], older: vec![0; WINDOW_BYTES] }
    }

    /// Adds `at` to the chain of `hash` and returns the place before.
    fn insert(&mut self, hash: usize, at: usize) -> usize {
        let head = &mut self.heads[hash];
        let newest = *head;
        self.older[at % WINDOW_BYTES] = newest;
        *head = at as u32;
        newest as usize
    }

    fn older(&self, place: usize) -> usize {
        self.older[place % WINDOW_BYTES] as usize
    }
}

/// Where the strings of the last bytes are.
///
/// zlib looks through the chain of three bytes, up to so many places. Most of them have no more than those three in common, so here places whose
/// four bytes are the same have chains of their own, and where many are looked at, those whose next 6 or 12 are, for whoever has a match nearly that
/// long; and each place knows how many came before it in its chain of three: the same places are found as if all had been looked at.
#[derive(Debug)]
pub(super) struct Strings {
    family: Family,
    hash_bits: u32,
    threes: Chains,
    /// None where zlib's own chain is one of four bytes.
    fours: Option<Chains>,
    /// Of [`LONGS`], where they are wanted, once they are worth it.
    longs: Option<[Chains; LONGS.len()]>,
    wants_longs: bool,
    /// How many places came before in zlib's own chain, where other chains are gone along; only differences count.
    ranks: Vec<u16>,
    /// Work so far.
    pub(super) looks: u64,
}

impl Strings {
    /// None yet; `chain` places are looked at for one, 0 if not all will be inserted.
    pub(super) fn new(family: Family, memory: u8, chain: usize) -> Self {
        let hash_bits = match family {
            Family::Zlib => u32::from(memory) + 7,
            Family::Chromium => (u32::from(memory) + 7).max(15),
            Family::Gzip => 15,
        };
        let fours = (family != Family::Chromium).then(|| Chains::new(HASH_BITS));
        Self {
            family,
            hash_bits,
            threes: Chains::new(hash_bits),
            fours,
            longs: None,
            wants_longs: chain >= LONGS_CHAIN_MIN,
            ranks: vec![0; WINDOW_BYTES],
            looks: 0,
        }
    }

    /// Forgets all places and remembers those of the window before `at`.
    pub(super) fn restart(&mut self, plain: &Plain, at: usize) {
        self.threes.heads.fill(0);
        if let Some(fours) = &mut self.fours {
            fours.heads.fill(0);
        }
        self.longs = None;
        for place in at.saturating_sub(WINDOW_BYTES)..at {
            self.insert_short(plain, place);
        }
    }

    /// Remembers the string at `at`, of three bytes at least, and returns the newest place with the same hash. Behind it as many bytes must be known
    /// as the content has, or [`LONG_BYTES_MAX`].
    pub(super) fn insert(&mut self, plain: &Plain, at: usize) -> usize {
        if self.wants_longs && at >= LONGS_FROM {
            self.insert_long(plain, at);
        }
        self.insert_short(plain, at)
    }

    #[inline]
    fn insert_short(&mut self, plain: &Plain, at: usize) -> usize {
        let bytes = plain.from(at);
        let (first, second, third) = (u32::from(bytes[0]), u32::from(bytes[1]), u32::from(bytes[2]));
        let fourth = bytes.get(3).copied().map(u32::from);
        let value = first | second << 8 | third << 16 | fourth.unwrap_or(0) << 24;
        let hashed = match self.family {
            Family::Zlib | Family::Gzip => {
                let shift = self.hash_bits.div_ceil(3);
                first << (2 * shift) ^ second << shift ^ third
            }
            Family::Chromium => value.wrapping_mul(66_521).wrapping_add(66_521) >> 16,
        };
        let newest = self.threes.insert((hashed & ((1 << self.hash_bits) - 1)) as usize, at);
        if self.fours.is_some() || self.wants_longs {
            self.ranks[at % WINDOW_BYTES] = self.ranks[newest % WINDOW_BYTES].wrapping_add(1);
        }
        if let Some(fours) = self.fours.as_mut().filter(|_| fourth.is_some()) {
            fours.insert(four_of(value), at);
        }
        newest
    }

    /// Remembers the long strings at `at`, and before the first those of the window. Apart, so that whoever wants none is not held up.
    #[inline(never)]
    fn insert_long(&mut self, plain: &Plain, at: usize) {
        let from = if self.longs.is_some() { at } else { at - WINDOW_BYTES };
        let longs = self.longs.get_or_insert_with(|| LONGS.map(|_| Chains::new(HASH_BITS)));
        for place in from..=at {
            let bytes = plain.from(place);
            for (longs, len) in longs.iter_mut().zip(LONGS) {
                if bytes.len() >= len {
                    longs.insert(long_of(bytes, len), place);
                }
            }
        }
    }

    /// The newest place with the same hash as `at`, which is the newest that was inserted or the one before it.
    pub(super) fn before(&self, at: usize) -> usize {
        self.threes.older(at)
    }

    /// Finds a longer match than `than`, 2 at least, at `at`, which was inserted behind `head`, the newest place first; gives its length and
    /// place, or `than` and no place. A match of three bytes that is farther than `short_back_max` is none.
    pub(super) fn longest(
        &mut self,
        plain: &Plain,
        (at, head): (usize, usize),
        than: usize,
        short_back_max: usize,
        effort: &Effort,
    ) -> (usize, usize) {
        let ahead = plain.end() - at;
        if than >= ahead {
            return (ahead, 0);
        }
        let here = plain.from(at);
        let (here, nice) = match self.family {
            Family::Gzip => (&here[..here.len().min(MATCH_MAX)], effort.nice),
            _ => (&here[..ahead.min(MATCH_MAX)], effort.nice.min(ahead)),
        };
        let limit = at.saturating_sub(BACK_MAX);
        let chain = if than >= effort.good { effort.chain >> 2 } else { effort.chain };
        let mut best = (than, 0);
        if here.len() > MATCH_MIN {
            if self.longs.is_some() {
                self.longest_of_fours::<true>(plain, (at, head), (limit, chain), (here, nice), &mut best);
            } else {
                self.longest_of_fours::<false>(plain, (at, head), (limit, chain), (here, nice), &mut best);
            }
        }
        if best.1 == 0 && than < MATCH_MIN {
            let first = at.saturating_sub(short_back_max).max(1);
            best.1 = self.newest_of_three(plain, head, (first, limit, chain), here).unwrap_or(0);
            best.0 += usize::from(best.1 > 0);
        }
        (best.0.min(ahead), best.1)
    }

    /// Finds a match of four bytes and more; along [`LONGS`] too if there are any.
    fn longest_of_fours<const LONG: bool>(
        &mut self,
        plain: &Plain,
        (at, head): (usize, usize),
        (limit, chain): (usize, usize),
        (here, nice): (&[u8], usize),
        best: &mut (usize, usize),
    ) {
        let mut last = Last::of(here, best.0.max(MATCH_MIN));
        let newest = self.ranks[at % WINDOW_BYTES];
        let mut looks = 0_u64;
        // zlib's own chain is as long as it may be; of another's place it is asked how far it would have been there.
        let (mut chains, mut left) = match (if LONG { self.longs(best.0 + 1) } else { None }, &self.fours) {
            (Some(others), _) | (None, Some(others)) => (others, usize::MAX),
            (None, None) => (&self.threes, chain),
        };
        // The place itself is the newest of its chain.
        let mut place = chains.older(at);
        'chain: loop {
            // With a length that is known.
            let older: &[u32; WINDOW_BYTES] = chains.older.first_chunk().expect("one for each place of a window");
            // The head may lie one byte farther than the others.
            while left > 0 && (place > limit || (place == head && place > 0)) {
                left -= 1;
                looks += 1;
                let there = &plain.from(place)[..here.len()];
                let promising = last.is_in(there);
                if (promising || looks.is_multiple_of(RANK_LOOKS)) && there.first_chunk::<4>() == here.first_chunk::<4>() {
                    if left > chain && usize::from(newest.wrapping_sub(self.ranks[place % WINDOW_BYTES])) > chain {
                        break;
                    }
                    let len = if promising { common(there, here) } else { 0 };
                    looks += (len / LOOK_BYTES) as u64;
                    if len > best.0 {
                        *best = (len, place);
                        if len >= nice || len == here.len() {
                            break;
                        }
                        last = Last::of(here, len);
                        if LONG
                            && let Some(longs) = self.longs(len)
                            && !std::ptr::eq(longs, chains)
                        {
                            (chains, left) = (longs, usize::MAX);
                            place = chains.older(place);
                            continue 'chain;
                        }
                    }
                }
                place = older[place % WINDOW_BYTES] as usize;
            }
            break;
        }
        self.looks += looks;
    }

    /// The chains of the longest strings of at most `len` bytes, if there are any.
    #[inline]
    fn longs(&self, len: usize) -> Option<&Chains> {
        let [shorter, longer] = self.longs.as_ref().filter(|_| len >= LONGS[0])?;
        Some(if len < LONGS[1] { shorter } else { longer })
    }

    /// Finds the newest place from `first` on with the same three bytes.
    fn newest_of_three(
        &mut self,
        plain: &Plain,
        head: usize,
        (first, limit, chain): (usize, usize, usize),
        here: &[u8],
    ) -> Option<usize> {
        let mut place = head;
        for _ in 0..chain {
            if place < first || (place <= limit && place != head) {
                break;
            }
            self.looks += 1;
            if plain.from(place)[..MATCH_MIN] == here[..MATCH_MIN] {
                return Some(place);
            }
            place = self.threes.older(place);
        }
        None
    }
}

fn four_of(value: u32) -> usize {
    (value.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

/// The hash of the first `len` bytes, six at least.
#[inline]
fn long_of(bytes: &[u8], len: usize) -> usize {
    const SIX_BYTES: u64 = (1 << 48) - 1;
    let six = |from: usize| match bytes[from..].first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight) & SIX_BYTES,
        None => bytes[from..from + 6].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)),
    };
    (hash(hash(six(0)) ^ six(len - 6)) >> (u64::BITS - HASH_BITS)) as usize
}

/// The last bytes that a match longer than the best has in common with what is here: mostly they tell in one look that there is none.
struct Last {
    from: usize,
    bytes: [u8; 4],
}

impl Last {
    /// Of a match longer than `than`, 3 at least, which is shorter than `here`.
    fn of(here: &[u8], than: usize) -> Self {
        let from = than - MATCH_MIN;
        Self { from, bytes: *here[from..].first_chunk().expect("four bytes at least") }
    }

    #[inline]
    fn is_in(&self, there: &[u8]) -> bool {
        there[self.from..].first_chunk() == Some(&self.bytes)
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
