//! Where in a large old file the content lies that a part of a new one resembles: found by short strings that both have, wherever
//! insertions moved them.
//!
//! Strings are sampled by their hash, so the same ones are taken on both sides; what an old file has more than once tells nothing. A part
//! draws from the blocks of the old file that its landmarks point to, and those between them.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::delta::similar::{FORGET_BITS, GEAR};

/// Bytes of a block of the old file.
const BLOCK_BYTES: u64 = 1 << 20;
/// Most blocks that a part draws from.
const BLOCKS_MAX: usize = 64;
/// One of 2^12 strings is sampled, fewer from files that would have more than [`LANDMARKS_MAX`].
const SAMPLE_BITS: u32 = 12;
/// About how many strings are sampled from the largest files, 16 bytes of memory each.
const LANDMARKS_MAX: u64 = 1 << 20;
/// What a landmark says for its block; a block without, between blocks with landmarks or beside them, has 1.
const CERTAIN: u32 = 16;

/// Samples the strings of a content that comes in pieces.
#[derive(Debug)]
pub(super) struct Sampler {
    bits: u32,
    hash: u64,
    at: u64,
    last: Option<u64>,
}

impl Sampler {
    fn new(bits: u32) -> Self {
        Self { bits, hash: 0, at: 0, last: None }
    }

    /// Takes the next bytes and gives `found` each sampled string's hash and end.
    pub(super) fn push(&mut self, bytes: &[u8], found: &mut dyn FnMut(u64, u64)) {
        let limit = 1_u64 << (64 - self.bits);
        // What repeats itself would be sampled without end, or not at all.
        let apart = 1_u64 << (self.bits - 2);
        for &byte in bytes {
            self.hash = (self.hash << FORGET_BITS).wrapping_add(GEAR[usize::from(byte)]);
            self.at += 1;
            if self.hash < limit && self.last.is_none_or(|last| self.at - last >= apart) {
                self.last = Some(self.at);
                found(self.hash, self.at);
            }
        }
    }
}

/// The landmarks of an old file.
#[derive(Debug)]
pub(super) struct Landmarks {
    bits: u32,
    len: u64,
    /// Hash and position, sorted; each hash once.
    places: Vec<(u64, u64)>,
}

/// Gathers landmarks.
#[derive(Debug)]
pub(super) struct Survey {
    sampler: Sampler,
    places: Vec<(u64, u64)>,
}

impl Survey {
    /// Begins with a file of `len` bytes.
    pub(super) fn of(len: u64) -> Self {
        let bits = SAMPLE_BITS.max((len / LANDMARKS_MAX).checked_ilog2().map_or(0, |bits| bits + 1));
        Self { sampler: Sampler::new(bits), places: Vec::new() }
    }

    /// Takes the file's next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let Self { sampler, places } = self;
        sampler.push(bytes, &mut |hash, at| places.push((hash, at)));
    }

    /// Ends the file.
    pub(super) fn finish(self) -> Landmarks {
        let Self { sampler, mut places } = self;
        places.sort_unstable();
        let mut unique = Vec::new();
        unique.extend(places.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() == 1).map(|same| same[0]));
        Landmarks { bits: sampler.bits, len: sampler.at, places: unique }
    }
}

impl Landmarks {
    /// Returns the stretches of the old file that `part`, which begins at `from` of the new one, probably resembles: at most 64 MiB, in
    /// order. Without a landmark it is what lies where `from` is, or `shift` bytes off; `shift` is updated to what this part tells.
    pub(super) fn near(&self, part: &[u8], from: u64, shift: &mut i64) -> Vec<Range<u64>> {
        let mut pairs = Vec::new();
        Sampler::new(self.bits).push(part, &mut |hash, at| {
            if let Ok(place) = self.places.binary_search_by_key(&hash, |place| place.0) {
                pairs.push((at, self.places[place].1));
            }
        });
        let len = part.len() as u64;
        let mut votes = Votes { len: self.len, blocks: BTreeMap::new() };
        if let (Some(&first), Some(&last)) = (pairs.first(), pairs.last()) {
            votes.between(first.1.saturating_sub(first.0), first.1);
            votes.between(last.1, last.1.saturating_add(len - last.0));
            for pair in pairs.windows(2) {
                let ((at, place), (next_at, next_place)) = (pair[0], pair[1]);
                let gap = next_at - at;
                if (place..place.saturating_add(2 * gap + BLOCK_BYTES)).contains(&next_place) {
                    votes.between(place, next_place);
                } else {
                    votes.between(place, place.saturating_add(gap));
                    votes.between(next_place.saturating_sub(gap), next_place);
                }
            }
            for (_, place) in &pairs {
                votes.certain(*place);
            }
            *shift = last.1.cast_signed() - (from + last.0).cast_signed();
        } else {
            for shift in [*shift, 0] {
                let start = from.saturating_add_signed(shift);
                votes.between(start.saturating_sub(len / 4), start.saturating_add(len + len / 4));
            }
        }
        votes.stretches()
    }
}

/// Which blocks of the old file are wanted, and how much.
struct Votes {
    len: u64,
    blocks: BTreeMap<u64, u32>,
}

impl Votes {
    fn certain(&mut self, place: u64) {
        let block = place / BLOCK_BYTES;
        *self.blocks.entry(block).or_default() += CERTAIN;
        for beside in [block.saturating_sub(1), block + 1] {
            self.blocks.entry(beside).or_insert(1);
        }
    }

    fn between(&mut self, from: u64, to: u64) {
        let last = to.min(self.len) / BLOCK_BYTES;
        for block in (from / BLOCK_BYTES..=last).take(BLOCKS_MAX) {
            self.blocks.entry(block).or_insert(1);
        }
    }

    /// Joins the blocks that are wanted most.
    fn stretches(self) -> Vec<Range<u64>> {
        let within = self.blocks.into_iter().filter(|(block, _)| block * BLOCK_BYTES < self.len);
        let mut blocks: Vec<(std::cmp::Reverse<u32>, u64)> =
            within.map(|(block, votes)| (std::cmp::Reverse(votes), block)).collect();
        blocks.sort_unstable();
        blocks.truncate(BLOCKS_MAX);
        let mut blocks: Vec<u64> = blocks.into_iter().map(|(_, block)| block).collect();
        blocks.sort_unstable();
        let runs = blocks.chunk_by(|a, b| a + 1 == *b);
        runs.map(|run| run[0] * BLOCK_BYTES..((run[run.len() - 1] + 1) * BLOCK_BYTES).min(self.len)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..len).map(|_| byte()).collect()
    }

    fn landmarks(content: &[u8]) -> Landmarks {
        let mut survey = Survey::of(content.len() as u64);
        content.chunks(70_000).for_each(|piece| survey.push(piece));
        survey.finish()
    }

    #[test]
    fn what_moved_is_found_where_it_was() {
        const MIB: usize = 1 << 20;
        let old = noise(1, 160 * MIB);
        let found = landmarks(&old);
        // From two places far apart, in the other order, with something new between them.
        let part = [&old[120 * MIB..130 * MIB], &noise(2, 3 * MIB), &old[17 * MIB..30 * MIB]].concat();
        let mut shift = 0;
        let near = found.near(&part, 0, &mut shift);
        let has = |from: u64, to: u64| near.iter().any(|range| range.start <= from << 20 && range.end >= to << 20);
        assert!(has(120, 130) && has(17, 30), "{near:?}");
        assert!(near.iter().map(|range| range.end - range.start).sum::<u64>() <= 40 << 20, "{near:?}");
        assert_eq!(shift, 4 << 20);
    }

    #[test]
    fn what_is_everywhere_or_nowhere_is_looked_for_in_place() {
        let old = vec![0; 200 << 20];
        let found = landmarks(&old);
        assert_eq!(found.places, []);
        let mut shift = 7 << 20;
        let near = found.near(&noise(3, 32 << 20), 100 << 20, &mut shift);
        let (first, last) = (near.first().unwrap().start, near.last().unwrap().end);
        assert!(first <= 100 << 20 && last >= 139 << 20 && last - first <= 64 << 20, "{near:?}");
        assert_eq!(found.near(&[1], 1 << 40, &mut shift), []);
    }
}
