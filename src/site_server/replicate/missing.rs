//! What the store lacks of a version.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use consign_store::chunk::ChunkKind;
use consign_store::delta::Front;
use consign_store::manifest::recipe::{self, PAGE_LINES_MAX};
use consign_store::manifest::{ChunkTable, ManifestFile};
use consign_store::{ChunkId, Error, Result, Store};

/// Most chunks that are asked for at once; their ids are held in memory.
const BATCH_CHUNKS_MAX: usize = 16 << 10;
/// Lookups between two looks at the stop flag.
const LOOKUPS_MAX: u32 = 4096;

/// What is here and what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Survey {
    /// Raw bytes that are here, repeated content counted each time.
    pub here_bytes: u64,
    /// Chunks that are not here, repeated ones counted each time.
    pub missing_chunks: u64,
}

/// Looks up every chunk of a version.
///
/// # Errors
/// Cancelled by `stopping`, or I/O.
pub(super) fn survey(store: &Store, table: &ChunkTable, stopping: &AtomicBool) -> Result<Survey> {
    let mut survey = Survey::default();
    for ordinal in 0..table.len() {
        check(ordinal, stopping)?;
        match table.line(ordinal) {
            Some(line) if store.contains(&line.id)? => survey.here_bytes += u64::from(line.len),
            _ => survey.missing_chunks += 1,
        }
    }
    Ok(survey)
}

/// Chunks to ask for, each once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Their ordinals.
    pub ranges: Vec<Range<u32>>,
    /// Their ids.
    pub ids: HashSet<ChunkId>,
    /// Where the next batch begins.
    pub end: u32,
}

/// Collects the next chunks from ordinal `start` on that the store lacks and that none of `fronts` makes; `None` if there are none.
///
/// # Errors
/// As [`survey`].
pub(super) fn next_batch(
    store: &Store,
    table: &ChunkTable,
    (start, fronts): (u32, &[Arc<Front>]),
    stopping: &AtomicBool,
) -> Result<Option<Batch>> {
    let mut batch = Batch { ranges: Vec::new(), ids: HashSet::new(), end: start };
    while batch.end < table.len() && batch.ids.len() < BATCH_CHUNKS_MAX {
        let ordinal = batch.end;
        check(ordinal, stopping)?;
        batch.end += 1;
        if let Some(line) = table.line(ordinal)
            && !store.contains(&line.id)?
            && !fronts.iter().any(|front| front.makes(ordinal))
            && batch.ids.insert(line.id)
        {
            push(&mut batch.ranges, ordinal);
        }
    }
    Ok(if batch.ranges.is_empty() { None } else { Some(batch) })
}

/// Collects the entries whose recipe the store lacks, in part or whole.
///
/// # Errors
/// As [`survey`], or a damaged page.
pub(super) fn recipes(store: &Store, manifest: &ManifestFile, stopping: &AtomicBool) -> Result<Vec<Range<u32>>> {
    let mut ranges = Vec::new();
    let entries = u32::try_from(manifest.totals().entries).unwrap_or(u32::MAX);
    for number in 0..entries {
        check(number, stopping)?;
        if let Some((size, digest, chunks)) = manifest.file_of(number)
            && chunks > 1
            && lacks_pages(store, digest, size, chunks)?
        {
            push(&mut ranges, number);
        }
    }
    Ok(ranges)
}

fn lacks_pages(store: &Store, digest: consign_store::FileDigest, size: u64, chunks: u32) -> Result<bool> {
    if !store.contains(&digest.into())? {
        return Ok(true);
    }
    if chunks as usize <= PAGE_LINES_MAX {
        // The root is its only page.
        return Ok(false);
    }
    let mut page = |id| store.read_chunk(&id, ChunkKind::RecipePage).map(|page| page.bytes().clone());
    match recipe::walk(digest, size, chunks, &mut page, &mut |_| Ok(())) {
        Ok(()) => Ok(false),
        Err(Error::NoChunk(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

fn push(ranges: &mut Vec<Range<u32>>, number: u32) {
    match ranges.last_mut() {
        Some(last) if last.end == number => last.end += 1,
        _ => ranges.push(number..number + 1),
    }
}

fn check(step: u32, stopping: &AtomicBool) -> Result<()> {
    let look = step.is_multiple_of(LOOKUPS_MAX);
    if look && stopping.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
}
