//! Paths that can only be right: relative, `/`-separated, UTF-8, no `.`/`..`/empty part, no NUL or control character.

use crate::error::Result;

/// Longest path, bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Longest part of a path, bytes.
pub const PATH_PART_BYTES_MAX: usize = 255;
/// Deepest path, parts.
pub const PATH_DEPTH_MAX: usize = 128;

/// An operating system that a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
    /// macOS.
    Macos,
}

/// A set of platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Platforms(u8);

impl Platforms {
    /// Every platform there is.
    pub const ALL: Self = Self(0b111);

    /// The set with `platform` added.
    #[must_use]
    pub const fn with(self, platform: Platform) -> Self {
        Self(self.0 | 1 << platform as u8)
    }

    /// Says whether `platform` is in the set.
    #[must_use]
    pub const fn has(self, platform: Platform) -> bool {
        self.0 & (1 << platform as u8) != 0
    }
}

/// A checked relative path inside a version. Deliberately not a string: no `Deref`, no `AsRef<str>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SafePath(Box<str>);

impl SafePath {
    /// Checks `bytes` as a path.
    ///
    /// # Errors
    /// Refused, with the path made printable and the reason.
    pub fn parse(_bytes: &[u8]) -> Result<Self> {
        todo!()
    }

    /// Returns the path as text with `/` between its parts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
