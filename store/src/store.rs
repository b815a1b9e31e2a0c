//! The store: one folder of packs with an index, safe for many threads of one process.

mod appending;
mod cache;
mod opening;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;

use crate::chunk::record::{RecordHeader, VerifiedRecord};
use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::error::{Error, Result};
use crate::fsx::FolderLock;
use crate::id::ChunkId;
use crate::index::{Index, MEMORY_ENTRIES_MAX};
use crate::pack::{Mode, OpenPack, PACK_BYTES_MAX, Pack, PackSet};
use crate::upkeep::{Condemned, Damaged, Leases};
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
    pub(crate) inner: Arc<Inner>,
}

/// What the handles share.
pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    mode: Mode,
    pub(crate) limits: Limits,
    pub(crate) packs: PackSet,
    pub(crate) index: Index,
    /// The pack that takes new records, while there is one; held by who appends.
    active: Mutex<Option<Arc<OpenPack>>>,
    /// The pack that takes what upkeep moves: who publishes waits neither for its turn nor for its sync.
    mover: Mutex<Option<Arc<OpenPack>>>,
    /// Number of the next pack; the last lock to be taken.
    next_pack: Mutex<u32>,
    /// Entries in memory at which the index is written next.
    flush_at: AtomicUsize,
    cache: RecordCache,
    pub(crate) leases: Leases,
    /// Held for reading by every look-up, so that who holds it for writing knows what was looked up.
    condemned: RwLock<Condemned>,
    damaged: Mutex<Damaged>,
    /// Held by the one upkeep that may unlink packs.
    upkeep: Mutex<()>,
    _lock: Option<FolderLock>,
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
        let (condemned, damaged) = opening::load_upkeep(dir, &packs, mode)?;
        index.set_damaged(damaged.records());
        let next_pack = opening::catch_up(&packs, &index, mode, limits)?;
        let mut open = packs.open();
        let (active, mover) = (open.pop(), open.pop());
        let inner = Inner {
            dir: dir.to_path_buf(),
            mode,
            limits,
            packs,
            index,
            active: Mutex::new(active),
            mover: Mutex::new(mover),
            next_pack: Mutex::new(next_pack),
            flush_at: AtomicUsize::new(limits.memory_entries_max),
            cache: RecordCache::default(),
            leases: Leases::default(),
            condemned: RwLock::new(condemned),
            damaged: Mutex::new(damaged),
            upkeep: Mutex::default(),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
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

    /// Finds a chunk; a condemned one is saved by that. One that lies damaged is not found.
    ///
    /// The place is good as long as a [`Store::lease`] taken before lives.
    ///
    /// # Errors
    /// I/O on the index.
    pub fn locate(&self, id: &ChunkId) -> Result<Option<ChunkAt>> {
        let condemned = self.inner.condemned();
        let at = self.inner.index.locate(id)?;
        if let Some(at) = at {
            condemned.save(at);
        }
        Ok(at)
    }

    /// Finds a chunk as [`Store::locate`] does, if that waits for nobody and no disk; `None` says nothing.
    pub(crate) fn locate_now(&self, id: &ChunkId) -> Option<ChunkAt> {
        let condemned = self.inner.condemned.try_read().ok()?;
        let at = self.inner.index.locate_now(id)?;
        condemned.save(at);
        Some(at)
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
        self.inner.append(record.header(), std::slice::from_ref(record.encoded()))
    }

    /// Appends a record that this process has just encoded from `chunks` (ids and lengths are in its header): as [`Store::append`], without
    /// decoding it again.
    ///
    /// # Errors
    /// As [`Store::append`]; damaged, when `encoded` is not exactly one record.
    pub fn append_encoded(&self, encoded: Bytes) -> Result<RecordAt> {
        self.append_parts(&[encoded])
    }

    /// Appends as [`Store::append_encoded`] a record in parts, the first of which holds its whole header.
    pub(crate) fn append_parts(&self, parts: &[Bytes]) -> Result<RecordAt> {
        let header = RecordHeader::parse(parts.first().map_or(&[], |part| &part[..]))?;
        self.inner.append(&header, parts)
    }

    /// Makes everything appended before this call durable: packs and folders. Callers that wait at the same time share one sync, and
    /// without anything new it costs nothing.
    ///
    /// # Errors
    /// I/O; the pack concerned takes no further records, is verified again when the store is next opened, and the sync is not retried: until
    /// then every call fails.
    pub fn sync(&self) -> Result<()> {
        if self.inner.mode == Mode::Read { Ok(()) } else { self.inner.packs.sync_owed() }
    }

    /// Seals the pack that takes new records, if it has any; the next record begins another.
    ///
    /// # Errors
    /// Opened for reading only, or I/O; the pack then stays open and all it holds can be read.
    pub fn seal(&self) -> Result<()> {
        self.inner.check_writable()?;
        let active = self.inner.take_active();
        if let Some(pack) = active {
            self.inner.packs.seal(&pack)?;
            self.inner.write_index();
        }
        Ok(())
    }

    /// Reads a whole record as stored: header and payload, not decoded (a slice of a map, or a positioned read where there is none). Its header
    /// is checked.
    ///
    /// # Errors
    /// Damaged or I/O.
    pub fn read_record(&self, at: RecordAt) -> Result<Bytes> {
        self.inner.pack(at.pack)?.read_record(at.offset)
    }

    /// Reads the `len` bytes of a record whose header has been read.
    pub(crate) fn read_checked(&self, at: RecordAt, len: usize) -> Result<Bytes> {
        self.inner.pack(at.pack)?.read_checked(at.offset, len)
    }

    /// Returns a record and its header if they are in memory already; `None` says nothing.
    pub(crate) fn record_now(&self, at: RecordAt) -> Option<(RecordHeader, Bytes)> {
        self.inner.pack(at.pack).ok()?.record_now(at.offset)
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
        let _lease = self.lease();
        let at = self.locate(id)?.ok_or(Error::NoChunk(*id))?;
        self.chunk_at(id, at).and_then(|chunk| if chunk.kind() == kind { Ok(chunk) } else { Err(self.misplaced(id)) })
    }

    /// Reads a chunk of either kind for who unlinks packs: without a lease, and without saving what is condemned.
    pub(crate) fn peek(&self, id: &ChunkId) -> Result<VerifiedChunk> {
        let at = self.inner.index.locate(id)?.ok_or(Error::NoChunk(*id))?;
        self.chunk_at(id, at)
    }

    fn chunk_at(&self, id: &ChunkId, at: ChunkAt) -> Result<VerifiedChunk> {
        let chunk = self.read_verified(at.record)?.chunk(at.ordinal);
        chunk.filter(|chunk| chunk.id() == *id).ok_or_else(|| self.misplaced(id))
    }

    fn misplaced(&self, id: &ChunkId) -> Error {
        let what = format!("the index of {}", self.inner.dir.display());
        Error::damaged(what, format!("chunk {id} is not where it says; delete the folder `index` to have it built again"))
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
