//! Content made by a patch from its front while what lies behind comes as records: for what takes longer to make than to fetch, as do archives that
//! are compressed again.
//!
//! Both work on the same assembly at the same moment, and where they meet is not fixed before: a [`Front`] says how far the patch is to make, and
//! gives up half of what it has not made yet whenever records have nothing else to bring ([`Assembly::hand_over`]).

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::chunk::CHUNK_BYTES_MAX;
use crate::chunk::record::ChunkLine;
use crate::delta::{self, Limits, Scope, Targets, useless};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::manifest::layout::{Layout, Placed};
use crate::manifest::table::ChunkTable;

use super::Seed;
use super::assembly::Assembly;
use super::content::Content;
use super::needed::ranges_of;
use super::patched::JoinedFiles;

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
    pub(super) fn makes(&self, ordinal: u32) -> bool {
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
        self.end.store(end.min(made.saturating_add(kept)), Ordering::Relaxed);
    }
}

/// The ordinal of the chunk of a file that begins at `offset`, or the one behind its last.
fn ordinal_at(table: &ChunkTable, ordinals: Range<u32>, offset: u64) -> Result<u32> {
    let mut at = 0;
    for ordinal in ordinals.clone() {
        if at >= offset {
            break;
        }
        at += table.line(ordinal).map_or(0, |line| u64::from(line.len));
        if at == offset {
            return Ok(ordinal + 1);
        }
    }
    if offset == 0 { Ok(ordinals.start) } else { Err(useless("its part ends within a chunk")) }
}

/// Makes a front of each of `shares`; `missing` tells of each chunk how many bytes must come. None for a share of which nothing is missing, or that a
/// patch cannot have.
pub(super) fn fronts_of(
    shares: &[Share],
    (layout, table): (&Layout, &ChunkTable),
    missing: &dyn Fn(u32) -> u64,
) -> Vec<Option<Front>> {
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

impl Assembly {
    /// Makes a front of each of `shares`, for [`Assembly::take_front`]; none where nothing of it is missing. Call it after [`Assembly::take_local`].
    #[must_use]
    pub fn fronts(&self, shares: &[Share]) -> Vec<Option<Front>> {
        let Some(content) = &self.content else { return shares.iter().map(|_| None).collect() };
        fronts_of(shares, (&self.layout, &content.table), &|ordinal| content.lacking_at(ordinal))
    }

    /// Returns the ordinals still missing that none of `fronts` makes, ascending, each distinct chunk once.
    #[must_use]
    pub fn missing_behind(&self, fronts: &[Arc<Front>]) -> Vec<Range<u32>> {
        let missing = self.missing();
        if fronts.is_empty() {
            return missing;
        }
        ranges_of(missing.into_iter().flatten().filter(|ordinal| !fronts.iter().any(|front| front.makes(*ordinal))))
    }

    /// Takes half of what is left to it from that of `fronts` that has most left: whoever brings records has nothing else to bring. False if
    /// all have little left.
    #[must_use]
    pub fn hand_over(&self, fronts: &[Arc<Front>]) -> bool {
        let Some(content) = &self.content else { return false };
        let missing = |ordinal| content.lacking_at(ordinal);
        let most = fronts.iter().map(|front| (front.left(&missing), front)).max_by_key(|(left, _)| *left);
        match most {
            Some((left, front)) if left >= HANDED_BYTES_MIN => {
                front.keep(left / 2, &missing);
                true
            }
            _ => false,
        }
    }

    /// Makes what is left to `front` of what `scope` says by a patch from what it says of `seed`, and gives `progress` the raw bytes as they are
    /// there. Returns their sum.
    ///
    /// Call it after [`Assembly::take_local`], beside [`Assembly::accept`]. The patch is not trusted: each chunk counts by its id, and the first
    /// that is another one is an error, whereupon nothing is left to the front.
    ///
    /// # Errors
    /// The patch is damaged, made of something else, or for something else: fetch records instead. I/O.
    pub fn take_front(
        &self,
        patch: &mut (dyn Read + Send),
        (scope, front): (&Scope, &Front),
        seed: &Seed,
        progress: &dyn Fn(u64),
    ) -> Result<u64> {
        let early = || Error::damaged("this assembly", "a patch came before the local content was taken");
        let content = self.content.as_ref().ok_or_else(early)?;
        let taken = self.push_front(content, patch, (scope, front), seed, progress);
        if taken.is_err() {
            front.give_up();
        }
        taken
    }

    fn push_front(
        &self,
        content: &Content,
        patch: &mut (dyn Read + Send),
        (scope, front): (&Scope, &Front),
        seed: &Seed,
        progress: &dyn Fn(u64),
    ) -> Result<u64> {
        let base = JoinedFiles::of(seed, scope)?;
        let (mut taker, mut made) = (FrontTaker::of(front, content), 0);
        let mut take = |line: ChunkLine, bytes: &[u8]| {
            if ChunkId::of_content(bytes) != line.id {
                return Err(useless(&format!("it makes something else than chunk {}", line.id)));
            }
            let filled = content.fill(self.tree(), &line.id, bytes)?;
            self.patch_bytes.fetch_add(filled.written, Ordering::Relaxed);
            made += filled.written;
            progress(filled.new);
            Ok(())
        };
        let mut scratch = || self.staging.scratch();
        let mut sink = |bytes: &[u8]| taker.push(bytes, &mut take);
        match delta::apply_joined(patch, &Limits::default(), (&base, base.len), &mut scratch, &mut sink) {
            // Everything else comes as records.
            Err(Error::Cancelled) => Ok(made),
            Ok(()) if !front.is_done() => Err(useless("it makes less than was asked for")),
            ended => ended.map(|()| made),
        }
    }
}

/// Takes what a patch makes apart into the chunks that it should be.
struct FrontTaker<'a> {
    front: &'a Front,
    content: &'a Content,
    ordinals: Box<dyn Iterator<Item = u32> + 'a>,
    /// The chunk that is due, and what has come of it.
    due: Option<(u32, ChunkLine)>,
    gathered: Vec<u8>,
}

impl<'a> FrontTaker<'a> {
    fn of(front: &'a Front, content: &'a Content) -> Self {
        let mut taker = Self { front, content, ordinals: Box::new(front.ordinals(0, u32::MAX)), due: None, gathered: Vec::new() };
        taker.advance();
        taker
    }

    fn advance(&mut self) {
        self.due = self.ordinals.next().and_then(|ordinal| Some((ordinal, self.content.table.line(ordinal)?)));
    }

    /// Takes the next bytes; [`Error::Cancelled`] as soon as the rest is left to records.
    fn push(&mut self, mut bytes: &[u8], take: &mut dyn FnMut(ChunkLine, &[u8]) -> Result<()>) -> Result<()> {
        while !bytes.is_empty() {
            if self.front.is_done() {
                return Err(Error::Cancelled);
            }
            let (ordinal, line) = self.due.ok_or_else(|| useless("it makes more than was asked for"))?;
            let len = line.len as usize;
            if len > CHUNK_BYTES_MAX {
                return Err(useless("it makes what no chunk can be"));
            }
            let now = bytes.len().min(len - self.gathered.len());
            let (front, rest) = bytes.split_at(now);
            bytes = rest;
            // What is here already need not be gathered, but counted.
            self.gathered.extend_from_slice(front);
            if self.gathered.len() == len {
                if self.content.lacking_at(ordinal) > 0 {
                    take(line, &self.gathered)?;
                }
                self.gathered.clear();
                self.front.made.fetch_add(1, Ordering::Relaxed);
                self.advance();
            }
        }
        Ok(())
    }
}
