//! What was new before and is new again: bundles hold the same code several times, and so does what changed in it.
//!
//! Decisions are remembered by the target bytes before them. Both sides remember alike, so nothing of it travels.

use super::model::hash;

/// Literal bytes that are remembered.
const RING_BYTES_MAX: u64 = 4 << 20;
/// Bits of the count of places that are remembered.
const PLACE_BITS_MAX: u32 = 19;
/// Bits of the count of numbers that are remembered.
const NUMBER_BITS: u32 = 14;
/// Target bytes that a literal's place is known by.
const KEY_MASK: u64 = 0xffff_ffff_ffff;
/// How sure a guess can be: classes of how many were right in a row.
pub(super) const TRUSTS: usize = 16;

/// Guesses the next literal byte: what followed when the same bytes came before.
#[derive(Debug)]
pub(super) struct Echo {
    ring: Vec<u8>,
    /// Upper half a check, lower half the place in the ring, plus one.
    places: Vec<u64>,
    shift: u32,
    /// Bytes remembered so far.
    end: u32,
    /// The next guess is the byte here.
    at: Option<u32>,
    right: u32,
}

impl Echo {
    /// Makes one for a target of `target_len` bytes.
    pub(super) fn new(target_len: u64) -> Self {
        let ring = target_len.clamp(1 << 10, RING_BYTES_MAX).next_power_of_two();
        let bits = ring.ilog2().min(PLACE_BITS_MAX);
        Self { ring: vec![0; ring as usize], places: vec![0; 1 << bits], shift: 64 - bits, end: 0, at: None, right: 0 }
    }

    /// Returns the guess behind the target bytes `history`, with its trust; trust 0 is no guess.
    pub(super) fn guess(&mut self, history: u64) -> (usize, u8) {
        if self.right == 0 {
            let key = hash(history & KEY_MASK);
            let place = self.places[(key >> self.shift) as usize];
            let (check, place) = ((place >> 32) as u32, place as u32);
            if place > 0 && check == key as u32 && self.end - (place - 1) < self.ring.len() as u32 {
                self.at = Some(place - 1);
                self.right = 1;
            }
        }
        match self.at.filter(|at| *at < self.end && self.end - at < self.ring.len() as u32) {
            None => (0, 0),
            Some(at) => (1 + trust(self.right), self.ring[at as usize & (self.ring.len() - 1)]),
        }
    }

    /// Remembers that `byte` came behind `history`.
    pub(super) fn learn(&mut self, history: u64, byte: u8) {
        if let Some(at) = self.at.filter(|at| *at < self.end) {
            let hit = self.ring[at as usize & (self.ring.len() - 1)] == byte;
            self.right = if hit { self.right.saturating_add(1) } else { 0 };
            self.at = Some(at + 1);
        }
        let key = hash(history & KEY_MASK);
        self.places[(key >> self.shift) as usize] = u64::from(key as u32) << 32 | u64::from(self.end + 1);
        let len = self.ring.len();
        self.ring[self.end as usize & (len - 1)] = byte;
        // A target of 4 GiB of literals begins anew.
        self.end = self.end.checked_add(1).filter(|end| *end < u32::MAX).unwrap_or_else(|| {
            self.places.fill(0);
            self.at = None;
            0
        });
    }

    /// A gap begins: what follows is looked for anew.
    pub(super) fn turn(&mut self) {
        self.right = 0;
    }
}

fn trust(right: u32) -> usize {
    match right {
        0..=7 => right as usize,
        8..=11 => 8,
        12..=15 => 9,
        16..=23 => 10,
        24..=31 => 11,
        32..=63 => 12,
        64..=127 => 13,
        _ => 14,
    }
}

/// Guesses numbers: what was told when the same bytes came before.
#[derive(Debug)]
pub(super) struct Told(Vec<(u64, u64)>);

impl Told {
    pub(super) fn new() -> Self {
        Self(vec![(0, 0); 1 << NUMBER_BITS])
    }

    /// Returns the number of `kind` told last behind `history`.
    pub(super) fn guess(&self, kind: usize, history: u64) -> Option<u64> {
        let key = key(kind, history);
        let (known, number) = self.0[(key >> (64 - NUMBER_BITS)) as usize];
        (known == key).then_some(number)
    }

    /// Remembers a number.
    pub(super) fn learn(&mut self, kind: usize, history: u64, number: u64) {
        let key = key(kind, history);
        self.0[(key >> (64 - NUMBER_BITS)) as usize] = (key, number);
    }
}

fn key(kind: usize, history: u64) -> u64 {
    hash(history.wrapping_add((kind as u64 + 1) << 56)) | 1
}
