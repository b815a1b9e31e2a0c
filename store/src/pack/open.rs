//! A pack that is being appended to, or was when its process ended.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use bytes::Bytes;

use super::footer::FooterLine;
use super::map::Map;
use super::walk::{Check, walk};
use super::{PACK_BYTES_MAX, PACK_HEADER_BYTES, damaged, encode_header, offset32, parse_header, range_of, read_at};
use crate::error::{At, Error, Result};
use crate::fsx;

/// Bytes of the map: no pack of this format takes more. The addresses cost nothing.
const MAP_BYTES: usize = PACK_BYTES_MAX as usize;

/// An open pack: one writer at a time (the caller's lock), any number of readers.
#[derive(Debug)]
pub(crate) struct OpenPack {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(super) file: File,
    /// End of the last whole record; what lies behind is nothing.
    tail: AtomicU64,
    /// Up to where a sync has succeeded.
    durable: AtomicU64,
    /// Up to where somebody may rely on it: what upkeep copies lies elsewhere too until it has synced it for its own sake.
    owed: AtomicU64,
    /// Held during a sync: who waits for it finds its own bytes durable afterwards.
    syncing: Mutex<()>,
    /// A sync failed: what lies between `durable` and `tail` may be lost although it can still be read.
    sync_failed: AtomicBool,
    /// Nothing may be appended any more: a footer, or bytes of an append that could not be undone, lie behind the tail.
    closed: AtomicBool,
    /// Made at the first read, with room for all that will be appended; `None` inside when mapping failed: then every read is a positioned one.
    map: OnceLock<Option<Map>>,
}

impl OpenPack {
    /// Creates pack `number` in `dir`, durable with its name.
    pub(crate) fn create(dir: &Path, number: u32) -> Result<Self> {
        let path = dir.join(format!("open-{number}.pack"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).at("create", &path)?;
        let prepared = fsx::write_all_at(&file, &encode_header(number), 0)
            .and_then(|()| file.sync_all())
            .at("write", &path)
            .and_then(|()| fsx::sync_dir(dir));
        if let Err(error) = prepared {
            let _ = std::fs::remove_file(&path); // already failing: the first error is the one to tell
            return Err(error);
        }
        Ok(Self::with_tail(number, path, file, PACK_HEADER_BYTES as u64))
    }

    /// Opens the pack at `path`, whose tail is not known yet: the end of the file is taken for it until [`OpenPack::set_tail`].
    pub(crate) fn open(path: PathBuf, number: u32, writable: bool) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(writable).open(&path).at("open", &path)?;
        if parse_header(&read_at(&file, &path, 0, PACK_HEADER_BYTES)?, &path)? != number {
            return Err(damaged(&path, "its name and its header bear different numbers"));
        }
        let len = file.metadata().at("read", &path)?.len();
        Ok(Self::with_tail(number, path, file, len))
    }

    fn with_tail(number: u32, path: PathBuf, file: File, tail: u64) -> Self {
        Self {
            number,
            path,
            file,
            tail: AtomicU64::new(tail),
            durable: AtomicU64::new(PACK_HEADER_BYTES as u64),
            owed: AtomicU64::new(tail),
            syncing: Mutex::new(()),
            sync_failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            map: OnceLock::new(),
        }
    }

    /// End of the last whole record, bytes.
    pub(crate) fn tail(&self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }

    /// Sets the tail that was found by reading, and up to where the file is known to be durable.
    pub(crate) fn set_tail(&self, tail: u64, durable: u64) {
        self.tail.store(tail, Ordering::Release);
        self.durable.store(durable, Ordering::Release);
        self.owed.store(tail, Ordering::Release);
    }

    /// Cuts what lies behind the tail off the file.
    pub(crate) fn cut(&self) -> Result<()> {
        self.file.set_len(self.tail()).at("cut the torn tail of", &self.path)
    }

    /// Says whether the pack may take a record of `len` bytes without passing `bytes_max`.
    pub(crate) fn accepts(&self, len: usize, bytes_max: u32) -> bool {
        !self.is_closed() && self.tail() + len as u64 <= u64::from(bytes_max)
    }

    /// Says whether a footer, a failed sync or a write that could not be undone ended appending to this pack for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.sync_failed.load(Ordering::Acquire) || self.closed.load(Ordering::Acquire)
    }

    /// Appends `parts`, one record, and returns its offset; after a failure the pack is as before, or takes nothing more.
    pub(crate) fn append(&self, parts: &[Bytes]) -> Result<u32> {
        let tail = self.tail();
        let mut end = tail;
        for part in parts {
            if let Err(source) = fsx::write_all_at(&self.file, part, end) {
                if self.file.set_len(tail).is_err() {
                    self.closed.store(true, Ordering::Release);
                }
                return Err(Error::Io { operation: "append to", path: self.path.clone(), source });
            }
            end += part.len() as u64;
        }
        self.tail.store(end, Ordering::Release);
        Ok(offset32(tail))
    }

    /// Notes that somebody relies on everything appended so far.
    pub(crate) fn owe(&self) {
        self.owed.store(self.tail(), Ordering::Release);
    }

    /// Makes everything appended before this call durable; one sync serves all who wait for it. A failed sync is never repeated.
    pub(crate) fn sync(&self) -> Result<()> {
        self.sync_upto(self.tail())
    }

    /// Makes durable as [`OpenPack::sync`] what somebody relies on.
    pub(crate) fn sync_owed(&self) -> Result<()> {
        self.sync_upto(self.owed.load(Ordering::Acquire))
    }

    fn sync_upto(&self, wanted: u64) -> Result<()> {
        if self.durable.load(Ordering::Acquire) >= wanted {
            return Ok(());
        }
        let _turn = self.syncing.lock().expect("nothing panics during a sync");
        if self.durable.load(Ordering::Acquire) >= wanted {
            return Ok(());
        }
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(std::io::Error::other("an earlier sync failed; restart to have it verified")).at("sync", &self.path);
        }
        let upto = self.tail();
        if let Err(error) = self.file.sync_data() {
            self.sync_failed.store(true, Ordering::Release);
            return Err(error).at("sync", &self.path);
        }
        self.durable.store(upto, Ordering::Release);
        Ok(())
    }

    /// Calls `each` with the lines of every good record (header and payload checked) that begins in `range`; returns the end of the last one
    /// and their number.
    pub(crate) fn replay(&self, range: Range<u64>, each: &mut dyn FnMut(&[FooterLine]) -> Result<()>) -> Result<(u64, u64)> {
        // After a failed sync the system may hold pages that never reached the disk: what is believed here has to be read from it.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&self.file, range.start, None, rustix::fs::Advice::DontNeed); // a cache that stays is no obstacle
        let mut records = 0;
        let end = walk(&self.file, &self.path, range, Check::Payloads, &mut |found| {
            records += 1;
            each(&FooterLine::of_record(found.offset, &found.header).collect::<Vec<_>>())
        })?;
        Ok((end, records))
    }

    /// Lets nothing be appended any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Compares the header of the file with what it must be.
    pub(crate) fn check_frame(&self) -> Result<()> {
        parse_header(&read_at(&self.file, &self.path, 0, PACK_HEADER_BYTES)?, &self.path).map(drop)
    }

    /// Writes behind the tail what `footer` passes on, and syncs it; no record may be appended after it. After a failure it is cut off again.
    pub(super) fn finish(&self, footer: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>) -> Result<()> {
        let mut end = self.tail();
        let written = footer(&mut |piece| {
            fsx::write_all_at(&self.file, piece, end).at("append to", &self.path)?;
            end += piece.len() as u64;
            Ok(())
        });
        let synced = written.and_then(|()| {
            self.file.sync_all().at("sync", &self.path).inspect_err(|_| self.sync_failed.store(true, Ordering::Release))
        });
        match synced {
            Ok(()) => {
                self.durable.store(self.tail(), Ordering::Release);
                self.closed.store(true, Ordering::Release);
            }
            Err(_) => self.closed.store(self.cut().is_err(), Ordering::Release),
        }
        synced
    }

    /// Reads `len` bytes at `offset`: a slice of the map, or by position where a map cannot give it without a fault.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        let range = self.range(offset, len);
        let range = range.ok_or_else(|| damaged(&self.path, &format!("it ends before a record at byte {offset} does")))?;
        match self.map.get_or_init(|| Map::growing(&self.file, MAP_BYTES).ok()).as_ref().and_then(|map| map.read(range)) {
            Some(bytes) => Ok(bytes),
            None => read_at(&self.file, &self.path, offset, len),
        }
    }

    /// Returns `len` bytes at `offset` if they are mapped and in memory.
    pub(crate) fn read_now(&self, offset: u64, len: usize) -> Option<Bytes> {
        self.map.get()?.as_ref()?.read_now(self.range(offset, len)?)
    }

    /// The bytes of a read if they lie before the tail: what lies behind it may be cut off again.
    fn range(&self, offset: u64, len: usize) -> Option<Range<usize>> {
        range_of(offset, len).filter(|range| range.end as u64 <= self.tail())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A pipe cannot be synced, so it stands for a disk that fails.
    #[test]
    fn a_failed_sync_is_never_repeated_and_ends_appending() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let pack = OpenPack::with_tail(0, PathBuf::from("open-0.pack"), file, PACK_HEADER_BYTES as u64);
        pack.sync().unwrap();
        assert!(pack.accepts(1, u32::MAX));
        pack.set_tail(100, 32);
        let first = pack.sync().unwrap_err().to_string();
        let second = pack.sync().unwrap_err().to_string();
        assert!(!first.contains("restart") && second.contains("restart"), "{first} / {second}");
        assert!(!pack.accepts(1, u32::MAX));
    }

    #[test]
    fn what_nobody_relies_on_is_synced_only_when_all_is() {
        let dir = tempfile::tempdir().unwrap();
        let pack = OpenPack::create(dir.path(), 0).unwrap();
        let durable = || pack.durable.load(Ordering::Acquire);
        let start = durable();
        pack.append(&[Bytes::from_static(b"moved")]).unwrap();
        pack.sync_owed().unwrap();
        assert_eq!(durable(), start);
        pack.append(&[Bytes::from_static(b"new")]).unwrap();
        pack.owe();
        pack.append(&[Bytes::from_static(b"moved too")]).unwrap();
        pack.sync_owed().unwrap();
        assert_eq!(durable(), pack.tail(), "one sync takes all that is there");
        pack.append(&[Bytes::from_static(b"moved")]).unwrap();
        pack.sync_owed().unwrap();
        assert!(durable() < pack.tail());
        pack.sync().unwrap();
        assert_eq!(durable(), pack.tail());
    }

    #[test]
    fn an_append_that_cannot_be_undone_ends_appending() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let pack = OpenPack::with_tail(0, PathBuf::from("open-0.pack"), file, PACK_HEADER_BYTES as u64);
        assert!(pack.append(&[Bytes::from_static(b"record")]).is_err());
        assert_eq!(pack.tail(), PACK_HEADER_BYTES as u64);
        assert!(!pack.accepts(1, u32::MAX));
    }
}
