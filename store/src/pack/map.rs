//! Read-only maps of files whose bytes never change: sealed packs, index runs, and what has been appended to an open pack.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

use crate::map::is_resident;

/// How far beyond what is wanted now is read ahead of a reader of cold pages, bytes.
#[cfg(target_os = "linux")]
const AHEAD_BYTES: usize = 8 << 20;

/// A whole file, mapped.
#[derive(Debug)]
pub(crate) struct Map {
    map: Arc<Mmap>,
    whole: Bytes,
}

/// Keeps the map alive as long as any slice of it.
struct Owner(Arc<Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Map {
    /// Maps the file at `path`; the file handle is closed again.
    #[expect(unsafe_code, reason = "the one place where files are mapped")]
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: only files that are complete and are never written again get mapped: they got their name by a rename after a sync and
        // are only ever unlinked, which leaves a map valid. Somebody who cuts or overwrites one by hand could still take pages away;
        // therefore callers go through `populate`, which turns a page that cannot be had into an error.
        Ok(Self::of(unsafe { Mmap::map(&file)? }))
    }

    /// Maps `len` bytes of `file`, which may be shorter now and grow into them; what lies behind its end must not be read.
    #[expect(unsafe_code, reason = "the one place where files are mapped")]
    pub(crate) fn growing(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: as above for what has been appended, which is never written again and never cut off; readers are kept from the rest.
        Ok(Self::of(unsafe { MmapOptions::new().len(len).map(file)? }))
    }

    fn of(map: Mmap) -> Self {
        let map = Arc::new(map);
        let whole = Bytes::from_owner(Owner(Arc::clone(&map)));
        Self { map, whole }
    }

    /// Length of the file when it was mapped, bytes.
    pub(crate) fn len(&self) -> usize {
        self.whole.len()
    }

    /// Brings the pages of `range` into memory, so that reading them right after it neither waits nor faults.
    ///
    /// `Ok(false)` where the system cannot do that.
    pub(crate) fn populate(&self, range: &Range<usize>) -> io::Result<bool> {
        #[cfg(target_os = "linux")]
        match self.map.advise_range(memmap2::Advice::PopulateRead, range.start, range.len()) {
            // Kernels before 5.14 do not know this advice.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
            other => other.map(|()| true),
        }
        #[cfg(not(target_os = "linux"))]
        Ok({
            let _ = (&self.map, range);
            false
        })
    }

    /// Returns `range`, brought into memory, sharing the map; `None` if it cannot be had without a fault.
    pub(crate) fn read(&self, range: Range<usize>) -> Option<Bytes> {
        let wanted = self.whole.get(range.clone())?;
        #[cfg(target_os = "linux")]
        if !is_resident(wanted) {
            // Faults bring in little at a time: the disk gets the whole range and some more to do at once.
            let ahead = (wanted.len() + AHEAD_BYTES).min(self.whole.len() - range.start);
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, range.start, ahead); // then it is only slower
        }
        matches!(self.populate(&range), Ok(true)).then(|| self.whole.slice(range))
    }

    /// Returns `range`, sharing the map, if it is in memory already.
    pub(crate) fn read_now(&self, range: Range<usize>) -> Option<Bytes> {
        is_resident(self.whole.get(range.clone())?).then(|| self.whole.slice(range))
    }

    /// Returns the whole file; pages that were not populated may fault.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.whole
    }
}
