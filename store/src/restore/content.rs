//! What of the target's content is here, what is missing, and the one way in which chunks are written.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cores;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::{Layout, Placed};
use crate::manifest::table::ChunkTable;
use crate::parallel::{self, Take};

use super::bits::Bits;
use super::needed::{Needed, ranges_of};
use super::staging::Staging;
use super::verify::{self, Offsets};

/// How many ordinals one piece of parallel work covers.
const BLOCK: u32 = 256;

/// The target's chunks by ordinal: known, placed and needed.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) table: ChunkTable,
    offsets: Offsets,
    /// Ordinals whose bytes are where they belong (or about to be: whoever adds one writes it).
    pub(super) have: Bits,
    /// Entries that are right in the destination and not staged (update).
    pub(super) kept: Bits,
    needed: Needed,
    missing_bytes: AtomicU64,
    /// Where what is much is put down.
    folder: PathBuf,
}

/// The fixed things that placing a chunk needs.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    pub(super) manifest: &'a ManifestFile,
    pub(super) layout: &'a Layout,
    pub(super) staging: &'a Staging,
}

/// What [`Content::fill`] did with a chunk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Filled {
    /// Raw bytes written, over all places.
    pub(super) written: u64,
    /// Raw bytes of the chunk, if it was missing at all.
    pub(super) new: u64,
}

/// A folder with known content to take chunks from.
pub(super) struct Source<'a> {
    pub(super) layout: &'a Layout,
    pub(super) table: &'a ChunkTable,
    /// Opens the file of an entry, `None` if it cannot be used.
    pub(super) open: &'a (dyn Fn(u32) -> Option<std::fs::File> + Sync),
    /// Says whether an ordinal's bytes may be looked for there.
    pub(super) usable: &'a (dyn Fn(u32) -> bool + Sync),
}

impl Content {
    /// Nothing of `table` is here yet; `entries` is the number of manifest entries. Puts down what is much in `folder`.
    pub(super) fn new(table: ChunkTable, entries: u32, folder: &Path) -> Self {
        let offsets = Offsets::of(&table);
        let have = Bits::new(table.len());
        let (needed, missing_bytes) = (Needed::default(), AtomicU64::new(0));
        let folder = folder.to_owned();
        Self { table, offsets, have, kept: Bits::new(entries), needed, missing_bytes, folder }
    }

    /// Believes what is staged from an interrupted run as far as its hashes are right, and returns how many bytes that is.
    pub(super) fn verify_staged(&self, tree: Tree<'_>) -> Result<u64> {
        let good = AtomicU64::new(0);
        for_each_file_part(tree.layout, &self.offsets, &self.table, &|placed, ordinals, offset| {
            if !self.kept.has(placed.entry) {
                good.fetch_add(self.verify_part(tree, placed, ordinals, offset), Ordering::Relaxed);
            }
            Ok(())
        })?;
        Ok(good.into_inner())
    }

    /// Does the same for one whole file.
    pub(super) fn verify_one(&self, tree: Tree<'_>, placed: Placed) -> u64 {
        self.verify_part(tree, placed, placed.first..placed.first + placed.chunks, 0)
    }

    fn verify_part(&self, tree: Tree<'_>, placed: Placed, ordinals: Range<u32>, mut offset: u64) -> u64 {
        let name = tree.staging.name(placed.entry, tree.manifest.path_of(placed.entry));
        let size = tree.manifest.file_of(placed.entry).map_or(0, |(size, ..)| size);
        // One that is too long is written anew from the start.
        let file = tree.staging.read(&name).filter(|file| file.metadata().is_ok_and(|stat| stat.len() <= size));
        let Some(file) = file else { return 0 };
        let mut buffer = Vec::new();
        let mut good = 0;
        for ordinal in ordinals {
            let Some(line) = self.table.line(ordinal) else { continue };
            if verify::read_chunk(&file, offset, line, &mut buffer).is_some() && self.have.add(ordinal) {
                good += u64::from(line.len);
            }
            offset += u64::from(line.len);
        }
        good
    }

    /// Fixes the set of needed places from what is not here now; returns the raw bytes of all of them.
    pub(super) fn fix_needed(&mut self) -> Result<u64> {
        self.needed = Needed::of(&self.table, &self.have, &self.folder)?;
        let missing = self.needed.missing(&self.table, &self.have).map(|ordinal| self.lacking_at(ordinal)).sum();
        self.missing_bytes = AtomicU64::new(missing);
        Ok((0..self.table.len()).map(|ordinal| self.lacking_at(ordinal)).sum())
    }

    /// Says whether nothing was missing when the needed places were fixed.
    pub(super) fn needs_nothing(&self) -> bool {
        self.needed.is_empty()
    }

    /// Returns the ordinals still missing, each distinct chunk once.
    pub(super) fn missing(&self) -> Vec<Range<u32>> {
        ranges_of(self.needed.missing(&self.table, &self.have))
    }

    /// Returns the raw bytes of the distinct chunks still missing.
    pub(super) fn missing_bytes(&self) -> u64 {
        self.missing_bytes.load(Ordering::Relaxed)
    }

    /// Returns how many bytes the chunk at `ordinal` has if it is not there yet; 0 if it is.
    pub(super) fn lacking_at(&self, ordinal: u32) -> u64 {
        if self.have.has(ordinal) { 0 } else { self.table.line(ordinal).map_or(0, |line| line.len.into()) }
    }

    /// Returns the first ordinal that has no bytes yet.
    pub(super) fn first_missing(&self) -> Option<u32> {
        (0..self.table.len()).find(|&ordinal| !self.have.has(ordinal))
    }

    /// Says whether any place still lacks the chunk `id`.
    pub(super) fn lacks(&self, id: &ChunkId) -> bool {
        self.needed
            .places(id)
            .any(|ordinal| !self.have.has(ordinal) && self.table.line(ordinal).is_some_and(|line| line.id == *id))
    }

    /// Writes verified bytes to every place that lacks them.
    pub(super) fn fill(&self, tree: Tree<'_>, id: &ChunkId, bytes: &[u8]) -> Result<Filled> {
        let mut filled = Filled::default();
        for ordinal in self.needed.places(id) {
            if self.table.line(ordinal).is_none_or(|line| line.id != *id) || !self.have.add(ordinal) {
                continue;
            }
            self.place(tree, ordinal, bytes).inspect_err(|_| self.have.remove(ordinal))?;
            filled.written += bytes.len() as u64;
        }
        if filled.written > 0 {
            filled.new = bytes.len() as u64;
            // Threads that fill different places of one chunk at once both count it: never below zero.
            let _ = self
                .missing_bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(filled.new)));
        }
        Ok(filled)
    }

    fn place(&self, tree: Tree<'_>, ordinal: u32, bytes: &[u8]) -> Result<()> {
        let damaged =
            || Error::damaged(format!("manifest {}", tree.manifest.id()), format!("chunk {ordinal} belongs to no file"));
        let placed = tree.layout.file_at(ordinal).ok_or_else(damaged)?;
        let name = tree.staging.name(placed.entry, tree.manifest.path_of(placed.entry));
        if placed.chunks == 1 {
            tree.staging.write_whole(&name, tree.manifest.mode_of(placed.entry), bytes)
        } else {
            let offset = self.offsets.between(&self.table, placed.first, ordinal);
            tree.staging.write_at(placed.entry, &name, offset, bytes)
        }
    }

    /// Takes every chunk that is still lacking from `source`, as far as it really has it; returns the raw bytes written. Content that
    /// cannot be read, or is not what it should be, is left out.
    pub(super) fn draw(&self, tree: Tree<'_>, source: &Source<'_>) -> Result<u64> {
        let written = AtomicU64::new(0);
        let offsets = Offsets::of(source.table);
        for_each_file_part(source.layout, &offsets, source.table, &|placed, ordinals, mut offset| {
            let mut file = None;
            let mut buffer = Vec::new();
            for ordinal in ordinals {
                let Some(line) = source.table.line(ordinal) else { break };
                let at = offset;
                offset += u64::from(line.len);
                if !(source.usable)(ordinal) || !self.lacks(&line.id) {
                    continue;
                }
                if file.is_none() {
                    file = (source.open)(placed.entry);
                }
                let Some(file) = &file else { break };
                if let Some(bytes) = verify::read_chunk(file, at, line, &mut buffer) {
                    written.fetch_add(self.fill(tree, &line.id, bytes)?.written, Ordering::Relaxed);
                }
            }
            Ok(())
        })?;
        Ok(written.into_inner())
    }

    /// Believes that the whole file of `placed` is where it belongs.
    pub(super) fn believe(&self, placed: Placed) {
        for ordinal in placed.first..placed.first + placed.chunks {
            self.have.add(ordinal);
        }
    }
}

/// Calls `work` in parallel for each file of `layout` with some or all of its ordinals and the offset of the first of them.
fn for_each_file_part(
    layout: &Layout,
    offsets: &Offsets,
    table: &ChunkTable,
    work: &(dyn Fn(Placed, Range<u32>, u64) -> Result<()> + Sync),
) -> Result<()> {
    let chunks = layout.chunks();
    parallel::for_each(chunks.div_ceil(BLOCK) as usize, cores(), Take::One, &|block| {
        let block = u32::try_from(block).unwrap_or(u32::MAX);
        let end = chunks.min((block + 1).saturating_mul(BLOCK));
        let mut next = block * BLOCK;
        let first = layout.position_of(next).unwrap_or(layout.len());
        for placed in (first..layout.len()).map_while(|position| layout.at(position)).take_while(|placed| placed.first < end) {
            let stop = end.min(placed.first + placed.chunks);
            if next < stop {
                work(placed, next..stop, offsets.between(table, placed.first, next))?;
                next = stop;
            }
        }
        Ok(())
    })
}
