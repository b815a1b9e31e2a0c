//! Writing a run: what came since the last one, merged with older runs.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use super::run::{COVER_BYTES, ENTRY_BYTES, FIXED_BYTES, Run, RunHead, bucket_of, encode_entry, fan_bits};
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

/// Writes the run at `path`, durable when it returns: `fresh` (sorted by id, described by `head`) and the entries of `runs`.
///
/// An id that is there twice is taken from the older run: its first writer.
pub(super) fn write(path: &Path, mut head: RunHead, fresh: &[(ChunkId, ChunkAt)], runs: &[Arc<Run>]) -> Result<()> {
    let most = fresh.len() + runs.iter().map(|run| run.head.entries as usize).sum::<usize>();
    u32::try_from(most).map_err(|_| Error::Limit { what: "the index".to_owned(), limit: "4,294,967,295 chunks".to_owned() })?;
    for run in runs {
        head.covers.extend(&run.head.covers);
        head.raw_bytes += run.head.raw_bytes;
        head.records += run.head.records;
    }
    let bits = fan_bits(most);
    let head_len = FIXED_BYTES + head.covers.len() * COVER_BYTES + (4 << bits);
    let temp = fsx::temp_beside(path);
    let written = write_temp(&temp, head, head_len as u64, bits, fresh, runs).and_then(|()| fsx::rename_durable(&temp, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temp); // already failing: the first error is the one to tell
    }
    written
}

fn write_temp(
    temp: &Path,
    mut head: RunHead,
    head_len: u64,
    bits: u32,
    fresh: &[(ChunkId, ChunkAt)],
    runs: &[Arc<Run>],
) -> Result<()> {
    let mut out = BufWriter::with_capacity(WRITE_BYTES, File::create(temp).at("create", temp)?);
    out.seek(SeekFrom::Start(head_len)).at("write", temp)?;
    let mut counts = vec![0_u32; 1 << bits];
    merge(fresh, runs, &mut |entry| {
        counts[bucket_of(entry, bits)] += 1;
        out.write_all(entry).at("write", temp)
    })?;
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

/// Calls `each` with every entry in id order, each id once.
fn merge(fresh: &[(ChunkId, ChunkAt)], runs: &[Arc<Run>], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut cursors: Vec<_> = runs.iter().map(|run| Cursor { run, held: &[], next: 0 }).collect();
    let mut fresh = fresh.iter().map(|(id, at)| encode_entry(id, at)).peekable();
    let mut written = None;
    loop {
        // Oldest first and a strict comparison: among equal ids the oldest is written, the others meet `written`.
        let mut least: Option<[u8; ENTRY_BYTES]> = None;
        let mut from = None;
        for (number, cursor) in cursors.iter_mut().enumerate() {
            if let Some(entry) = cursor.head()?
                && least.is_none_or(|least| entry[..32] < least[..32])
            {
                least = entry.try_into().ok();
                from = Some(number);
            }
        }
        if let Some(entry) = fresh.peek()
            && least.is_none_or(|least| entry[..32] < least[..32])
        {
            least = Some(*entry);
            from = None;
        }
        let Some(entry) = least else { return Ok(()) };
        match from {
            Some(number) => cursors[number].advance(),
            None => drop(fresh.next()),
        }
        let id: [u8; 32] = crate::chunk::fields::array_at(&entry, 0);
        if written.replace(id) != Some(id) {
            each(&entry)?;
        }
    }
}
