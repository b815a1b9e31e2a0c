//! The index: chunk id → pack, record, place. Immutable sorted runs, mapped, and a map in memory of what came since.
//!
//! It is a cache of the packs: every part says which ranges of which packs it speaks for, and what no part speaks for is read from the packs.

mod covers;
mod merge;
mod run;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

pub(crate) use covers::Covers;
use run::{Run, RunHead};

use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::ChunkId;
use crate::pack::{FooterLine, Mode};
use crate::store::{ChunkAt, RecordAt};

/// Entries kept in memory before they are written as a run.
pub const MEMORY_ENTRIES_MAX: usize = 64 << 10;

/// What came since the last run.
#[derive(Debug, Default)]
struct Memory {
    places: HashMap<ChunkId, ChunkAt>,
    /// Its `entries` is not kept up.
    head: RunHead,
}

#[derive(Debug, Default)]
struct State {
    memory: Memory,
    /// Oldest first, each at least twice as large as the next: so there are few.
    runs: Vec<Arc<Run>>,
    /// Number of the next run.
    next_run: u64,
}

/// Totals over the whole index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexTotals {
    pub(crate) chunks: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) records: u64,
}

/// The index of a store; one thread at a time changes it (the caller's lock), any number look up.
#[derive(Debug)]
pub(crate) struct Index {
    dir: PathBuf,
    state: RwLock<State>,
}

impl Index {
    /// Opens the runs in `dir`. A damaged one is passed over, as is one that later runs contain (a merge was cut off before it unlinked it);
    /// both are removed in [`Mode::Write`].
    pub(crate) fn load(dir: PathBuf, mode: Mode) -> Result<Self> {
        let Listing { found, mut useless, next_run } = fsx::retry_vanished(|| Listing::of(&dir))?;
        let mut covered = Covers::default();
        let mut runs = Vec::new();
        for run in found.into_values().rev() {
            if covered.contain(&run.head.covers) {
                useless.push(run.path.clone());
            } else {
                covered.extend(&run.head.covers);
                runs.push(run);
            }
        }
        runs.reverse();
        if mode == Mode::Write {
            remove(&useless)?;
        }
        Ok(Self { dir, state: RwLock::new(State { memory: Memory::default(), runs, next_run }) })
    }

    /// Believes no run if one speaks for packs or bytes that are not there (`ends`: the end of each pack): what another run left out as
    /// known may then be nowhere.
    pub(crate) fn fit(&self, ends: &BTreeMap<u32, u64>, mode: Mode) -> Result<()> {
        let fits = |(pack, range): (u32, Range<u32>)| ends.get(&pack).is_some_and(|&end| u64::from(range.end) <= end);
        if self.covers().iter().all(fits) {
            return Ok(());
        }
        let useless: Vec<_> = std::mem::take(&mut self.write().runs).iter().map(|run| run.path.clone()).collect();
        if mode == Mode::Write { remove(&useless) } else { Ok(()) }
    }

    /// Returns what the index speaks for.
    pub(crate) fn covers(&self) -> Covers {
        let state = self.read();
        let mut covers = state.memory.head.covers.clone();
        state.runs.iter().for_each(|run| covers.extend(&run.head.covers));
        covers
    }

    /// Finds a chunk.
    pub(crate) fn locate(&self, id: &ChunkId) -> Result<Option<ChunkAt>> {
        self.read().locate(id)
    }

    /// Enters those of `lines` (of pack `pack`) whose ids are new.
    pub(crate) fn add(&self, pack: u32, lines: &[FooterLine]) -> Result<()> {
        let mut fresh = Vec::with_capacity(lines.len());
        {
            let state = self.read();
            for line in lines {
                if state.locate(&line.id)?.is_none() {
                    fresh.push(line);
                }
            }
        }
        let memory = &mut self.write().memory;
        for line in fresh {
            memory.places.entry(line.id).or_insert_with(|| {
                memory.head.raw_bytes += u64::from(line.len);
                ChunkAt { record: RecordAt { pack, offset: line.offset }, ordinal: line.ordinal }
            });
        }
        Ok(())
    }

    /// Notes that the index now speaks for `range` of pack `pack`, in which there are `records` records.
    pub(crate) fn cover(&self, pack: u32, range: Range<u32>, records: u64) {
        let memory = &mut self.write().memory;
        memory.head.covers.insert(pack, range);
        memory.head.records += records;
    }

    /// Number of entries in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.read().memory.places.len()
    }

    /// Writes what is in memory as a run, merged with the newest runs that are not twice as large, and frees the memory. What is in
    /// memory must be durable in the packs.
    ///
    /// # Errors
    /// I/O; the index is then as before.
    pub(crate) fn flush(&self) -> Result<()> {
        let (path, head, mut fresh, merged) = {
            let state = self.read();
            if state.memory.head.covers.len() == 0 {
                return Ok(());
            }
            let fresh: Vec<_> = state.memory.places.iter().map(|(id, at)| (*id, *at)).collect();
            let merged = state.runs[state.merge_from(fresh.len())..].to_vec();
            (self.dir.join(format!("{}.run", state.next_run)), state.memory.head.clone(), fresh, merged)
        };
        fresh.sort_unstable_by_key(|(id, _)| *id);
        merge::write(&path, head, &fresh, &merged)?;
        let run = Arc::new(Run::open(path)?);
        {
            let state = &mut *self.write();
            state.runs.truncate(state.runs.len() - merged.len());
            state.runs.push(run);
            state.next_run += 1;
            state.memory = Memory::default();
        }
        remove(&merged.iter().map(|run| run.path.clone()).collect::<Vec<_>>())
    }

    /// Counts over the whole index.
    pub(crate) fn totals(&self) -> IndexTotals {
        let state = self.read();
        let memory = &state.memory;
        let start =
            IndexTotals { chunks: memory.places.len() as u64, raw_bytes: memory.head.raw_bytes, records: memory.head.records };
        state.runs.iter().map(|run| &run.head).fold(start, |sum, head| IndexTotals {
            chunks: sum.chunks + u64::from(head.entries),
            raw_bytes: sum.raw_bytes + head.raw_bytes,
            records: sum.records + head.records,
        })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().expect("nothing panics while it changes the index")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().expect("nothing panics while it changes the index")
    }
}

impl State {
    fn locate(&self, id: &ChunkId) -> Result<Option<ChunkAt>> {
        if let Some(at) = self.memory.places.get(id) {
            return Ok(Some(*at));
        }
        for run in self.runs.iter().rev() {
            if let Some(at) = run.find(id)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Returns the place of the first run that is merged with `fresh` new entries.
    fn merge_from(&self, fresh: usize) -> usize {
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
}

/// What a folder of runs holds.
#[derive(Default)]
struct Listing {
    found: BTreeMap<u64, Arc<Run>>,
    useless: Vec<PathBuf>,
    next_run: u64,
}

impl Listing {
    fn of(dir: &Path) -> Result<Self> {
        let mut listing = Self::default();
        for entry in fs::read_dir(dir).at("list", dir)? {
            let path = entry.at("list", dir)?.path();
            let Some(number) = run_number(&path) else { continue };
            listing.next_run = listing.next_run.max(number.saturating_add(1));
            match Run::open(path.clone()) {
                Ok(run) => drop(listing.found.insert(number, Arc::new(run))),
                Err(Error::Damaged { .. } | Error::TooNew { .. }) => listing.useless.push(path),
                Err(error) => return Err(error),
            }
        }
        Ok(listing)
    }
}

fn run_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".run")?.parse().ok()
}

fn remove(paths: &[PathBuf]) -> Result<()> {
    paths.iter().try_for_each(|path| match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    })
}
