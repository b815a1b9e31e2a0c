//! Ingest: source folder → records and manifest in a store, in background workers, never a mixed version.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::error::Result;
use crate::id::ManifestId;
use crate::manifest::path::Platforms;
use crate::store::Store;

/// Counters of a running ingest, readable at any time from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files found so far.
    pub files_total: AtomicU64,
    /// Files done.
    pub files_done: AtomicU64,
    /// Bytes found so far.
    pub bytes_total: AtomicU64,
    /// Bytes done (read or known unchanged).
    pub bytes_done: AtomicU64,
    /// Set by the owner to stop: the ingest ends with [`crate::Error::Cancelled`].
    pub cancel: AtomicBool,
}

/// How to ingest.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// Systems the package is for: names that one of them cannot hold are refused.
    pub platforms: Platforms,
    /// File of the stat cache: files whose size, mtime, ctime and inode are as recorded there are not read again. Rewritten (durably) when the
    /// ingest succeeds. `None`: read everything, record nothing.
    pub stat_cache: Option<PathBuf>,
    /// Read every byte even where the stat cache says unchanged.
    pub verify: bool,
    /// Wall time at the start, nanoseconds since 1970: files changed less than two seconds before it are not trusted in the cache.
    pub now_unix_nanos: i128,
    /// Counters to update and the cancel flag.
    pub progress: Arc<Progress>,
}

/// What an ingest made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The manifest's id.
    pub manifest: ManifestId,
    /// SHA-256 of the manifest's canonical bytes.
    pub sha256: [u8; 32],
    /// Length of the manifest, bytes.
    pub manifest_len: u64,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their chunks, repeated content counted each time.
    pub chunks: u64,
    /// Chunks that the store did not have.
    pub new_chunks: u64,
    /// Bytes added to the packs.
    pub new_stored_bytes: u64,
    /// Files that were read (not taken from the stat cache).
    pub files_read: u64,
}

/// Brings the folder `source` into `store` and returns its manifest; everything is durable when it returns.
///
/// # Errors
/// A source that is missing, unreadable, holds a device, FIFO, socket, unsafe name or escaping link, or keeps changing; a full disk; cancelled.
/// Bytes already appended stay as unreferenced chunks.
pub fn ingest(_store: &Store, _source: &Path, _options: &Options) -> Result<Ingested> {
    todo!()
}

/// Cuts and hashes the folder `source` without storing anything: writes its manifest to `manifest_out` and its chunk table to `table_out`.
///
/// # Errors
/// As [`ingest`].
pub fn survey(_source: &Path, _options: &Options, _manifest_out: &Path, _table_out: &Path) -> Result<ManifestId> {
    todo!()
}
