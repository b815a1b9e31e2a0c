//! What the index knows at one moment: what came last, what is being written, the runs, and which places no longer count.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::run::{Run, RunHead};
use crate::error::Result;
use crate::id::ChunkId;
use crate::pack::FooterLine;
use crate::store::{ChunkAt, RecordAt};

/// What came since the last run.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) places: HashMap<ChunkId, ChunkAt>,
    /// Its `entries` is not kept up.
    pub(super) head: RunHead,
}

impl Memory {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.head.covers.len() == 0
    }

    /// Enters a chunk; `elsewhere` says whether an older part of the index has an entry for it.
    pub(super) fn enter(&mut self, pack: u32, line: &FooterLine, elsewhere: bool) {
        if self.places.insert(line.id, here(pack, line)).is_none() {
            if elsewhere {
                self.head.repeated += 1;
            } else {
                self.head.raw_bytes += u64::from(line.len);
            }
        }
    }

    /// Takes back what could not be written; what came meanwhile is newer.
    pub(super) fn take_back(&mut self, older: &Self) {
        for (id, at) in &older.places {
            match self.places.entry(*id) {
                std::collections::hash_map::Entry::Occupied(_) => self.head.repeated = self.head.repeated.saturating_sub(1),
                std::collections::hash_map::Entry::Vacant(free) => drop(free.insert(*at)),
            }
        }
        self.head.covers.extend(&older.head.covers);
        self.head.raw_bytes += older.head.raw_bytes;
        self.head.records += older.head.records;
        self.head.repeated += older.head.repeated;
    }

    pub(super) fn sorted(&self) -> Vec<(ChunkId, ChunkAt)> {
        let mut sorted: Vec<_> = self.places.iter().map(|(id, at)| (*id, *at)).collect();
        sorted.sort_unstable_by_key(|(id, _)| *id);
        sorted
    }
}

/// The place that a line of pack `pack` names.
pub(super) fn here(pack: u32, line: &FooterLine) -> ChunkAt {
    ChunkAt { record: RecordAt { pack, offset: line.offset }, ordinal: line.ordinal }
}

/// What goes away with a pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Chunks that were found in it until now.
    pub(crate) chunks: u64,
    /// Their raw bytes.
    pub(crate) raw_bytes: u64,
    /// Records in the pack.
    pub(crate) records: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) memory: Memory,
    /// What is being written as a run.
    pub(super) frozen: Option<Arc<Memory>>,
    /// Oldest first, each at least twice as large as the next: so there are few.
    pub(super) runs: Vec<Arc<Run>>,
    /// Number of the next run.
    pub(super) next_run: u64,
    /// Packs that no longer count, although entries for them are left.
    pub(super) gone: BTreeMap<u32, Dropped>,
    /// Damaged records: what lies in them is missing.
    pub(super) damaged: HashSet<RecordAt>,
}

impl State {
    /// Finds a chunk that can be had.
    pub(super) fn locate(&self, id: &ChunkId) -> Result<Option<ChunkAt>> {
        Ok(self.entry(id)?.filter(|at| self.counts(at.record)))
    }

    /// Finds a chunk that can be had, in what is in memory; `None` says nothing.
    pub(super) fn locate_now(&self, id: &ChunkId) -> Option<ChunkAt> {
        let mut found = self.fresh(id);
        let mut older = self.runs.iter().rev();
        while found.is_none() {
            found = older.next()?.find_now(id).ok()?;
        }
        found.filter(|at| self.counts(at.record))
    }

    fn fresh(&self, id: &ChunkId) -> Option<ChunkAt> {
        self.memory.places.get(id).or_else(|| self.frozen.as_ref().and_then(|frozen| frozen.places.get(id))).copied()
    }

    /// Finds the newest entry for a chunk, whether it counts or not.
    pub(super) fn entry(&self, id: &ChunkId) -> Result<Option<ChunkAt>> {
        if let Some(at) = self.fresh(id) {
            return Ok(Some(at));
        }
        for run in self.runs.iter().rev() {
            if let Some((_, at)) = run.find(id)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    pub(super) fn counts(&self, record: RecordAt) -> bool {
        !self.gone.contains_key(&record.pack) && !self.damaged.contains(&record)
    }

    /// Returns the place of the first run that is merged with `fresh` new entries.
    pub(super) fn merge_from(&self, fresh: usize) -> usize {
        let mut size = fresh;
        let mut from = self.runs.len();
        while let Some(before) = from.checked_sub(1)
            && (self.runs[before].head.entries as usize) < 2 * size.max(1)
        {
            size += self.runs[before].head.entries as usize;
            from = before;
        }
        from
    }

    pub(super) fn gone_packs(&self) -> BTreeSet<u32> {
        self.gone.keys().copied().collect()
    }

    /// Iterates the heads of all parts, and what each holds.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&RunHead, u64)> {
        let memory = [Some(&self.memory), self.frozen.as_deref()].into_iter().flatten();
        let memory = memory.map(|part| (&part.head, part.places.len() as u64));
        memory.chain(self.runs.iter().map(|run| (&run.head, u64::from(run.head.entries))))
    }
}
