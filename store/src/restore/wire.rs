//! What a server sends for a request: whole records as they lie in the packs, and for the rest the wanted chunks alone, encoded anew.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::chunk::record::{self, RECORD_CHUNKS_MAX, RECORD_RAW_BYTES_MAX, VerifiedRecord};
use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::manifest::file::ManifestFile;
use crate::manifest::recipe;
use crate::manifest::table::ChunkTable;
use crate::store::{RecordAt, Store};
use crate::upkeep::Lease;

use super::local::ordinals_of;

/// Compression of records that are made while a receiver waits.
const LEVEL: i32 = 3;

/// Most parts of records that wait for being encoded together.
const PARTS_MAX: usize = 4096;

/// The records that answer one request, one at a time: first those that go as they lie, then what is encoded anew.
///
/// No record holds a chunk that was not asked for. Between two records it holds no content but recipe pages; making one takes a decoded record
/// and what is gathered for the new one.
pub struct WireStream {
    /// What is located stays readable until it is sent.
    _lease: Lease,
    store: Store,
    wanted: Wanted,
    /// Wanted of records that hold more than that.
    parts: VecDeque<Part>,
    gathered: Vec<VerifiedChunk>,
    gathered_bytes: usize,
    kind: ChunkKind,
}

/// One encoded record of an answer.
#[derive(Debug, Clone)]
pub struct WireRecord {
    /// Its bytes.
    pub bytes: Bytes,
    /// It was encoded for this answer and lies in memory of its own, not in the map of a pack.
    pub is_made: bool,
}

/// The next of an answer.
enum Piece {
    /// A record of this many bytes, sent as it lies.
    Stored(RecordAt, usize),
    /// A record made for this answer.
    Made(Bytes),
}

/// A record that is wanted as it is.
struct Whole {
    at: RecordAt,
    len: usize,
    /// What is wanted after it.
    after: Ordinals,
    /// The record, if it was in memory.
    bytes: Option<Bytes>,
}

/// Some chunks of one record.
struct Part {
    record: RecordAt,
    /// Their places in it, ascending.
    places: Vec<u16>,
    raw_bytes: usize,
}

/// Where the next chunks come from.
enum Wanted {
    Chunks { table: Arc<ChunkTable>, ordinals: Ordinals },
    Pages { manifest: Arc<ManifestFile>, entries: Box<dyn Iterator<Item = u32> + Send>, ids: std::vec::IntoIter<ChunkId> },
}

/// Ranges, number by number; a copy looks ahead.
#[derive(Clone)]
struct Ordinals {
    ranges: Arc<[Range<u32>]>,
    /// The range that `next` is in or behind.
    place: usize,
    next: u32,
}

impl Iterator for Ordinals {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            let range = self.ranges.get(self.place)?;
            let next = self.next.max(range.start);
            if next < range.end {
                self.next = next + 1;
                return Some(next);
            }
            (self.place, self.next) = (self.place + 1, 0);
        }
    }
}

/// Whether a question may wait for a disk or a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Some,
    None,
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
    /// Streams the chunks at the ordinals `ranges` (ascending) of `table`.
    #[must_use]
    pub fn chunks(store: Store, table: Arc<ChunkTable>, ranges: Vec<Range<u32>>) -> Self {
        let ordinals = Ordinals { ranges: ranges.into(), place: 0, next: 0 };
        Self::new(store, Wanted::Chunks { table, ordinals }, ChunkKind::Content)
    }

    /// Streams the recipe pages of the entries `ranges` of `manifest`; entries without a recipe add nothing.
    #[must_use]
    pub fn recipes(store: Store, manifest: Arc<ManifestFile>, ranges: Vec<Range<u32>>) -> Self {
        let entries: Box<dyn Iterator<Item = u32> + Send> = Box::new(ordinals_of(ranges));
        Self::new(store, Wanted::Pages { manifest, entries, ids: Vec::new().into_iter() }, ChunkKind::RecipePage)
    }

    fn new(store: Store, wanted: Wanted, kind: ChunkKind) -> Self {
        Self { _lease: store.lease(), store, wanted, parts: VecDeque::new(), gathered: Vec::new(), gathered_bytes: 0, kind }
    }

    /// Returns the next record, `None` at the end. Blocking: it reads packs and compresses.
    ///
    /// # Errors
    /// The store lacks a chunk, or it is damaged; the stream is then over, and what was sent is still right.
    pub fn next_record(&mut self) -> Result<Option<WireRecord>> {
        Ok(match self.next_piece()? {
            Some(Piece::Stored(at, len)) => Some(WireRecord { bytes: self.store.read_checked(at, len)?, is_made: false }),
            Some(Piece::Made(bytes)) => Some(WireRecord { bytes, is_made: true }),
            None => None,
        })
    }

    /// Returns the next record if it goes as it lies and all that takes is in memory, so that it waits for no disk, no lock and no work; if not,
    /// [`WireStream::next_record`] has it.
    pub fn next_now(&mut self) -> Option<Bytes> {
        let whole = self.whole(Patience::None).ok()??;
        self.advance(whole.after);
        whole.bytes
    }

    /// Says whether it is known that nothing is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match &self.wanted {
            Wanted::Chunks { ordinals, .. } => {
                ordinals.clone().next().is_none() && self.parts.is_empty() && self.gathered.is_empty()
            }
            Wanted::Pages { .. } => false,
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
        if matches!(self.wanted, Wanted::Pages { .. }) {
            return Ok(self.make_of_pages()?.map(Piece::Made));
        }
        while self.parts.len() < PARTS_MAX {
            if let Some(whole) = self.whole(Patience::Some)? {
                self.advance(whole.after);
                return Ok(Some(Piece::Stored(whole.at, whole.len)));
            }
            match self.next_part()? {
                Some(part) => self.parts.push_back(part),
                None => break,
            }
        }
        Ok(self.make_of_parts()?.map(Piece::Made))
    }

    fn advance(&mut self, after: Ordinals) {
        if let Wanted::Chunks { ordinals, .. } = &mut self.wanted {
            *ordinals = after;
        }
    }

    /// Finds the record that holds just what is wanted next. Only its first chunk is looked up; that the others are the wanted ones is read in its
    /// header.
    fn whole(&self, patience: Patience) -> Result<Option<Whole>> {
        let Wanted::Chunks { table, ordinals } = &self.wanted else { return Ok(None) };
        let mut ahead = ordinals.clone();
        let Some(first) = ahead.next() else { return Ok(None) };
        if patience == Patience::None && !table.is_resident(first, 1) {
            return Ok(None);
        }
        let Some(line) = table.line(first) else { return Ok(None) };
        let at = if patience == Patience::None { self.store.locate_now(&line.id) } else { self.store.locate(&line.id)? };
        let Some(at) = at.filter(|at| at.ordinal == 0) else { return Ok(None) };
        let (header, bytes) = if patience == Patience::None {
            let Some((header, bytes)) = self.store.record_now(at.record) else { return Ok(None) };
            if !table.is_resident(first, header.chunks.len()) {
                return Ok(None);
            }
            (header, Some(bytes))
        } else {
            (self.store.read_header(at.record)?, None)
        };
        // The same chunk again, at once, is sent once.
        let id_of = |ordinal| table.line(ordinal).map(|line| line.id);
        let mut last = None;
        for chunk in &header.chunks {
            let next = if last.is_none() { Some(first) } else { ahead.find(|&ordinal| id_of(ordinal) != last) };
            last = next.and_then(id_of);
            if last != Some(chunk.id) {
                return Ok(None);
            }
        }
        let mut after = ahead.clone();
        while ahead.next().is_some_and(|ordinal| id_of(ordinal) == last) {
            after = ahead.clone();
        }
        Ok(Some(Whole { at: at.record, len: header.record_len(), after, bytes }))
    }

    /// Finds the wanted chunks that come next and lie together in one record.
    fn next_part(&mut self) -> Result<Option<Part>> {
        let Wanted::Chunks { table, ordinals } = &mut self.wanted else { return Ok(None) };
        let mut part: Option<Part> = None;
        let mut ahead = ordinals.clone();
        while let Some(ordinal) = ahead.next() {
            let unknown = || Error::damaged(format!("chunk table of {ordinal}"), "it has no such line; build it again");
            let line = table.line(ordinal).ok_or_else(unknown)?;
            let at = self.store.locate(&line.id)?.ok_or(Error::NoChunk(line.id))?;
            let open = part.get_or_insert_with(|| Part { record: at.record, places: Vec::new(), raw_bytes: 0 });
            let last = open.places.last().copied();
            if open.record != at.record || last.is_some_and(|last| last > at.ordinal) {
                break;
            }
            // The same chunk again, at once, is in the part already.
            if last != Some(at.ordinal) {
                open.places.push(at.ordinal);
                open.raw_bytes += line.len as usize;
            }
            *ordinals = ahead.clone();
        }
        Ok(part)
    }

    /// Encodes as many of the waiting parts as one record takes.
    fn make_of_parts(&mut self) -> Result<Option<Bytes>> {
        while let Some(part) = self.parts.pop_front() {
            let full = self.gathered_bytes + part.raw_bytes > RECORD_RAW_BYTES_MAX
                || self.gathered.len() + part.places.len() > RECORD_CHUNKS_MAX;
            if full {
                self.parts.push_front(part);
                break;
            }
            let record = VerifiedRecord::decode(self.store.read_record(part.record)?)?;
            let mut places = part.places.iter().copied().peekable();
            for (place, mut chunk) in (0_u16..).zip(record.chunks()) {
                if places.next_if_eq(&place).is_some() {
                    if part.raw_bytes < record.header().raw_len / 2 {
                        chunk.detach();
                    }
                    self.gathered_bytes += chunk.bytes().len();
                    self.gathered.push(chunk);
                }
            }
        }
        self.flush()
    }

    /// Encodes as many of the next pages as one record takes.
    fn make_of_pages(&mut self) -> Result<Option<Bytes>> {
        while let Wanted::Pages { manifest, entries, ids } = &mut self.wanted
            && let Some(id) = next_page(&self.store, manifest, entries, ids)?
        {
            let page = self.store.read_chunk(&id, ChunkKind::RecipePage)?;
            let len = page.bytes().len();
            let full = self.gathered_bytes + len > RECORD_RAW_BYTES_MAX || self.gathered.len() == RECORD_CHUNKS_MAX;
            let made = if full { self.flush()? } else { None };
            self.gathered_bytes += len;
            self.gathered.push(page);
            if made.is_some() {
                return Ok(made);
            }
        }
        self.flush()
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
