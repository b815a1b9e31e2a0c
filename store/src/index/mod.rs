//! The index: chunk id → pack, record, place. Immutable sorted runs, mapped, and a map in memory of what came since.
//!
//! It is a cache of the packs: every part says which ranges of which packs it speaks for, and what no part speaks for is read from the packs.

mod covers;
mod merge;
mod run;
mod state;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

pub(crate) use covers::Covers;
use run::Run;
pub(crate) use state::Dropped;
use state::{Memory, State};
pub(crate) use view::View;

use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::ChunkId;
use crate::pack::{FooterLine, Mode};
use crate::store::{ChunkAt, RecordAt};

/// Entries kept in memory before they are written as a run.
pub const MEMORY_ENTRIES_MAX: usize = 64 << 10;

/// Totals over the whole index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexTotals {
    pub(crate) chunks: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) records: u64,
}

/// How much of the index a new run takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What is in memory, and the newest runs that are not twice as large.
    Newest,
    /// Everything, without the packs that are gone.
    Whole,
}

/// The index of a store. One thread at a time enters new chunks and one moves known ones (the caller's locks), one writes runs, any number look
/// up, all at the same time.
#[derive(Debug)]
pub(crate) struct Index {
    dir: PathBuf,
    state: RwLock<State>,
    /// Held while a run is written.
    writing: Mutex<()>,
}

impl Index {
    /// Opens the runs in `dir`. A damaged one is passed over, as is one that a later run replaced (its removal was cut off); both are removed
    /// in [`Mode::Write`].
    pub(crate) fn load(dir: PathBuf, mode: Mode) -> Result<Self> {
        let Listing { found, mut useless, next_run } = fsx::retry_vanished(|| Listing::of(&dir))?;
        let mut replaced_from = u64::MAX;
        let mut runs = Vec::new();
        for (number, run) in found.into_iter().rev() {
            if number >= replaced_from {
                useless.push(run.path.clone());
                continue;
            }
            if run.head.replaced > 0 {
                replaced_from = number.saturating_sub(u64::from(run.head.replaced));
            }
            runs.push(run);
        }
        runs.reverse();
        if mode == Mode::Write {
            remove(&useless)?;
        }
        Ok(Self { dir, state: RwLock::new(State { runs, next_run, ..State::default() }), writing: Mutex::default() })
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
        let mut covers = Covers::default();
        state.parts().for_each(|(head, _)| covers.extend(&head.covers));
        covers
    }

    /// Finds a chunk that can be had.
    pub(crate) fn locate(&self, id: &ChunkId) -> Result<Option<ChunkAt>> {
        self.read().locate(id)
    }

    /// Finds a chunk that can be had, if that waits for nobody and no disk; `None` says nothing.
    pub(crate) fn locate_now(&self, id: &ChunkId) -> Option<ChunkAt> {
        self.state.try_read().ok()?.locate_now(id)
    }

    /// Returns all entries as they are now.
    pub(crate) fn view(&self) -> View {
        View::of(&self.read())
    }

    /// Enters those of `lines` (of pack `pack`) whose chunks cannot be had elsewhere; calls `known` with the places of the others. What lies in
    /// a damaged record is not entered.
    pub(crate) fn add(&self, pack: u32, lines: &[FooterLine], known: &mut dyn FnMut(ChunkAt)) -> Result<()> {
        self.enter(pack, None, lines, &mut |located| is_new(located, known))
    }

    /// Adds as [`Index::add`] the record in `range`, for which the index speaks from then on.
    pub(crate) fn add_record(
        &self,
        pack: u32,
        range: Range<u32>,
        lines: &[FooterLine],
        known: &mut dyn FnMut(ChunkAt),
    ) -> Result<()> {
        self.enter(pack, Some(range), lines, &mut |located| is_new(located, known))
    }

    /// Enters those of the record's `lines` whose chunks are found in pack `from` until now; the index speaks for `range` from then on.
    pub(crate) fn move_record(&self, pack: u32, range: Range<u32>, lines: &[FooterLine], from: u32) -> Result<()> {
        self.enter(pack, Some(range), lines, &mut |located| located.is_some_and(|at| at.record.pack == from))
    }

    fn enter(
        &self,
        pack: u32,
        record: Option<Range<u32>>,
        lines: &[FooterLine],
        wanted: &mut dyn FnMut(Option<ChunkAt>) -> bool,
    ) -> Result<()> {
        let mut fresh = Vec::with_capacity(lines.len());
        {
            let state = self.read();
            for line in lines {
                let damaged = state.damaged.contains(&RecordAt { pack, offset: line.offset });
                let entry = state.entry(&line.id)?;
                if !damaged && wanted(entry.filter(|at| state.counts(at.record))) {
                    fresh.push((line, entry.is_some() && !state.memory.places.contains_key(&line.id)));
                }
            }
        }
        let memory = &mut self.write().memory;
        for (line, elsewhere) in fresh {
            memory.enter(pack, line, elsewhere);
        }
        if let Some(range) = record {
            memory.head.covers.insert(pack, range);
            memory.head.records += 1;
        }
        Ok(())
    }

    /// Points the entry of `line` (of pack `pack`) there, whatever it said.
    pub(crate) fn correct(&self, pack: u32, line: &FooterLine) -> Result<()> {
        let elsewhere = self.read().entry(&line.id)?.is_some();
        self.write().memory.enter(pack, line, elsewhere);
        Ok(())
    }

    /// Notes that the index now speaks for `range` of pack `pack`, in which there are `records` records.
    pub(crate) fn cover(&self, pack: u32, range: Range<u32>, records: u64) {
        let memory = &mut self.write().memory;
        memory.head.covers.insert(pack, range);
        memory.head.records += records;
    }

    /// Finds nothing in pack `pack` any more, with which `dropped` goes away; durable after [`Index::rewrite`].
    pub(crate) fn drop_pack(&self, pack: u32, dropped: Dropped) {
        self.write().gone.insert(pack, dropped);
    }

    /// Finds nothing in the damaged `records` any more.
    pub(crate) fn set_damaged(&self, records: impl IntoIterator<Item = RecordAt>) {
        self.write().damaged = records.into_iter().collect();
    }

    /// Number of entries in memory that are not being written.
    pub(crate) fn in_memory(&self) -> usize {
        self.read().memory.places.len()
    }

    /// Says whether a run is being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.read().frozen.is_some()
    }

    /// Writes what is in memory as a run, merged with the newest runs that are not twice as large, and frees the memory. `sync` makes durable
    /// in the packs what was entered until it is called.
    ///
    /// # Errors
    /// I/O; the index is then as before.
    pub(crate) fn flush(&self, sync: &dyn Fn() -> Result<()>) -> Result<()> {
        self.write_run(Extent::Newest, sync)
    }

    /// Writes everything as one run, without the packs that are gone.
    ///
    /// # Errors
    /// I/O; the index is then as before.
    pub(crate) fn rewrite(&self, sync: &dyn Fn() -> Result<()>) -> Result<()> {
        self.write_run(Extent::Whole, sync)
    }

    fn write_run(&self, extent: Extent, sync: &dyn Fn() -> Result<()>) -> Result<()> {
        let _turn = self.writing.lock().expect("nothing panics while it writes a run");
        let (frozen, number, merged, gone) = {
            let state = &mut *self.write();
            if extent == Extent::Newest && state.memory.is_empty() {
                return Ok(());
            }
            let frozen = Arc::new(std::mem::take(&mut state.memory));
            state.frozen = Some(Arc::clone(&frozen));
            let (from, gone) = match extent {
                Extent::Newest => (state.merge_from(frozen.places.len()), BTreeSet::new()),
                Extent::Whole => (0, state.gone_packs()),
            };
            (frozen, state.next_run, state.runs[from..].to_vec(), gone)
        };
        let written = sync().and_then(|()| self.write_frozen(&frozen, number, &merged, &gone));
        {
            let state = &mut *self.write();
            state.frozen = None;
            let run = written.inspect_err(|_| state.memory.take_back(&frozen))?;
            state.runs.truncate(state.runs.len() - merged.len());
            state.runs.push(run);
            state.next_run += 1;
            state.gone.retain(|pack, _| !gone.contains(pack));
        }
        remove(&merged.iter().map(|run| run.path.clone()).collect::<Vec<_>>())
    }

    fn write_frozen(&self, frozen: &Memory, number: u64, merged: &[Arc<Run>], gone: &BTreeSet<u32>) -> Result<Arc<Run>> {
        let path = self.dir.join(format!("{number}.run"));
        let mut head = frozen.head.clone();
        let oldest = merged.first().and_then(|run| run_number(&run.path)).unwrap_or(number);
        head.replaced = u32::try_from(number - oldest)
            .map_err(|_| Error::Limit { what: "the index".to_owned(), limit: "4,294,967,295 runs".to_owned() })?;
        let dropped: Vec<_> = self.read().gone.iter().filter(|(pack, _)| gone.contains(pack)).map(|(_, what)| *what).collect();
        let parts = merge::Parts { fresh: &frozen.sorted(), runs: merged, gone, dropped: &dropped };
        merge::write(&path, head, &parts)?;
        Run::open(path).map(Arc::new)
    }

    /// Counts over the whole index.
    pub(crate) fn totals(&self) -> IndexTotals {
        let state = self.read();
        let mut sum = IndexTotals { chunks: 0, raw_bytes: 0, records: 0 };
        for (head, entries) in state.parts() {
            sum.chunks += entries.saturating_sub(head.repeated);
            sum.raw_bytes += head.raw_bytes;
            sum.records += head.records;
        }
        for gone in state.gone.values() {
            sum.chunks = sum.chunks.saturating_sub(gone.chunks);
            sum.raw_bytes = sum.raw_bytes.saturating_sub(gone.raw_bytes);
            sum.records = sum.records.saturating_sub(gone.records);
        }
        sum
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().expect("nothing panics while it changes the index")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().expect("nothing panics while it changes the index")
    }
}

/// Says whether a chunk cannot be had; calls `known` with its place if it can.
fn is_new(located: Option<ChunkAt>, known: &mut dyn FnMut(ChunkAt)) -> bool {
    located.map(known).is_none()
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
        let entries = match fs::read_dir(dir) {
            // All of it can be made again from the packs.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(listing),
            other => other.at("list", dir)?,
        };
        for entry in entries {
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
