//! Read-only maps of files that never change once they have their name: sealed packs and index runs.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

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
        let map = Arc::new(unsafe { Mmap::map(&file)? });
        let whole = Bytes::from_owner(Owner(Arc::clone(&map)));
        Ok(Self { map, whole })
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

    /// Returns `range` (within the file) of the map, sharing it.
    pub(crate) fn slice(&self, range: Range<usize>) -> Bytes {
        self.whole.slice(range)
    }

    /// Returns the whole file; pages that were not populated may fault.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.whole
    }
}
