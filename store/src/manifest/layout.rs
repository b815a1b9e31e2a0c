//! The order in which a version's content is laid down and counted: by likeness (extension, file name, path), bytewise.

use std::ops::Range;

use crate::error::Result;
use crate::manifest::file::ManifestFile;

/// One file's place in the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Entry number in the manifest (path order).
    pub entry: u32,
    /// Chunk ordinal of the file's first chunk.
    pub first: u32,
    /// How many chunks the file has.
    pub chunks: u32,
}

/// Files of a manifest in likeness order with their chunk ordinals; computable by anyone from the manifest alone.
///
/// The ordinal of a chunk is its position when the chunk lists of all files are joined in this order; repeated content has an ordinal
/// each time. About 8 bytes of memory a file.
#[derive(Debug)]
pub struct Layout {}

/// Compares two paths by likeness: (extension, file name, whole path), bytewise. The extension is what follows the last dot of the file
/// name, nothing if there is none or the dot is its first character.
#[must_use]
pub fn compare_likeness(_a: &str, _b: &str) -> std::cmp::Ordering {
    todo!()
}

impl Layout {
    /// Sorts the files of a manifest.
    ///
    /// # Errors
    /// Over the limit of 2³² chunks.
    pub fn of(_manifest: &ManifestFile) -> Result<Self> {
        todo!()
    }

    /// Number of chunks (ordinals run from 0 up to it).
    #[must_use]
    pub fn chunks(&self) -> u32 {
        todo!()
    }

    /// Iterates the files in layout order.
    pub fn files(&self) -> impl Iterator<Item = Placed> + '_ {
        std::iter::empty()
    }

    /// Finds the file that chunk `ordinal` belongs to.
    #[must_use]
    pub fn file_at(&self, _ordinal: u32) -> Option<Placed> {
        todo!()
    }

    /// Returns the ordinals of the file with entry number `entry`; `None` for folders and links.
    #[must_use]
    pub fn ordinals_of(&self, _entry: u32) -> Option<Range<u32>> {
        todo!()
    }
}
