//! The store: one folder of packs with an index, safe for many threads of one process.

use std::path::Path;

use bytes::Bytes;

use crate::chunk::record::VerifiedRecord;
use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::error::Result;
use crate::id::ChunkId;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordAt {
    /// The pack, by its number in this process.
    pub pack: u32,
    /// Offset of the record header in the pack, bytes.
    pub offset: u32,
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkAt {
    /// Its record.
    pub record: RecordAt,
    /// Its place in the record.
    pub ordinal: u16,
}

/// Counts over a whole store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Packs, open ones included.
    pub packs: u64,
    /// Records in them.
    pub records: u64,
    /// Distinct chunks.
    pub chunks: u64,
    /// Raw bytes of the distinct chunks.
    pub raw_bytes: u64,
    /// Bytes of the pack files.
    pub stored_bytes: u64,
}

/// A handle on a store; cloning it is cheap and shares everything.
#[derive(Clone)]
pub struct Store {}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the store in `dir` for writing, creating it if the folder is absent or empty; holds its lock.
    ///
    /// After a crash a torn tail of an open pack is cut off and the index brought up to date.
    ///
    /// # Errors
    /// Locked, damaged, too new, a folder that is something else, or I/O.
    pub fn open(_dir: &Path) -> Result<Self> {
        todo!()
    }

    /// Opens an existing store for reading only, without taking its lock.
    ///
    /// # Errors
    /// No store there, damaged, too new, or I/O.
    pub fn open_read_only(_dir: &Path) -> Result<Self> {
        todo!()
    }

    /// Returns the folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        todo!()
    }

    /// Finds a chunk.
    ///
    /// # Errors
    /// I/O on the index.
    pub fn locate(&self, _id: &ChunkId) -> Result<Option<ChunkAt>> {
        todo!()
    }

    /// Says whether the store has a chunk.
    ///
    /// # Errors
    /// I/O on the index.
    pub fn contains(&self, id: &ChunkId) -> Result<bool> {
        Ok(self.locate(id)?.is_some())
    }

    /// Appends a record as it is, at once visible to readers of this process; durable only after [`Store::sync`].
    ///
    /// # Errors
    /// I/O (a full disk leaves the store as it was).
    pub fn append(&self, _record: &VerifiedRecord) -> Result<RecordAt> {
        todo!()
    }

    /// Appends a record that this process has just encoded from `chunks` (ids and lengths are in its header): as [`Store::append`], without
    /// decoding it again.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn append_encoded(&self, _encoded: Bytes) -> Result<RecordAt> {
        todo!()
    }

    /// Makes everything appended before this call durable: packs and folders.
    ///
    /// # Errors
    /// I/O; the pack concerned takes no further records, is verified again when the store is next opened, and the sync is not retried.
    pub fn sync(&self) -> Result<()> {
        todo!()
    }

    /// Reads a whole record as stored: header and payload, not decoded (a slice of a map for a sealed pack, a positioned read else).
    ///
    /// # Errors
    /// Damaged or I/O.
    pub fn read_record(&self, _at: RecordAt) -> Result<Bytes> {
        todo!()
    }

    /// Reads and decodes one chunk and verifies it.
    ///
    /// # Errors
    /// [`crate::Error::NoChunk`], damaged, or I/O.
    pub fn read_chunk(&self, _id: &ChunkId, _kind: ChunkKind) -> Result<VerifiedChunk> {
        todo!()
    }

    /// Counts what is there.
    ///
    /// # Errors
    /// I/O.
    pub fn stats(&self) -> Result<Stats> {
        todo!()
    }
}
