//! The packs of a store by number.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use bytes::Bytes;

use super::walk::{Check, Found, find_next, walk};
use super::{FooterLine, OpenPack, PACK_HEADER_BYTES, SealedPack};
use crate::chunk::record::{RECORD_FIXED_BYTES, RecordHeader};
use crate::error::{At, Error, Result};
use crate::fsx;

/// Whether files may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// This process holds the store's lock.
    Write,
    /// Nothing is written, somebody else may be writing.
    Read,
}

/// One pack.
#[derive(Debug, Clone)]
pub(crate) enum Pack {
    Open(Arc<OpenPack>),
    Sealed(Arc<SealedPack>),
}

impl Pack {
    pub(crate) fn number(&self) -> u32 {
        match self {
            Self::Open(pack) => pack.number,
            Self::Sealed(pack) => pack.number,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Open(pack) => &pack.path,
            Self::Sealed(pack) => &pack.path,
        }
    }

    /// Where the records end, bytes.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::Open(pack) => pack.tail(),
            Self::Sealed(pack) => pack.end(),
        }
    }

    /// Bytes of the file.
    pub(crate) fn stored_bytes(&self) -> u64 {
        match self {
            Self::Open(pack) => pack.tail(),
            Self::Sealed(pack) => pack.len,
        }
    }

    fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        match self {
            Self::Open(pack) => pack.read(offset, len),
            Self::Sealed(pack) => pack.read(offset, len),
        }
    }

    fn read_now(&self, offset: u64, len: usize) -> Option<Bytes> {
        match self {
            Self::Open(pack) => pack.read_now(offset, len),
            Self::Sealed(pack) => pack.read_now(offset, len),
        }
    }

    /// Reads the `len` bytes of the record at `offset`, whose header was checked.
    pub(crate) fn read_checked(&self, offset: u32, len: usize) -> Result<Bytes> {
        self.read(u64::from(offset), len).map_err(|error| self.at_record(offset, error))
    }

    /// Returns the record at `offset` with its checked header if it is good and in memory already.
    pub(crate) fn record_now(&self, offset: u32) -> Option<(RecordHeader, Bytes)> {
        let len = RecordHeader::whole_len(&self.read_now(u64::from(offset), RECORD_FIXED_BYTES)?).ok()?;
        let record = self.read_now(u64::from(offset), len)?;
        Some((RecordHeader::parse(&record).ok()?, record))
    }

    /// Reads the record at `offset` after checking its header.
    pub(crate) fn read_record(&self, offset: u32) -> Result<Bytes> {
        let read = || {
            let len = RecordHeader::whole_len(&self.read(u64::from(offset), RECORD_FIXED_BYTES)?)?;
            let record = self.read(u64::from(offset), len)?;
            RecordHeader::parse(&record).map(|_| record)
        };
        read().map_err(|error| self.at_record(offset, error))
    }

    /// Reads the record that was found.
    pub(crate) fn record_of(&self, found: &Found) -> Result<Bytes> {
        self.read(u64::from(found.offset), found.header.record_len())
    }

    /// Reads the checked header of the record at `offset`, not its payload.
    pub(crate) fn read_header(&self, offset: u32) -> Result<RecordHeader> {
        let read = || {
            let len = RecordHeader::header_len(&self.read(u64::from(offset), RECORD_FIXED_BYTES)?)?;
            RecordHeader::parse(&self.read(u64::from(offset), len)?)
        };
        read().map_err(|error| self.at_record(offset, error))
    }

    /// Names pack and offset in an error about a record.
    pub(crate) fn at_record(&self, offset: u32, error: Error) -> Error {
        super::at_record(self.path(), u64::from(offset), error)
    }

    /// Calls `each` with the lines of all records, by headers alone, in no certain order.
    pub(crate) fn lines(&self, each: &mut dyn FnMut(&[FooterLine]) -> Result<()>) -> Result<Lines> {
        let range = PACK_HEADER_BYTES as u64..self.end();
        if let Self::Sealed(pack) = self {
            match pack.footer_lines(&range, each) {
                Ok(records) => return Ok(Lines { records, whole: true }),
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.records(&mut |found| each(&FooterLine::of_record(found.offset, &found.header).collect::<Vec<_>>()))
    }

    /// Calls `each` with all records as they lie, by their headers.
    pub(crate) fn records(&self, each: &mut dyn FnMut(&Found) -> Result<()>) -> Result<Lines> {
        let range = PACK_HEADER_BYTES as u64..self.end();
        let mut lines = Lines { records: 0, whole: true };
        let mut next = range.start;
        let last = self.walk(range.clone(), &mut |found| {
            lines.whole &= u64::from(found.offset) == next;
            next = u64::from(found.offset) + found.header.record_len() as u64;
            lines.records += 1;
            each(&found)
        })?;
        lines.whole &= last == range.end;
        Ok(lines)
    }

    fn walk(&self, range: Range<u64>, each: &mut dyn FnMut(Found) -> Result<()>) -> Result<u64> {
        self.with_file(|file| walk(file, self.path(), range, Check::Headers, each))
    }

    /// Finds the first record in `range` whose header is good, by reading the file.
    pub(crate) fn find_next(&self, range: Range<u64>) -> Result<Option<Found>> {
        self.with_file(|file| find_next(file, self.path(), range))
    }

    fn with_file<T>(&self, work: impl FnOnce(&File) -> Result<T>) -> Result<T> {
        match self {
            Self::Open(pack) => work(&pack.file),
            Self::Sealed(pack) => work(&File::open(&pack.path).at("open", &pack.path)?),
        }
    }

    /// Checks all of the file that is no record.
    pub(crate) fn check_frame(&self) -> Result<()> {
        let checked = match self {
            Self::Open(pack) => pack.check_frame(),
            Self::Sealed(pack) => pack.check_frame(),
        };
        checked.map_err(|error| match error {
            // It was none when it was opened.
            Error::TooNew { what, why } => Error::Damaged { what, why },
            other => other,
        })
    }

    /// Makes sure that the pack stays readable after its file is unlinked; says whether it does.
    pub(crate) fn hold(&self) -> bool {
        match self {
            Self::Open(_) => true,
            Self::Sealed(pack) => pack.hold(),
        }
    }

    /// Calls `each` with the lines of the records in `range`; returns the end of the last one and their number.
    pub(crate) fn replay(&self, range: Range<u64>, each: &mut dyn FnMut(&[FooterLine]) -> Result<()>) -> Result<(u64, u64)> {
        match self {
            Self::Open(pack) => pack.replay(range, each),
            Self::Sealed(pack) => Ok((range.end, pack.replay(range, each)?)),
        }
    }
}

/// What [`Pack::lines`] or [`Pack::records`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) records: u64,
    /// Nothing had to be passed over.
    pub(crate) whole: bool,
}

/// All packs of a store.
#[derive(Debug)]
pub(crate) struct PackSet {
    dir: PathBuf,
    packs: RwLock<BTreeMap<u32, Pack>>,
    /// Packs whose files are unlinked, by the lease that is next when that was done: readers that hold an older one may still come.
    retired: RwLock<Vec<(u64, Pack)>>,
    /// Held while a pack gets another name or is unlinked.
    sealing: Mutex<()>,
}

impl PackSet {
    /// Opens every pack in `dir`; empty ones are removed in [`Mode::Write`].
    pub(crate) fn load(dir: PathBuf, mode: Mode) -> Result<Self> {
        let packs = fsx::retry_vanished(|| load_once(&dir, mode))?;
        Ok(Self { packs: RwLock::new(packs), retired: RwLock::default(), sealing: Mutex::default(), dir })
    }

    /// Returns pack `number`, also when it is retired.
    pub(crate) fn get(&self, number: u32) -> Option<Pack> {
        self.present(number).or_else(|| {
            let retired = self.retired.read().expect("nothing panics while it changes the set");
            retired.iter().find(|(_, pack)| pack.number() == number).map(|(_, pack)| pack.clone())
        })
    }

    /// Returns pack `number` if its file is there.
    pub(crate) fn present(&self, number: u32) -> Option<Pack> {
        self.packs.read().expect("nothing panics while it changes the set").get(&number).cloned()
    }

    /// Says how long the file of `pack` is, bytes; `None` when somebody took it away, though nobody here has unlinked or renamed it.
    pub(crate) fn file_len(&self, pack: &Pack) -> Result<Option<u64>> {
        let _turn = self.sealing();
        let now = self.present(pack.number()).filter(|now| now.path() == pack.path());
        match fs::metadata(pack.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound && now.is_some() => Ok(None),
            other => Ok(Some(other.at("read", pack.path())?.len())),
        }
    }

    /// Forgets pack `number`, whose file is gone.
    pub(crate) fn lose(&self, number: u32) {
        self.packs.write().expect("nothing panics while it changes the set").remove(&number);
    }

    /// Unlinks pack `number`; who holds a lease before `next_lease` can read it until [`PackSet::release`].
    pub(crate) fn retire(&self, number: u32, next_lease: u64) -> Result<()> {
        let _turn = self.sealing();
        let Some(pack) = self.present(number) else { return Ok(()) };
        fs::remove_file(pack.path()).at("remove", pack.path())?;
        self.retired.write().expect("nothing panics while it changes the set").push((next_lease, pack));
        self.packs.write().expect("nothing panics while it changes the set").remove(&number);
        Ok(())
    }

    /// Makes the names in the folder durable.
    pub(crate) fn sync_names(&self) -> Result<()> {
        fsx::sync_dir(&self.dir)
    }

    /// Gives up retired packs that no lease from `oldest_lease` on can need.
    pub(crate) fn release(&self, oldest_lease: u64) {
        let is_free = |retired: &[(u64, Pack)]| retired.iter().any(|(next, _)| *next <= oldest_lease);
        if is_free(&self.retired.read().expect("nothing panics while it changes the set")) {
            let mut retired = self.retired.write().expect("nothing panics while it changes the set");
            retired.retain(|(next, _)| *next > oldest_lease);
        }
    }

    /// Returns all packs by rising number.
    pub(crate) fn all(&self) -> Vec<Pack> {
        self.packs.read().expect("nothing panics while it changes the set").values().cloned().collect()
    }

    /// Makes everything in open packs durable that was appended before this call.
    pub(crate) fn sync(&self) -> Result<()> {
        self.open().iter().try_for_each(|pack| pack.sync())
    }

    /// Makes everything durable that somebody relies on: without what upkeep is copying, which still lies where it was.
    pub(crate) fn sync_owed(&self) -> Result<()> {
        self.open().iter().try_for_each(|pack| pack.sync_owed())
    }

    /// Returns the open packs by rising number.
    pub(crate) fn open(&self) -> Vec<Arc<OpenPack>> {
        let packs = self.packs.read().expect("nothing panics while it changes the set");
        packs.values().filter_map(|pack| if let Pack::Open(open) = pack { Some(Arc::clone(open)) } else { None }).collect()
    }

    /// Creates pack `number`.
    pub(crate) fn create(&self, number: u32) -> Result<Arc<OpenPack>> {
        let pack = Arc::new(OpenPack::create(&self.dir, number)?);
        self.put(Pack::Open(Arc::clone(&pack)));
        Ok(pack)
    }

    /// Seals `pack`, unless it is retired.
    pub(crate) fn seal(&self, pack: &OpenPack) -> Result<()> {
        let _turn = self.sealing();
        if self.present(pack.number).is_none() {
            return Ok(());
        }
        self.put(Pack::Sealed(Arc::new(SealedPack::seal(pack)?)));
        Ok(())
    }

    fn sealing(&self) -> MutexGuard<'_, ()> {
        self.sealing.lock().expect("nothing panics while it seals")
    }

    fn put(&self, pack: Pack) {
        self.packs.write().expect("nothing panics while it changes the set").insert(pack.number(), pack);
    }
}

fn load_once(dir: &Path, mode: Mode) -> Result<BTreeMap<u32, Pack>> {
    let mut packs = BTreeMap::new();
    for entry in fs::read_dir(dir).at("list", dir)? {
        let path = entry.at("list", dir)?.path();
        let Some(pack) = load_pack(path, mode)? else { continue };
        if let Some(twin) = packs.insert(pack.number(), pack.clone()) {
            let why = format!("{} bears the same number; move one of the two away", twin.path().display());
            return Err(super::damaged(pack.path(), &why));
        }
    }
    Ok(packs)
}

/// Opens one file of the folder; `None` when it is no pack.
fn load_pack(path: PathBuf, mode: Mode) -> Result<Option<Pack>> {
    let Some(stem) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".pack")) else {
        return Ok(None);
    };
    if let Some(number) = stem.strip_prefix("open-") {
        let number = number.parse().map_err(|_| super::damaged(&path, "its name has no number; move it away"))?;
        // No more than a header, perhaps not even that because its creation was cut off: nothing is in it.
        if fs::metadata(&path).at("read", &path)?.len() <= PACK_HEADER_BYTES as u64 {
            if mode == Mode::Write {
                fs::remove_file(&path).at("remove", &path)?;
            }
            return Ok(None);
        }
        return Ok(Some(Pack::Open(Arc::new(OpenPack::open(path, number, mode == Mode::Write)?))));
    }
    let pack = SealedPack::open(path)?;
    if mode == Mode::Read {
        // Whoever writes this store may unlink the file at any time; what cannot be held is opened when it is read.
        pack.hold();
    }
    Ok(Some(Pack::Sealed(Arc::new(pack))))
}
