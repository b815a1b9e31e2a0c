//! Content made by a patch from its front while what lies behind comes as records: for what takes longer to make than to fetch, as do archives that
//! are compressed again.
//!
//! Both work at the same moment, and where they meet is not fixed before: a [`Front`] says how far the patch is to make, and gives up half of what it
//! has not made yet whenever records have nothing else to bring ([`hand_over`]).

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::chunk::record::ChunkLine;
use crate::chunk::{CHUNK_BYTES_MAX, ChunkKind, VerifiedChunk};
use crate::delta::ReadAt;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::manifest::layout::{Layout, Placed};
use crate::manifest::table::ChunkTable;

use super::scope::{Scope, Targets, useless};

/// Raw bytes that are left to a patch even when records have nothing else to bring: a question for less takes as long.
const HANDED_BYTES_MIN: u64 = 256 << 10;

/// A patch, and which part of what it makes is left to it, in thousandths from the front.
#[derive(Debug, Clone)]
pub struct Share {
    /// What it makes.
    pub scope: Scope,
    /// How much of what is missing of that.
    pub permille: u32,
}

/// The chunks that a patch makes, in its order, and how many of them it is to make.
#[derive(Debug)]
pub struct Front {
    /// Ordinals of its files, ascending, and how many chunks come before.
    runs: Vec<(u32, Range<u32>)>,
    /// How many it has made.
    made: AtomicU32,
    /// How many it is to make.
    end: AtomicU32,
}

impl Front {
    /// Lists the chunks that `scope` makes; an error if a set says what no builder would.
    fn of(scope: &Scope, placed: &HashMap<u32, Placed>, table: &ChunkTable) -> Result<Self> {
        let mut runs: Vec<(u32, Range<u32>)> = Vec::new();
        let mut before = 0;
        for entry in scope.entries() {
            let placed = placed.get(entry).ok_or_else(|| useless("it makes files that the version does not have"))?;
            let ordinals = match &scope.targets {
                Targets::Files(_) => placed.ordinals(),
                Targets::Part(part) => {
                    let ends_at = |end: u64| ordinal_at(table, placed.ordinals(), end);
                    ends_at(part.from)?..ends_at(part.from.saturating_add(part.len))?
                }
            };
            if runs.last().is_some_and(|(_, last)| last.end > ordinals.start) {
                return Err(useless("it makes files in another order"));
            }
            let count = ordinals.end - ordinals.start;
            runs.push((before, ordinals));
            before += count;
        }
        Ok(Self { runs, made: AtomicU32::new(0), end: AtomicU32::new(before) })
    }

    /// Leaves everything to records.
    pub fn give_up(&self) {
        self.end.store(0, Ordering::Relaxed);
    }

    /// Says whether the patch has nothing left to make.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.made.load(Ordering::Relaxed) >= self.end.load(Ordering::Relaxed)
    }

    /// Says whether the chunk at `ordinal` is left to the patch.
    #[must_use]
    pub fn makes(&self, ordinal: u32) -> bool {
        let Some((before, run)) = self.runs[..self.runs.partition_point(|(_, run)| run.start <= ordinal)].last() else {
            return false;
        };
        run.contains(&ordinal) && before + (ordinal - run.start) < self.end.load(Ordering::Relaxed)
    }

    /// Iterates its ordinals from its chunk with the number `from` up to the one `end`.
    fn ordinals(&self, from: u32, end: u32) -> impl Iterator<Item = u32> + '_ {
        let all = self.runs.iter().flat_map(|(before, run)| (*before..).zip(run.clone()));
        all.skip_while(move |(number, _)| *number < from).take_while(move |(number, _)| *number < end).map(|(_, ordinal)| ordinal)
    }

    /// Raw bytes that are left to it, as `missing` tells them of each chunk.
    fn left(&self, missing: &dyn Fn(u32) -> u64) -> u64 {
        let (made, end) = (self.made.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        self.ordinals(made, end).map(missing).sum()
    }

    /// Leaves it `bytes` of what is left to it.
    fn keep(&self, bytes: u64, missing: &dyn Fn(u32) -> u64) {
        let (made, end) = (self.made.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        let mut sum = 0;
        let kept = self.ordinals(made, end).map(missing).take_while(|len| {
            sum += len;
            sum <= bytes
        });
        let kept = u32::try_from(kept.count()).unwrap_or(u32::MAX);
        // Whoever has given it up meanwhile is not overruled.
        self.end.fetch_min(made.saturating_add(kept), Ordering::Relaxed);
    }
}

/// The ordinal of the chunk of a file that begins at `offset`, or the one behind its last.
fn ordinal_at(table: &ChunkTable, ordinals: Range<u32>, offset: u64) -> Result<u32> {
    let mut at = 0;
    for ordinal in ordinals.clone() {
        if at == offset {
            return Ok(ordinal);
        }
        at += table.line(ordinal).map_or(0, |line| u64::from(line.len));
    }
    if at == offset { Ok(ordinals.end) } else { Err(useless("its part ends within a chunk")) }
}

/// Takes half of what is left to `fronts`, which are made in this order, from the last on: whoever brings records has nothing else to bring. `missing` tells
/// of each chunk how many bytes must come. Where that is little, those give up that have not made anything yet: what comes before that may take longer. False
/// if nothing was taken.
pub fn hand_over(fronts: &[Arc<Front>], missing: &dyn Fn(u32) -> u64) -> bool {
    let left: Vec<u64> = fronts.iter().map(|front| front.left(missing)).collect();
    let all: u64 = left.iter().sum();
    if all < HANDED_BYTES_MIN {
        let idle = fronts.iter().filter(|front| front.made.load(Ordering::Relaxed) == 0 && !front.is_done());
        return idle.map(|front| front.give_up()).count() > 0;
    }
    let mut wanted = all - all / 2;
    for (front, left) in fronts.iter().zip(left).rev() {
        front.keep(left.saturating_sub(wanted), missing);
        wanted = wanted.saturating_sub(left);
    }
    true
}

/// Makes a front of each of `shares`; `missing` tells of each chunk how many bytes must come. None for a share of which nothing is missing, or that a
/// patch cannot have.
pub fn fronts_of(shares: &[Share], (layout, table): (&Layout, &ChunkTable), missing: &dyn Fn(u32) -> u64) -> Vec<Option<Front>> {
    if shares.is_empty() {
        return Vec::new();
    }
    let wanted: HashSet<u32> = shares.iter().flat_map(|share| share.scope.entries()).copied().collect();
    let placed = layout.files().filter(|placed| wanted.contains(&placed.entry)).map(|placed| (placed.entry, placed)).collect();
    let front_of = |share: &Share| {
        let front = Front::of(&share.scope, &placed, table).ok()?;
        let all = u128::from(front.left(missing));
        front.keep(u64::try_from(all * u128::from(share.permille) / 1000).unwrap_or(u64::MAX), missing);
        Some(front).filter(|front| front.left(missing) > 0)
    };
    shares.iter().map(front_of).collect()
}

/// What a patch is made of, until nothing is left to its front: reading much of it may come before anything is made.
pub(crate) struct Watched<'a> {
    pub(crate) base: &'a dyn ReadAt,
    pub(crate) front: &'a Front,
}

impl ReadAt for Watched<'_> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        if self.front.is_done() { Err(Error::Cancelled) } else { self.base.read_exact_at(bytes, offset) }
    }
}

/// Whoever takes what is left to a front.
pub(crate) trait TakeFront {
    /// Says whether the chunk at `ordinal` is wanted.
    fn wants(&self, ordinal: u32, id: &ChunkId) -> Result<bool>;
    /// Takes a chunk that is wanted.
    fn take(&mut self, chunk: VerifiedChunk) -> Result<()>;
}

/// Takes what a patch makes apart into the chunks that it should be.
pub(crate) struct FrontSplit<'a, T> {
    front: &'a Front,
    table: &'a ChunkTable,
    ordinals: Box<dyn Iterator<Item = u32> + 'a>,
    /// The chunk that is due, and what has come of it.
    due: Option<(u32, ChunkLine)>,
    gathered: Vec<u8>,
    taker: T,
}

impl<'a, T: TakeFront> FrontSplit<'a, T> {
    pub(crate) fn of(front: &'a Front, table: &'a ChunkTable, taker: T) -> Self {
        let ordinals = Box::new(front.ordinals(0, u32::MAX));
        let mut split = Self { front, table, ordinals, due: None, gathered: Vec::new(), taker };
        split.advance();
        split
    }

    fn advance(&mut self) {
        self.due = self.ordinals.next().and_then(|ordinal| Some((ordinal, self.table.line(ordinal)?)));
    }

    /// Takes the next bytes; [`Error::Cancelled`] as soon as the rest is left to records.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.front.is_done() {
                return Err(Error::Cancelled);
            }
            let (ordinal, line) = self.due.ok_or_else(|| useless("it makes more than was asked for"))?;
            let len = line.len as usize;
            if len > CHUNK_BYTES_MAX {
                return Err(useless("it makes what no chunk can be"));
            }
            if self.gathered.is_empty() {
                self.gathered.reserve_exact(len);
            }
            let now = bytes.len().min(len - self.gathered.len());
            let (front, rest) = bytes.split_at(now);
            bytes = rest;
            self.gathered.extend_from_slice(front);
            if self.gathered.len() == len {
                self.complete(ordinal, line)?;
            }
        }
        Ok(())
    }

    fn complete(&mut self, ordinal: u32, line: ChunkLine) -> Result<()> {
        let bytes = std::mem::take(&mut self.gathered);
        if self.taker.wants(ordinal, &line.id)? {
            let chunk = VerifiedChunk::hash(ChunkKind::Content, bytes.into());
            if chunk.id() != line.id {
                return Err(useless(&format!("it makes something else than chunk {}", line.id)));
            }
            self.taker.take(chunk)?;
        }
        self.front.made.fetch_add(1, Ordering::Relaxed);
        self.advance();
        Ok(())
    }

    /// Ends it as applying the patch `ended`, and returns whoever took it. That it was cut off where the rest comes as records is no error; after any other,
    /// nothing is left to the front.
    pub(crate) fn finish(self, ended: Result<()>) -> Result<T> {
        let ended = match ended {
            Err(Error::Cancelled) => Ok(()),
            Ok(()) if !self.front.is_done() => Err(useless("it makes less than was asked for")),
            ended => ended,
        };
        ended.inspect_err(|_| self.front.give_up()).map(|()| self.taker)
    }
}
