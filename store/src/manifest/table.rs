//! The chunk table: ordinal → chunk id and length, a mapped file beside the packs or in a staging folder; rebuildable.

use std::path::Path;

use bytes::Bytes;

use crate::chunk::record::ChunkLine;
use crate::error::Result;
use crate::id::ChunkId;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::Layout;

/// The chunks of one version by ordinal; 36 bytes each, in a file, not in memory.
#[derive(Debug)]
pub struct ChunkTable {}

impl ChunkTable {
    /// Builds the table of `manifest` at `path` (temporary name, then rename), taking recipe pages from `page`; files for which `wanted`
    /// (entry number) is false and that have a recipe get unknown lines.
    ///
    /// # Errors
    /// What `page` returns, damage, I/O.
    pub fn build(
        _path: &Path,
        _manifest: &ManifestFile,
        _layout: &Layout,
        _wanted: &dyn Fn(u32) -> bool,
        _page: &mut dyn FnMut(ChunkId) -> Result<Bytes>,
    ) -> Result<Self> {
        todo!()
    }

    /// Opens a table built before for the same manifest (its header names it and carries a checksum).
    ///
    /// # Errors
    /// Damaged or I/O; build it again.
    pub fn open(_path: &Path, _manifest: &ManifestFile) -> Result<Self> {
        todo!()
    }

    /// Returns the chunk at `ordinal`; `None` if it is out of range or unknown.
    #[must_use]
    pub fn line(&self, _ordinal: u32) -> Option<ChunkLine> {
        todo!()
    }

    /// Number of ordinals.
    #[must_use]
    pub fn len(&self) -> u32 {
        todo!()
    }

    /// Says whether there is no chunk at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
