//! The one place that maps a private file of ours for reading.

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::Mmap;

/// A whole file mapped read-only, its pages brought in when it is opened; derefs to its bytes. An empty file has none.
#[derive(Debug)]
pub struct ReadOnlyMap(Option<Mmap>);

impl ReadOnlyMap {
    /// Maps `file`, which must be a private file of this process's folders that is written under another name and never changed in place.
    ///
    /// # Errors
    /// The file cannot be mapped, or a page of it cannot be read.
    #[expect(unsafe_code, reason = "mapping a file is unsafe: nobody may shorten or change it meanwhile")]
    pub fn open(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: callers pass only files that Consign writes under a temporary name, renames into place, and from then on only
        // unlinks; an unlinked file keeps its pages while it is mapped.
        let map = unsafe { Mmap::map(file) }?;
        // A bad disk is an error here and not a fault at the first access.
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::PopulateRead).or_else(|error| {
            // Kernels before 5.14 do not know the advice.
            if error.kind() == io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
        })?;
        Ok(Self(Some(map)))
    }
}

impl Deref for ReadOnlyMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
