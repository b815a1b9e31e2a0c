//! Writing a run: what came since the last one, merged with older runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use super::Dropped;
use super::run::{COVER_BYTES, ENTRY_BYTES, FIXED_BYTES, Run, RunHead, bucket_of, encode_entry, fan_bits, parse_place};
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::ChunkId;
use crate::store::ChunkAt;

/// Entries taken from a run at once.
const STRIDE_ENTRIES: usize = 16 << 10;
const WRITE_BYTES: usize = 1 << 20;

/// The next entries of one run.
struct Cursor<'a> {
    run: &'a Run,
    /// Entries at hand.
    held: &'a [u8],
    /// Number of the first entry behind those.
    next: usize,
}

impl Cursor<'_> {
    fn head(&mut self) -> Result<Option<&[u8]>> {
        let entries = self.run.head.entries as usize;
        if self.held.is_empty() && self.next < entries {
            let end = entries.min(self.next + STRIDE_ENTRIES);
            self.held = self.run.entries(self.next..end)?;
            self.next = end;
        }
        Ok(self.held.get(..ENTRY_BYTES))
    }

    fn advance(&mut self) {
        self.held = &self.held[ENTRY_BYTES..];
    }
}

/// What goes into a run.
pub(super) struct Parts<'a> {
    /// What came since the last run, sorted by id; described by the head it is written with.
    pub(super) fresh: &'a [(ChunkId, ChunkAt)],
    /// Runs, oldest first.
    pub(super) runs: &'a [Arc<Run>],
    /// Packs whose entries are left out.
    pub(super) gone: &'a BTreeSet<u32>,
    /// What goes away with those.
    pub(super) dropped: &'a [Dropped],
}

impl Parts<'_> {
    fn entries(&self) -> usize {
        self.fresh.len() + self.runs.iter().map(|run| run.head.entries as usize).sum::<usize>()
    }
}

/// Writes the run at `path`, durable when it returns; `head` describes the fresh entries.
///
/// An id that is there several times is taken from the newest: that is where it lies now.
pub(super) fn write(path: &Path, mut head: RunHead, parts: &Parts<'_>) -> Result<()> {
    let most = parts.entries();
    u32::try_from(most).map_err(|_| Error::Limit { what: "the index".to_owned(), limit: "4,294,967,295 chunks".to_owned() })?;
    for run in parts.runs {
        head.covers.extend(&run.head.covers);
        head.raw_bytes += run.head.raw_bytes;
        head.records += run.head.records;
        head.repeated += run.head.repeated;
    }
    parts.gone.iter().for_each(|&pack| head.covers.remove(pack));
    for dropped in parts.dropped {
        head.raw_bytes = head.raw_bytes.saturating_sub(dropped.raw_bytes);
        head.records = head.records.saturating_sub(dropped.records);
    }
    let bits = fan_bits(most);
    let head_len = FIXED_BYTES + head.covers.len() * COVER_BYTES + (4 << bits);
    let temp = fsx::temp_beside(path);
    let written = write_temp(&temp, head, head_len as u64, bits, parts).and_then(|()| fsx::rename_durable(&temp, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temp); // already failing: the first error is the one to tell
    }
    written
}

fn write_temp(temp: &Path, mut head: RunHead, head_len: u64, bits: u32, parts: &Parts<'_>) -> Result<()> {
    let mut out = BufWriter::with_capacity(WRITE_BYTES, File::create(temp).at("create", temp)?);
    out.seek(SeekFrom::Start(head_len)).at("write", temp)?;
    let mut counts = vec![0_u32; 1 << bits];
    let ids = merge(parts, &mut |entry| {
        if parts.gone.contains(&parse_place(entry).record.pack) {
            return Ok(());
        }
        counts[bucket_of(entry, bits)] += 1;
        out.write_all(entry).at("write", temp)
    })?;
    head.repeated = head.repeated.saturating_sub((parts.entries() - ids) as u64);
    let mut total = 0;
    let ends: Vec<u32> = counts
        .iter()
        .map(|count| {
            total += count;
            total
        })
        .collect();
    head.entries = total;
    out.seek(SeekFrom::Start(0)).at("write", temp)?;
    out.write_all(&head.encode(bits, &ends)).at("write", temp)?;
    let file = out.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", temp)?;
    file.sync_all().at("sync", temp)
}

/// Calls `each` with every entry in id order, each id once, and returns how many ids there are.
fn merge(parts: &Parts<'_>, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<usize> {
    let mut cursors: Vec<_> = parts.runs.iter().rev().map(|run| Cursor { run, held: &[], next: 0 }).collect();
    let mut fresh = parts.fresh.iter().map(|(id, at)| encode_entry(id, at)).peekable();
    let mut written = None;
    let mut ids = 0;
    loop {
        // Newest first and a strict comparison: among equal ids the newest is written, the others meet `written`.
        let mut least: Option<[u8; ENTRY_BYTES]> = fresh.peek().copied();
        let mut from = None;
        for (number, cursor) in cursors.iter_mut().enumerate() {
            if let Some(entry) = cursor.head()?
                && least.is_none_or(|least| entry[..32] < least[..32])
            {
                least = entry.try_into().ok();
                from = Some(number);
            }
        }
        let Some(entry) = least else { return Ok(ids) };
        match from {
            Some(number) => cursors[number].advance(),
            None => drop(fresh.next()),
        }
        let id: [u8; 32] = crate::chunk::fields::array_at(&entry, 0);
        if written.replace(id) != Some(id) {
            ids += 1;
            each(&entry)?;
        }
    }
}
