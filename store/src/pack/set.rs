//! The packs of a store by number.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use bytes::Bytes;

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

    /// Reads the record at `offset` after checking its header.
    pub(crate) fn read_record(&self, offset: u32) -> Result<Bytes> {
        let read = || {
            let len = RecordHeader::whole_len(&self.read(u64::from(offset), RECORD_FIXED_BYTES)?)?;
            let record = self.read(u64::from(offset), len)?;
            RecordHeader::parse(&record).map(|_| record)
        };
        read().map_err(|error| self.at_record(offset, error))
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

    /// Calls `each` with the lines of the records in `range`; returns the end of the last one and their number.
    pub(crate) fn replay(&self, range: Range<u64>, each: &mut dyn FnMut(&[FooterLine]) -> Result<()>) -> Result<(u64, u64)> {
        match self {
            Self::Open(pack) => pack.replay(range, each),
            Self::Sealed(pack) => Ok((range.end, pack.replay(range, each)?)),
        }
    }
}

/// All packs of a store.
#[derive(Debug)]
pub(crate) struct PackSet {
    dir: PathBuf,
    packs: RwLock<BTreeMap<u32, Pack>>,
}

impl PackSet {
    /// Opens every pack in `dir`; empty ones are removed in [`Mode::Write`].
    pub(crate) fn load(dir: PathBuf, mode: Mode) -> Result<Self> {
        let packs = fsx::retry_vanished(|| load_once(&dir, mode))?;
        Ok(Self { packs: RwLock::new(packs), dir })
    }

    /// Returns pack `number`.
    pub(crate) fn get(&self, number: u32) -> Option<Pack> {
        self.packs.read().expect("nothing panics while it changes the set").get(&number).cloned()
    }

    /// Returns all packs by rising number.
    pub(crate) fn all(&self) -> Vec<Pack> {
        self.packs.read().expect("nothing panics while it changes the set").values().cloned().collect()
    }

    /// Makes everything in open packs durable that was appended before this call.
    pub(crate) fn sync(&self) -> Result<()> {
        let open: Vec<_> = {
            let packs = self.packs.read().expect("nothing panics while it changes the set");
            packs.values().filter_map(|pack| if let Pack::Open(open) = pack { Some(Arc::clone(open)) } else { None }).collect()
        };
        open.iter().try_for_each(|pack| pack.sync())
    }

    /// Creates pack `number`.
    pub(crate) fn create(&self, number: u32) -> Result<Arc<OpenPack>> {
        let pack = Arc::new(OpenPack::create(&self.dir, number)?);
        self.put(Pack::Open(Arc::clone(&pack)));
        Ok(pack)
    }

    /// Seals `pack`.
    pub(crate) fn seal(&self, pack: &OpenPack) -> Result<()> {
        self.put(Pack::Sealed(Arc::new(SealedPack::seal(pack)?)));
        Ok(())
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
    Ok(Some(Pack::Sealed(Arc::new(SealedPack::open(path)?))))
}
