//! The index as it was at one moment, with a number for each entry.

use std::sync::Arc;

use super::run::{ENTRY_BYTES, Run, parse_place};
use crate::chunk::fields;
use crate::error::Result;
use crate::id::ChunkId;
use crate::store::ChunkAt;

/// Entries taken from a run at once.
const STRIDE_ENTRIES: usize = 16 << 10;

/// One part of a [`View`].
#[derive(Debug)]
enum Part {
    Memory(Vec<(ChunkId, ChunkAt)>),
    Run(Arc<Run>),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Memory(sorted) => sorted.len(),
            Self::Run(run) => run.head.entries as usize,
        }
    }

    fn find(&self, id: &ChunkId) -> Result<Option<(usize, ChunkAt)>> {
        match self {
            Self::Memory(sorted) => {
                Ok(sorted.binary_search_by_key(id, |(id, _)| *id).ok().map(|number| (number, sorted[number].1)))
            }
            Self::Run(run) => run.find(id),
        }
    }
}

/// All entries of the index at one moment; what changes later does not show.
#[derive(Debug)]
pub(crate) struct View {
    /// Newest first, each with the number of its first entry.
    parts: Vec<(usize, Part)>,
    len: usize,
}

impl View {
    pub(super) fn of(state: &super::state::State) -> Self {
        let mut view = Self { parts: Vec::new(), len: 0 };
        view.push(Part::Memory(state.memory.sorted()));
        if let Some(frozen) = &state.frozen {
            view.push(Part::Memory(frozen.sorted()));
        }
        state.runs.iter().rev().for_each(|run| view.push(Part::Run(Arc::clone(run))));
        view
    }

    fn push(&mut self, part: Part) {
        let first = self.len;
        self.len += part.len();
        self.parts.push((first, part));
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Finds the newest entry for a chunk, whether it counts or not: its number and where the chunk lies.
    pub(crate) fn find(&self, id: &ChunkId) -> Result<Option<(usize, ChunkAt)>> {
        for (first, part) in &self.parts {
            if let Some((number, at)) = part.find(id)? {
                return Ok(Some((first + number, at)));
            }
        }
        Ok(None)
    }

    /// Calls `each` with every entry, older ones of the same id included.
    pub(crate) fn for_each(&self, each: &mut dyn FnMut(ChunkId, ChunkAt)) -> Result<()> {
        for (_, part) in &self.parts {
            match part {
                Part::Memory(sorted) => sorted.iter().for_each(|(id, at)| each(*id, *at)),
                Part::Run(run) => {
                    let entries = part.len();
                    for start in (0..entries).step_by(STRIDE_ENTRIES) {
                        for entry in run.entries(start..entries.min(start + STRIDE_ENTRIES))?.chunks_exact(ENTRY_BYTES) {
                            each(ChunkId(fields::array_at(entry, 0)), parse_place(entry));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
