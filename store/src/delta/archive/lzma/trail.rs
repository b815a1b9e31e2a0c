//! What the compressors of the bases made of their content: one makes nearly the same of content that is nearly the same.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use super::chunks::Chunk;
use super::model::Symbol;
use crate::delta::matcher::hash;
use crate::error::{At, Result};
use crate::fsx;

/// Bytes that two places have in common before one is taken for the other.
pub(super) const ANCHOR_BYTES: usize = 32;
/// Most anchors that are remembered, 16 bytes each, and how many there are to be.
const ANCHORS_MAX: usize = 1 << 19;
const ANCHORS_USUAL: usize = 1 << 18;
const HASH_BITS: u32 = 18;
/// One of 2^n places is an anchor, as its bytes tell: n at least, and at most.
const RARITY_MIN: u32 = 4;
const RARITY_MAX: u32 = 20;
/// Most steps that are remembered, 8 bytes each.
const STEPS_MAX: usize = 32 << 20;
/// Bytes of a step: its place and its way.
pub(super) const STEP_BYTES: usize = 8;
/// Places of one anchor that are looked at.
const LOOKS_MAX: u64 = 64;

/// Ways of a step; any other is a match that goes back by so many bytes.
const LITERALS: u32 = 0;
const SHORT: u32 = u32::MAX;

/// How rare anchors are to be for bases of `plain` bytes: one of 2^n places.
pub(in super::super) fn rarity(plain: usize) -> u8 {
    (plain / ANCHORS_USUAL).max(1).ilog2().clamp(RARITY_MIN, RARITY_MAX) as u8
}

/// What a compressor made of a stretch of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Literals,
    /// The byte at the last distance.
    Short,
    /// A match, the last distance again or not.
    Match {
        back: usize,
    },
}

/// A stretch of content of which one thing was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Its first place, in the content of all streams, joined.
    pub(super) start: usize,
    pub(super) way: Way,
}

impl Step {
    fn to_bytes(self) -> [u8; STEP_BYTES] {
        let way = match self.way {
            Way::Literals => LITERALS,
            Way::Short => SHORT,
            Way::Match { back } => back as u32,
        };
        (u64::from(way) << 32 | self.start as u64).to_le_bytes()
    }

    pub(super) fn of_bytes(bytes: [u8; STEP_BYTES]) -> Self {
        let value = u64::from_le_bytes(bytes);
        let way = match (value >> 32) as u32 {
            LITERALS => Way::Literals,
            SHORT => Way::Short,
            back => Way::Match { back: back as usize },
        };
        Self { start: value as u32 as usize, way }
    }
}

/// A place that is found by the bytes there.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    check: u32,
    place: u32,
    step: u32,
    /// The one before with the same hash.
    older: u32,
}

/// The steps of all streams of the bases, one behind the other.
#[derive(Debug)]
pub(in super::super) struct Trail {
    file: File,
    pub(super) steps: usize,
    /// Bytes of content.
    pub(super) end: usize,
    anchors: Anchors,
}

impl Trail {
    /// Fills `bytes` with steps from that with the number `first` on.
    pub(super) fn read(&self, bytes: &mut [u8], first: usize) -> Result<()> {
        fsx::read_exact_at(&self.file, bytes, (first * STEP_BYTES) as u64).at("read", "what a compressor made")
    }

    /// Where the bytes at the front of `here` are in the bases, and in which step: of several places the nearest to `probable`.
    pub(super) fn find(&self, here: &[u8], probable: i64, looks: &mut u64) -> Option<(usize, usize)> {
        self.anchors.find(here, probable, looks)
    }
}

/// The anchors of a trail.
#[derive(Debug)]
struct Anchors {
    rarity: u32,
    heads: Vec<u32>,
    all: Vec<Anchor>,
}

impl Anchors {
    /// The hash of a place that is an anchor, and what tells it from others with that.
    #[inline]
    fn key(&self, here: &[u8]) -> Option<(usize, u32)> {
        let bytes: &[u8; ANCHOR_BYTES] = here.first_chunk()?;
        let part = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight bytes of 32"));
        let first = hash(part(0));
        // What repeats itself at once is everywhere.
        if first >> (u64::BITS - self.rarity) != 0 || part(0) == part(8) {
            return None;
        }
        let whole = hash(hash(hash(first ^ part(8)) ^ part(16)) ^ part(24));
        Some(((whole >> (u64::BITS - HASH_BITS)) as usize, whole as u32))
    }

    fn add(&mut self, here: &[u8], place: usize, step: usize) {
        if self.all.len() < ANCHORS_MAX
            && let Some((slot, check)) = self.key(here)
        {
            let older = std::mem::replace(&mut self.heads[slot], self.all.len() as u32 + 1);
            self.all.push(Anchor { check, place: place as u32, step: step as u32, older });
        }
    }

    fn find(&self, here: &[u8], probable: i64, looks: &mut u64) -> Option<(usize, usize)> {
        let (slot, check) = self.key(here)?;
        let off = |anchor: Anchor| (i64::from(anchor.place) - probable).unsigned_abs();
        let (mut best, mut next) = (None, self.heads[slot]);
        for _ in 0..LOOKS_MAX {
            let Some(index) = next.checked_sub(1) else { break };
            let anchor = self.all[index as usize];
            if anchor.check == check && best.is_none_or(|best| off(anchor) < off(best)) {
                best = Some(anchor);
            }
            next = anchor.older;
            *looks += 1;
        }
        best.map(|anchor| (anchor.place as usize, anchor.step as usize))
    }
}

/// Writes a trail.
#[derive(Debug)]
pub(in super::super) struct TrailMaker {
    file: BufWriter<File>,
    steps: usize,
    end: usize,
    /// Of the last step.
    way: Option<Way>,
    backs: [usize; 4],
    anchors: Anchors,
}

impl TrailMaker {
    /// Begins one in `file`, which is empty, where one of 2^`rarity` places is an anchor; `None` if that is not sensible.
    pub(in super::super) fn new(file: File, rarity: u8) -> Option<Self> {
        let rarity = Some(u32::from(rarity)).filter(|rarity| (RARITY_MIN..=RARITY_MAX).contains(rarity))?;
        let anchors = Anchors { rarity, heads: vec![0; 1 << HASH_BITS], all: Vec::new() };
        Some(Self { file: BufWriter::new(file), steps: 0, end: 0, way: None, backs: [1; 4], anchors })
    }

    /// Adds a chunk and its content.
    pub(in super::super) fn add(&mut self, chunk: &Chunk, plain: &[u8]) -> Result<()> {
        if chunk.symbols.is_empty() {
            self.step(0, Way::Literals)?;
            self.anchors(plain, 0..plain.len());
        }
        if chunk.head.forgets() {
            self.backs = [1; 4];
        }
        let mut at = 0;
        for symbol in &chunk.symbols {
            let way = match *symbol {
                Symbol::Literal => Way::Literals,
                Symbol::Again { len: 1, .. } => Way::Short,
                _ => Way::Match { back: symbol.back(&self.backs) },
            };
            symbol.turn(&mut self.backs);
            self.step(at, way)?;
            self.anchors(plain, at..at + symbol.len());
            at += symbol.len();
        }
        self.end += plain.len();
        Ok(())
    }

    fn step(&mut self, at: usize, way: Way) -> Result<()> {
        if (way == Way::Literals && self.way == Some(way)) || self.steps == STEPS_MAX {
            return Ok(());
        }
        self.way = Some(way);
        self.steps += 1;
        let bytes = Step { start: self.end + at, way }.to_bytes();
        self.file.write_all(&bytes).at("write", "what a compressor made")
    }

    fn anchors(&mut self, plain: &[u8], places: std::ops::Range<usize>) {
        for at in places {
            self.anchors.add(&plain[at..], self.end + at, self.steps - 1);
        }
    }

    /// Ends it.
    pub(in super::super) fn finish(self) -> Result<Trail> {
        let Self { file, steps, end, anchors, .. } = self;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", "what a compressor made")?;
        Ok(Trail { file, steps, end, anchors })
    }
}
