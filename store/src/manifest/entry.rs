//! The entries of a manifest.

use crate::error::Result;
use crate::id::FileDigest;
use crate::manifest::path::SafePath;

/// The target of a symbolic link: relative, and inside the version's folder when resolved lexically from the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTarget(Box<str>);

impl LinkTarget {
    /// Checks `target` as the target of a link at `link`.
    ///
    /// # Errors
    /// Refused: absolute, leaves the folder, not UTF-8, too long.
    pub fn parse(_link: &SafePath, _target: &[u8]) -> Result<Self> {
        todo!()
    }

    /// Returns the target as it is written into the link.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Typed attributes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, `0o777` at most.
    pub mode: u16,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Length, bytes.
        size: u64,
        /// Its content.
        digest: FileDigest,
        /// How many chunks it has: 0 when empty, more than one when it has a recipe.
        chunks: u32,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: LinkTarget,
    },
}

/// One line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: SafePath,
    /// What.
    pub kind: EntryKind,
    /// With which attributes.
    pub attributes: Attributes,
}
