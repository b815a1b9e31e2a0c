//! The store: one folder of packs with an index, safe for many threads of one process.

mod cache;
mod opening;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::chunk::record::{RecordHeader, VerifiedRecord};
use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::error::{Error, Result};
use crate::fsx::FolderLock;
use crate::id::ChunkId;
use crate::index::{Index, MEMORY_ENTRIES_MAX};
use crate::pack::{FooterLine, Mode, OpenPack, PACK_BYTES_MAX, Pack, PackSet};
use cache::RecordCache;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordAt {
    /// The pack, by its number, which it keeps for ever.
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

/// Sizes at which a store turns to a new file; tests make them small.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes of records in a pack.
    pub pack_bytes_max: u32,
    /// Most index entries in memory.
    pub memory_entries_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pack_bytes_max: PACK_BYTES_MAX, memory_entries_max: MEMORY_ENTRIES_MAX }
    }
}

/// A handle on a store; cloning it is cheap and shares everything.
///
/// When the last handle is dropped the index is brought up to date, so that the next opening need not read the packs.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    mode: Mode,
    limits: Limits,
    packs: PackSet,
    index: Index,
    appender: Mutex<Appender>,
    cache: RecordCache,
    _lock: Option<FolderLock>,
}

/// What only the one thread that appends may touch.
struct Appender {
    /// The pack that takes records; `None` until the first one.
    active: Option<Arc<OpenPack>>,
    /// Number of the next pack.
    next_pack: u32,
    /// Entries in memory at which the index is written next.
    flush_at: usize,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.dir).field("mode", &self.inner.mode).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `dir` for writing, creating it if the folder is absent or empty; holds its lock.
    ///
    /// After a crash a torn tail of an open pack is cut off and the index brought up to date.
    ///
    /// # Errors
    /// Locked, damaged, too new, a folder that is something else, or I/O.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_with(dir, Limits::default())
    }

    /// Opens as [`Store::open`] with other limits.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(dir: &Path, limits: Limits) -> Result<Self> {
        let lock = opening::prepare(dir)?;
        Self::load(dir, Mode::Write, limits, Some(lock))
    }

    /// Opens an existing store for reading only, without taking its lock: it shows what was there at that moment.
    ///
    /// # Errors
    /// No store there, damaged, too new, or I/O.
    pub fn open_read_only(dir: &Path) -> Result<Self> {
        opening::check_marker(dir)?;
        Self::load(dir, Mode::Read, Limits::default(), None)
    }

    fn load(dir: &Path, mode: Mode, limits: Limits, lock: Option<FolderLock>) -> Result<Self> {
        // The index first: the packs can only have grown past what it speaks for when another process is writing.
        let index = Index::load(dir.join(opening::INDEX_DIR), mode)?;
        let packs = PackSet::load(dir.join(opening::PACKS_DIR), mode)?;
        let next_pack = opening::catch_up(&packs, &index, mode, limits)?;
        let active = packs.all().into_iter().rev().find_map(|pack| if let Pack::Open(open) = pack { Some(open) } else { None });
        let appender = Mutex::new(Appender { active, next_pack, flush_at: limits.memory_entries_max });
        let cache = RecordCache::default();
        Ok(Self { inner: Arc::new(Inner { dir: dir.to_path_buf(), mode, limits, packs, index, appender, cache, _lock: lock }) })
    }

    /// Returns the folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Returns the file of pack `number`, if there is such a pack.
    #[must_use]
    pub fn pack_path(&self, number: u32) -> Option<PathBuf> {
        self.inner.packs.get(number).map(|pack| pack.path().to_path_buf())
    }

    /// Finds a chunk.
    ///
    /// # Errors
    /// I/O on the index.
    pub fn locate(&self, id: &ChunkId) -> Result<Option<ChunkAt>> {
        self.inner.index.locate(id)
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
    /// Chunks that the store has already stay where they are found now.
    ///
    /// # Errors
    /// Opened for reading only, or I/O (a full disk leaves the store as it was).
    pub fn append(&self, record: &VerifiedRecord) -> Result<RecordAt> {
        self.inner.append(record.header(), record.encoded())
    }

    /// Appends a record that this process has just encoded from `chunks` (ids and lengths are in its header): as [`Store::append`], without
    /// decoding it again.
    ///
    /// # Errors
    /// As [`Store::append`]; damaged, when `encoded` is not exactly one record.
    #[expect(clippy::needless_pass_by_value, reason = "callers hand a record over; `Bytes` is a handle")]
    pub fn append_encoded(&self, encoded: Bytes) -> Result<RecordAt> {
        let header = RecordHeader::parse(&encoded)?;
        if header.record_len() != encoded.len() {
            return Err(Error::damaged("a record to be appended", "its length is not what its header says"));
        }
        self.inner.append(&header, &encoded)
    }

    /// Makes everything appended before this call durable: packs and folders. Callers that wait at the same time share one sync, and
    /// without anything new it costs nothing.
    ///
    /// # Errors
    /// I/O; the pack concerned takes no further records, is verified again when the store is next opened, and the sync is not retried: until
    /// then every call fails.
    pub fn sync(&self) -> Result<()> {
        if self.inner.mode == Mode::Read { Ok(()) } else { self.inner.packs.sync() }
    }

    /// Seals the pack that takes records, if it has any; the next record begins another.
    ///
    /// # Errors
    /// Opened for reading only, or I/O; the pack then stays open and all it holds can be read.
    pub fn seal(&self) -> Result<()> {
        self.inner.check_writable()?;
        let mut appender = self.inner.appender();
        if let Some(pack) = appender.active.take() {
            self.inner.packs.seal(&pack)?;
            self.inner.write_index(&mut appender);
        }
        Ok(())
    }

    /// Reads a whole record as stored: header and payload, not decoded (a slice of a map for a sealed pack, a positioned read else). Its
    /// header is checked.
    ///
    /// # Errors
    /// Damaged or I/O.
    pub fn read_record(&self, at: RecordAt) -> Result<Bytes> {
        self.inner.pack(at.pack)?.read_record(at.offset)
    }

    /// Reads the header of a record: the ids and lengths of its chunks.
    ///
    /// # Errors
    /// Damaged or I/O.
    pub fn read_header(&self, at: RecordAt) -> Result<RecordHeader> {
        self.inner.pack(at.pack)?.read_header(at.offset)
    }

    /// Reads and decodes a whole record, from a small cache if it was read lately.
    ///
    /// # Errors
    /// Damaged or I/O.
    pub fn read_verified(&self, at: RecordAt) -> Result<Arc<VerifiedRecord>> {
        if let Some(record) = self.inner.cache.get(at) {
            return Ok(record);
        }
        let pack = self.inner.pack(at.pack)?;
        let encoded = pack.read_record(at.offset)?;
        let record = Arc::new(VerifiedRecord::decode(encoded).map_err(|error| pack.at_record(at.offset, error))?);
        self.inner.cache.put(at, &record);
        Ok(record)
    }

    /// Reads and decodes one chunk and verifies it.
    ///
    /// # Errors
    /// [`crate::Error::NoChunk`], damaged, or I/O.
    pub fn read_chunk(&self, id: &ChunkId, kind: ChunkKind) -> Result<VerifiedChunk> {
        let at = self.locate(id)?.ok_or(Error::NoChunk(*id))?;
        let chunk = self.read_verified(at.record)?.chunk(at.ordinal);
        chunk.filter(|chunk| chunk.id() == *id && chunk.kind() == kind).ok_or_else(|| {
            let what = format!("the index of {}", self.inner.dir.display());
            Error::damaged(what, format!("chunk {id} is not where it says; delete the folder `index` to have it built again"))
        })
    }

    /// Counts what is there.
    ///
    /// # Errors
    /// I/O.
    pub fn stats(&self) -> Result<Stats> {
        let packs = self.inner.packs.all();
        let totals = self.inner.index.totals();
        Ok(Stats {
            packs: packs.len() as u64,
            records: totals.records,
            chunks: totals.chunks,
            raw_bytes: totals.raw_bytes,
            stored_bytes: packs.iter().map(Pack::stored_bytes).sum(),
        })
    }
}

impl Inner {
    fn appender(&self) -> std::sync::MutexGuard<'_, Appender> {
        self.appender.lock().expect("nothing panics while it appends")
    }

    fn check_writable(&self) -> Result<()> {
        match self.mode {
            Mode::Write => Ok(()),
            Mode::Read => Err(Error::Refused {
                path: self.dir.display().to_string(),
                why: "the store was opened for reading only; open it for writing to change it".to_owned(),
            }),
        }
    }

    fn pack(&self, number: u32) -> Result<Pack> {
        self.packs
            .get(number)
            .ok_or_else(|| Error::damaged(self.dir.display().to_string(), format!("pack {number} is not there (any more)")))
    }

    fn append(&self, header: &RecordHeader, encoded: &Bytes) -> Result<RecordAt> {
        self.check_writable()?;
        let mut appender = self.appender();
        let pack = self.pack_for(&mut appender, encoded.len())?;
        let offset = pack.append(encoded)?;
        let end =
            offset.checked_add(u32::try_from(encoded.len()).unwrap_or(u32::MAX)).expect("a pack ends before PACK_BYTES_MAX");
        self.index.add(pack.number, &FooterLine::of_record(offset, header).collect::<Vec<_>>())?;
        self.index.cover(pack.number, offset..end, 1);
        if self.index.in_memory() >= appender.flush_at {
            self.write_index(&mut appender);
        }
        Ok(RecordAt { pack: pack.number, offset })
    }

    /// Returns the pack that takes a record of `len` bytes: the active one, or after sealing that one another.
    fn pack_for(&self, appender: &mut Appender, len: usize) -> Result<Arc<OpenPack>> {
        if let Some(pack) = &appender.active {
            if pack.accepts(len, self.limits.pack_bytes_max) {
                return Ok(Arc::clone(pack));
            }
            if !pack.is_closed() && self.packs.seal(pack).is_ok() {
                self.write_index(appender);
            } // else it stays open: it is read as well, and what a failed sync left unsure is reported by the next `sync`
        }
        let number = appender.next_pack;
        appender.next_pack = opening::after(number)?;
        let pack = self.packs.create(number)?;
        appender.active = Some(Arc::clone(&pack));
        Ok(pack)
    }

    /// Writes the index if that is possible: it is a cache, so what is not written now is written later or read from the packs.
    fn write_index(&self, appender: &mut Appender) {
        let written = self.packs.sync().and_then(|()| self.index.flush());
        let kept = if written.is_ok() { 0 } else { self.index.in_memory() };
        appender.flush_at = kept + self.limits.memory_entries_max;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.mode == Mode::Write {
            // Best effort, as in `write_index`.
            let _ = self.packs.sync().and_then(|()| self.index.flush());
        }
    }
}
