//! A manifest in a private file of its own, verified against its id and then mapped.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::id::ManifestId;
use crate::manifest::codec::Totals;
use crate::manifest::entry::Entry;
use crate::store::Store;

/// A verified manifest on disk; random access by entry number (path order), small in memory.
#[derive(Debug)]
pub struct ManifestFile {
    _path: PathBuf,
}

impl ManifestFile {
    /// Opens `path`, checks that its bytes are the manifest `id` and that every entry is canonical, and maps it.
    ///
    /// # Errors
    /// Damaged, too new, or I/O.
    pub fn open(_path: &Path, _id: ManifestId) -> Result<Self> {
        todo!()
    }

    /// Copies the manifest `id` out of `store` to `path` (by a temporary name and a rename) and opens it.
    ///
    /// # Errors
    /// [`crate::Error::NoChunk`] when the store lacks it, damaged, or I/O.
    pub fn extract(_store: &Store, _id: ManifestId, _path: &Path) -> Result<Self> {
        todo!()
    }

    /// Returns the manifest's id.
    #[must_use]
    pub fn id(&self) -> ManifestId {
        todo!()
    }

    /// Returns the canonical bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        todo!()
    }

    /// Returns the SHA-256 of the canonical bytes: what signed metadata names.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        todo!()
    }

    /// Returns the totals.
    #[must_use]
    pub fn totals(&self) -> Totals {
        todo!()
    }

    /// Returns entry `number` (path order).
    ///
    /// # Panics
    /// Never for a number below `totals().entries`.
    #[must_use]
    pub fn entry(&self, _number: u32) -> Entry {
        todo!()
    }

    /// Iterates all entries in path order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        std::iter::empty()
    }
}
