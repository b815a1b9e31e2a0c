//! What a server sends for a request: whole records as they lie in the packs, and for the rest the wanted chunks alone, encoded anew.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::chunk::record::{self, RECORD_CHUNKS_MAX, RECORD_RAW_BYTES_MAX, VerifiedRecord};
use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::error::Result;
use crate::id::ChunkId;
use crate::manifest::file::ManifestFile;
use crate::manifest::recipe;
use crate::manifest::table::ChunkTable;
use crate::store::{RecordAt, Store};
use crate::upkeep::Lease;

use super::local::{Run, Runs, ordinals_of};

/// Compression of records that are made while a receiver waits.
const LEVEL: i32 = 3;

/// The records that answer one request, one at a time; holds at most two decoded records at once.
///
/// No record holds a chunk that was not asked for. Blocking: it reads packs and compresses.
pub struct WireStream {
    /// What is located stays readable until it is sent.
    _lease: Lease,
    store: Store,
    wanted: Wanted,
    gathered: Vec<VerifiedChunk>,
    gathered_bytes: usize,
    kind: ChunkKind,
    ended: bool,
}

/// The next part of an answer.
enum Piece {
    /// A record of this many bytes, sent as it lies.
    Stored(RecordAt, usize),
    /// A record made for this answer.
    Made(Bytes),
}

/// Where the next chunks come from.
enum Wanted {
    Chunks { table: Arc<ChunkTable>, runs: Runs<Box<dyn Iterator<Item = u32> + Send>> },
    Pages { manifest: Arc<ManifestFile>, entries: Box<dyn Iterator<Item = u32> + Send>, ids: std::vec::IntoIter<ChunkId> },
}

impl std::fmt::Debug for WireStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WireStream")
            .field("kind", &self.kind)
            .field("gathered_bytes", &self.gathered_bytes)
            .finish_non_exhaustive()
    }
}

impl WireStream {
    /// Streams the chunks at the ordinals `ranges` of `table`.
    #[must_use]
    pub fn chunks(store: Store, table: Arc<ChunkTable>, ranges: Vec<Range<u32>>) -> Self {
        let ordinals: Box<dyn Iterator<Item = u32> + Send> = Box::new(ordinals_of(ranges));
        Self::new(store, Wanted::Chunks { table, runs: Runs::new(ordinals) }, ChunkKind::Content)
    }

    /// Streams the recipe pages of the entries `ranges` of `manifest`; entries without a recipe add nothing.
    #[must_use]
    pub fn recipes(store: Store, manifest: Arc<ManifestFile>, ranges: Vec<Range<u32>>) -> Self {
        let entries: Box<dyn Iterator<Item = u32> + Send> = Box::new(ordinals_of(ranges));
        Self::new(store, Wanted::Pages { manifest, entries, ids: Vec::new().into_iter() }, ChunkKind::RecipePage)
    }

    fn new(store: Store, wanted: Wanted, kind: ChunkKind) -> Self {
        Self { _lease: store.lease(), store, wanted, gathered: Vec::new(), gathered_bytes: 0, kind, ended: false }
    }

    /// Returns the next encoded record, `None` at the end.
    ///
    /// # Errors
    /// The store lacks a chunk, or it is damaged; the stream is then over, and what was sent is still right.
    pub fn next_record(&mut self) -> Result<Option<Bytes>> {
        match self.next_piece()? {
            Some(Piece::Stored(at, _)) => Ok(Some(self.store.read_record(at)?)),
            Some(Piece::Made(bytes)) => Ok(Some(bytes)),
            None => Ok(None),
        }
    }

    /// Counts the bytes of all records that are left, reading only those that would be encoded anew.
    ///
    /// # Errors
    /// As [`WireStream::next_record`].
    pub fn count(mut self) -> Result<u64> {
        let mut bytes = 0;
        while let Some(piece) = self.next_piece()? {
            bytes += match piece {
                Piece::Stored(_, len) => len as u64,
                Piece::Made(made) => made.len() as u64,
            };
        }
        Ok(bytes)
    }

    fn next_piece(&mut self) -> Result<Option<Piece>> {
        while !self.ended {
            let ready = match &mut self.wanted {
                Wanted::Chunks { table, runs } => match runs.next(&self.store, table)? {
                    Some(run) => {
                        let header = self.store.read_header(run.record)?;
                        if header.chunks.len() == run.places.len() {
                            return Ok(Some(Piece::Stored(run.record, header.record_len())));
                        }
                        self.take_run(&run)?
                    }
                    None => self.end()?,
                },
                Wanted::Pages { manifest, entries, ids } => match next_page(&self.store, manifest, entries, ids)? {
                    Some(id) => {
                        let page = self.store.read_chunk(&id, ChunkKind::RecipePage)?;
                        self.gather(page)?
                    }
                    None => self.end()?,
                },
            };
            if let Some(made) = ready {
                return Ok(Some(Piece::Made(made)));
            }
        }
        Ok(None)
    }

    /// Gathers what is wanted of a record that has more than that.
    fn take_run(&mut self, run: &Run) -> Result<Option<Bytes>> {
        let encoded = self.store.read_record(run.record)?;
        let mut places = run.places.iter().copied().peekable();
        let mut ready = None;
        for (place, chunk) in (0_u16..).zip(VerifiedRecord::decode(encoded)?.chunks()) {
            if places.next_if_eq(&place).is_some() {
                // A run lies in one record, so it fills at most one more.
                ready = self.gather(chunk)?.or(ready);
            }
        }
        Ok(ready)
    }

    /// Adds a chunk to the record being gathered; returns the one before it when that is full.
    fn gather(&mut self, chunk: VerifiedChunk) -> Result<Option<Bytes>> {
        let len = chunk.bytes().len();
        let full = self.gathered_bytes + len > RECORD_RAW_BYTES_MAX || self.gathered.len() == RECORD_CHUNKS_MAX;
        let ready = if full { self.flush()? } else { None };
        self.gathered_bytes += len;
        self.gathered.push(chunk);
        Ok(ready)
    }

    fn flush(&mut self) -> Result<Option<Bytes>> {
        if self.gathered.is_empty() {
            return Ok(None);
        }
        let encoded = record::encode(self.kind, &self.gathered, LEVEL)?;
        self.gathered.clear();
        self.gathered_bytes = 0;
        Ok(Some(encoded))
    }

    fn end(&mut self) -> Result<Option<Bytes>> {
        self.ended = true;
        self.flush()
    }
}

/// Returns the id of the next page of the wanted entries.
fn next_page(
    store: &Store,
    manifest: &ManifestFile,
    entries: &mut dyn Iterator<Item = u32>,
    ids: &mut std::vec::IntoIter<ChunkId>,
) -> Result<Option<ChunkId>> {
    loop {
        if let Some(id) = ids.next() {
            return Ok(Some(id));
        }
        let Some(entry) = entries.next() else { return Ok(None) };
        let known = u64::from(entry) < manifest.totals().entries;
        let Some((size, digest, chunks)) = known.then(|| manifest.file_of(entry)).flatten().filter(|file| file.2 > 1) else {
            continue;
        };
        let mut pages = Vec::new();
        let mut page = |id| {
            pages.push(id);
            Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone())
        };
        recipe::walk(digest, size, chunks, &mut page, &mut |_| Ok(()))?;
        *ids = pages.into_iter();
    }
}
