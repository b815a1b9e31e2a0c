//! Reading the content of a stored version: chunk by chunk, and stretches of it joined.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::chunk::ChunkKind;
use crate::chunk::record::ChunkLine;
use crate::delta::view::Views;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::manifest::file::ManifestFile;
use crate::manifest::recipe;
use crate::map::ReadOnlyMap;
use crate::store::Store;

/// A stored version that patches are built from or to.
#[derive(Clone, Copy)]
pub(super) struct Version<'a> {
    pub(super) store: &'a Store,
    pub(super) manifest: &'a ManifestFile,
}

impl Version<'_> {
    /// Gives `sink` the bytes of a stretch of the file `entry`, a chunk or less at once.
    pub(super) fn read(self, entry: u32, range: &Range<u64>, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        each_line(self.store, self.manifest, entry, &mut |offset, line| {
            let (from, end) = (offset.max(range.start), (offset + u64::from(line.len)).min(range.end));
            if from >= end {
                return Ok(());
            }
            let chunk = self.store.read_chunk(&line.id, ChunkKind::Content)?;
            let within = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
            let bytes = chunk.bytes().get(within(from)..within(end));
            sink(bytes.ok_or_else(|| Error::damaged(format!("chunk {}", line.id), "it is shorter than its recipe says"))?)
        })
    }

    /// The length of the file `entry`.
    pub(super) fn len(self, entry: u32) -> u64 {
        self.manifest.file_of(entry).map_or(0, |(size, ..)| size)
    }

    /// The stretches `pieces`, one after the other.
    pub(super) fn joined(self, pieces: &[(u32, Range<u64>)], views: &Views) -> Result<ReadOnlyMap> {
        let mut view = views.begin()?;
        for (entry, range) in pieces {
            self.read(*entry, range, &mut |bytes| view.push(bytes))?;
        }
        view.finish()
    }

    /// About what the stretches `pieces` cost as records: the share of their chunks that are not among `known` in the records in which
    /// those lie.
    pub(super) fn records_len(self, pieces: &[(u32, Range<u64>)], known: &HashSet<u64>) -> Result<u64> {
        let mut counted = HashSet::new();
        // Records of small files have thousands of chunks, and a header as long: each is read once.
        let mut records = HashMap::new();
        let mut sum = 0;
        for (entry, range) in pieces {
            each_line(self.store, self.manifest, *entry, &mut |offset, line| {
                if !range.contains(&offset) {
                    return Ok(());
                }
                let front = front(line.id.as_bytes());
                if known.contains(&front) || !counted.insert(front) {
                    return Ok(());
                }
                let at = self.store.locate(&line.id)?.ok_or(Error::NoChunk(line.id))?;
                let (len, raw_len) = match records.entry(at.record) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(place) => {
                        let header = self.store.read_header(at.record)?;
                        *place.insert((header.record_len() as u64, (header.raw_len as u64).max(1)))
                    }
                };
                sum += u64::from(line.len) * len / raw_len;
                Ok(())
            })?;
        }
        Ok(sum)
    }

    /// Says whether the file `entry` has a chunk that is not among `known`.
    pub(super) fn has_other_than(self, entry: u32, known: &HashSet<u64>) -> Result<bool> {
        let mut has = false;
        each_line(self.store, self.manifest, entry, &mut |_, line| {
            has |= !known.contains(&front(line.id.as_bytes()));
            Ok(())
        })?;
        Ok(has)
    }

    /// The first eight bytes of every chunk id: enough to estimate.
    pub(super) fn chunks(self) -> Result<HashSet<u64>> {
        let mut known = HashSet::new();
        for entry in 0..u32::try_from(self.manifest.totals().entries).unwrap_or(u32::MAX) {
            each_line(self.store, self.manifest, entry, &mut |_, line| {
                known.insert(front(line.id.as_bytes()));
                Ok(())
            })?;
        }
        Ok(known)
    }
}

/// Gives `each` the chunks of the file `entry` with their offsets.
pub(super) fn each_line(
    store: &Store,
    manifest: &ManifestFile,
    entry: u32,
    each: &mut dyn FnMut(u64, ChunkLine) -> Result<()>,
) -> Result<()> {
    let Some((size, digest, chunks)) = manifest.file_of(entry) else { return Ok(()) };
    let mut page = |id: ChunkId| Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone());
    let mut offset = 0;
    recipe::walk(digest, size, chunks, &mut page, &mut |line| {
        each(offset, line)?;
        offset += u64::from(line.len);
        Ok(())
    })
}

/// The first eight bytes of a digest.
pub(super) fn front(digest: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}
