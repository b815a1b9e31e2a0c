//! Maps of this process: private files of ours for reading, and memory for large buffers.

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::Mmap;

/// Buffers from this many bytes on lie in maps of their own: those of records are smaller, come by the hundred, and would cost time to map.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BUFFER_BYTES: libc::c_int = 3 << 20;
/// What is kept free at the end of a heap: a buffer of a record.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: libc::c_int = 5 << 19;
/// Heaps that threads share.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS_MAX: libc::c_int = 4;

/// Has each buffer of 3 MiB and more lie in a map of its own, which goes back to the system when the buffer is dropped: what a role holds is
/// then about what it uses now. Call it before threads are started.
///
/// glibc does so only until the first such buffer is dropped: from then on it keeps buffers of that size, up to 32 MiB, in the heaps
/// of its threads, up to eight a core, each of which keeps twice as much free (mallopt(3)). Other allocators are left as they are.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator is told from which size on it maps")]
pub fn map_large_buffers() {
    let settings =
        [(libc::M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES), (libc::M_TRIM_THRESHOLD, KEPT_BYTES), (libc::M_ARENA_MAX, HEAPS_MAX)];
    for (what, value) in settings {
        // SAFETY: mallopt takes two numbers and has no other precondition. If it refuses, memory is only kept longer.
        let _ = unsafe { libc::mallopt(what, value) };
    }
}

/// Does nothing: this system's allocator is left as it is.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn map_large_buffers() {}

/// Pages looked at in one call: 4 MiB of small ones.
#[cfg(target_os = "linux")]
const PAGES_AT_ONCE: usize = 1024;

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

impl AsRef<[u8]> for ReadOnlyMap {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for ReadOnlyMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Says whether every page of `bytes`, a part of a map, is in memory, so that reading it now waits for no disk. Where the system does not tell,
/// none is.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the system is asked about pages by their address")]
pub(crate) fn is_resident(bytes: &[u8]) -> bool {
    let page = rustix::param::page_size();
    let start = bytes.as_ptr().addr() / page * page;
    let end = bytes.as_ptr().addr() + bytes.len();
    let mut states = [0_u8; PAGES_AT_ONCE];
    (start..end).step_by(PAGES_AT_ONCE * page).all(|from| {
        let len = (end - from).min(PAGES_AT_ONCE * page);
        // SAFETY: `states` has a byte for each page of the range; the range is only looked up in the page tables, never read.
        let told = unsafe { libc::mincore(std::ptr::without_provenance_mut(from), len, states.as_mut_ptr()) };
        told == 0 && states[..len.div_ceil(page)].iter().all(|state| state & 1 == 1)
    })
}

/// Says that nothing is known to be in memory: this system is not asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_resident(_bytes: &[u8]) -> bool {
    false
}
