//! The entries of a manifest.

use crate::chunk::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use crate::error::Result;
use crate::id::FileDigest;
use crate::manifest::path::{PATH_BYTES_MAX, PATH_DEPTH_MAX, SafePath, refused};

/// Mode of a symbolic link, which has none of its own.
pub const LINK_MODE: u16 = 0o777;

/// The target of a symbolic link: relative, and inside the version's folder when resolved lexically from the link.
///
/// `..` may stand only at its beginning. The folders above a link are real folders, so leading `..` lead where they say; behind another
/// part, which may itself be a link, they could lead out of the version's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTarget(Box<str>);

impl LinkTarget {
    /// Checks `target` as the target of a link at `link`.
    ///
    /// # Errors
    /// Refused: absolute, leaves the folder, not UTF-8, too long.
    pub fn parse(link: &SafePath, target: &[u8]) -> Result<Self> {
        check_link(link.as_str(), target).map(|target| Self(target.into()))
    }

    /// Returns the target as it is written into the link.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks `target` as the target of a link at `link` and returns it as text.
pub(crate) fn check_link<'a>(link: &str, target: &'a [u8]) -> Result<&'a str> {
    let refuse = |why: &str| refused(link.as_bytes(), format!("it is a symbolic link to `{}`: {why}", super::path::show(target)));
    let Ok(text) = std::str::from_utf8(target) else {
        return Err(refuse("the target is not UTF-8"));
    };
    if text.is_empty() || text.len() > PATH_BYTES_MAX {
        return Err(refuse(&format!("the target has {} bytes, not 1 to {PATH_BYTES_MAX}", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(refuse("the target holds a control character"));
    }
    if text.starts_with('/') {
        return Err(refuse("the target is absolute; make it relative, or copy the file into the folder"));
    }
    let mut above = link.split('/').count() - 1;
    let mut below = 0;
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." {
            below += 1;
        } else if below > 0 {
            return Err(refuse("`..` may stand only at the beginning of a target"));
        } else if above == 0 {
            return Err(refuse("the target lies outside the package's folder; copy the file into the folder"));
        } else {
            above -= 1;
        }
    }
    if above + below > PATH_DEPTH_MAX {
        return Err(refuse(&format!("the target is more than {PATH_DEPTH_MAX} folders deep")));
    }
    Ok(text)
}

/// Typed attributes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, `0o777` at most; always `0o777` for a symbolic link.
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

/// Says why a file of `size` bytes cannot have `chunks` chunks and this digest; `None` if it can.
pub(crate) fn inconsistent(size: u64, digest: FileDigest, chunks: u32) -> Option<&'static str> {
    let chunks = u64::from(chunks);
    if (size == 0) != (chunks == 0) {
        return Some("only an empty file has no chunk");
    }
    if (size == 0) != (digest == FileDigest::empty()) {
        return Some("only an empty file has the digest of nothing");
    }
    if size > chunks.saturating_mul(CHUNK_BYTES_MAX as u64) {
        return Some("it has too few chunks for its size");
    }
    if chunks > size / CHUNK_BYTES_MIN as u64 + 1 {
        return Some("it has too many chunks for its size");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(at: &str, target: &str) -> Result<LinkTarget> {
        LinkTarget::parse(&SafePath::parse(at.as_bytes())?, target.as_bytes())
    }

    #[test]
    fn links_inside_are_taken() {
        for (at, target) in [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../x/y"), ("a", "."), ("a/b", ".."), ("a", "./b//c/")] {
            assert_eq!(link(at, target).expect(target).as_str(), target);
        }
    }

    #[test]
    fn links_that_leave_are_refused() {
        for (at, target) in [("a", ".."), ("a/b", "../../c"), ("a", "/etc/passwd"), ("a", ""), ("a", "b/../c"), ("a", "x\0")] {
            assert!(link(at, target).is_err(), "{at} -> {target}");
        }
        assert!(link("a", &"x".repeat(PATH_BYTES_MAX + 1)).is_err());
        assert!(LinkTarget::parse(&SafePath::parse(b"a").expect("a"), b"\xff").is_err());
        let text = link("bin/tool", "../../etc/passwd").expect_err("leaves").to_string();
        assert!(text.starts_with("bin/tool: ") && text.contains("../../etc/passwd") && text.contains("outside"), "{text}");
    }

    #[test]
    fn sizes_digests_and_chunk_counts_must_agree() {
        let some = FileDigest([1; 32]);
        let max = CHUNK_BYTES_MAX as u64;
        for (size, digest, chunks) in
            [(0, FileDigest::empty(), 0), (1, some, 1), (max, some, 1), (max, some, 17), (max + 1, some, 2)]
        {
            assert_eq!(inconsistent(size, digest, chunks), None, "{size} {chunks}");
        }
        let bad = [
            (0, some, 0),
            (0, FileDigest::empty(), 1),
            (1, some, 0),
            (1, FileDigest::empty(), 1),
            (1, some, 2),
            (max + 1, some, 1),
        ];
        for (size, digest, chunks) in bad {
            assert!(inconsistent(size, digest, chunks).is_some(), "{size} {chunks}");
        }
    }
}
