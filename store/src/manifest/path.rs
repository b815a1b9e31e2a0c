//! Paths that can only be right: relative, `/`-separated, UTF-8, no `.`/`..`/empty part, no NUL or control character.

use std::cmp::Ordering;
use std::fmt::Write as _;

use crate::error::{Error, Result};

/// Longest path, bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Longest part of a path, bytes.
pub const PATH_PART_BYTES_MAX: usize = 255;
/// Deepest path, parts.
pub const PATH_DEPTH_MAX: usize = 128;
/// Most characters of a path that an error shows.
const SHOWN_CHARS_MAX: usize = 200;

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
///
/// Ordered as manifests are: part by part, each bytewise ([`compare_paths`]).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SafePath(Box<str>);

impl SafePath {
    /// Checks `bytes` as a path.
    ///
    /// # Errors
    /// Refused, with the path made printable and the reason.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        check(bytes).map(|path| Self(path.into()))
    }

    /// Returns the path as text with `/` between its parts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for SafePath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl PartialOrd for SafePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares two paths in the order of manifests: part by part, each bytewise, so that a folder's content follows the folder at once.
///
/// The same as plain byte order with `/` below every other byte.
#[must_use]
pub fn compare_paths(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).position(|(x, y)| x != y) {
        Some(at) => rank(a[at]).cmp(&rank(b[at])),
        None => a.len().cmp(&b.len()),
    }
}

/// Checks `bytes` as a path and returns it as text.
///
/// # Errors
/// Refused, with the path made printable and the reason.
pub fn check(bytes: &[u8]) -> Result<&str> {
    let refuse = |why: &str| refused(bytes, why);
    let Ok(path) = std::str::from_utf8(bytes) else {
        return Err(refuse("the name is not UTF-8; rename it"));
    };
    if path.is_empty() {
        return Err(refuse("the path is empty"));
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(refuse(&format!("the path has {} bytes, more than {PATH_BYTES_MAX}; shorten it", path.len())));
    }
    if path.chars().any(char::is_control) {
        return Err(refuse("the name holds a control character; rename it"));
    }
    let mut depth = 0;
    for part in path.split('/') {
        depth += 1;
        if part.is_empty() || part == "." || part == ".." {
            return Err(refuse("a path is relative and has no empty, `.` or `..` part"));
        }
        if part.len() > PATH_PART_BYTES_MAX {
            return Err(refuse(&format!("a name has {} bytes, more than {PATH_PART_BYTES_MAX}; shorten it", part.len())));
        }
    }
    if depth > PATH_DEPTH_MAX {
        return Err(refuse(&format!("the path is more than {PATH_DEPTH_MAX} folders deep; flatten it")));
    }
    Ok(path)
}

/// Builds [`Error::Refused`] for a path given as bytes.
pub(crate) fn refused(path: &[u8], why: impl Into<String>) -> Error {
    Error::Refused { path: show(path), why: why.into() }
}

/// Makes a path printable: control characters and bytes that are not UTF-8 escaped, cut after 200 characters.
#[must_use]
pub fn show(path: &[u8]) -> String {
    let mut shown = String::new();
    for piece in path.utf8_chunks() {
        for c in piece.valid().chars() {
            if c.is_control() {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
        }
        for byte in piece.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
        if shown.len() > 4 * SHOWN_CHARS_MAX {
            break;
        }
    }
    if let Some((cut, _)) = shown.char_indices().nth(SHOWN_CHARS_MAX) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(bytes: &[u8]) -> String {
        SafePath::parse(bytes).expect_err("refused").to_string()
    }

    #[test]
    fn plain_paths_are_taken() {
        for good in ["a", "a/b", ".hidden", "..a/b..", "ä/ß 日本", "a\\b", "C:"] {
            assert_eq!(SafePath::parse(good.as_bytes()).expect(good).as_str(), good);
        }
        assert!(SafePath::parse(vec!["x"; PATH_DEPTH_MAX].join("/").as_bytes()).is_ok());
        assert!(SafePath::parse(&[b'x'; PATH_PART_BYTES_MAX]).is_ok());
    }

    #[test]
    fn unsafe_paths_are_refused() {
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.", "a\0b", "a\nb", "a\u{7f}", "a\u{85}"] {
            assert!(SafePath::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(why(vec!["x"; PATH_DEPTH_MAX + 1].join("/").as_bytes()).contains("128 folders deep"));
        assert!(why(&[b'x'; PATH_PART_BYTES_MAX + 1]).contains("255"));
        assert!(why(vec!["x".repeat(200); 21].join("/").as_bytes()).contains("more than 4096"));
    }

    #[test]
    fn non_utf8_is_shown_with_escapes() {
        let text = why(b"caf\xe9/menu");
        assert!(text.starts_with("caf\\xe9/menu: "), "{text}");
        assert!(text.contains("UTF-8"));
    }

    #[test]
    fn order_keeps_a_folder_together() {
        let mut paths = ["a-b", "a/x", "a", "a/x/y", "a/x-1", "b"].map(|p| SafePath::parse(p.as_bytes()).expect(p));
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(SafePath::as_str).collect();
        assert_eq!(sorted, ["a", "a/x", "a/x/y", "a/x-1", "a-b", "b"]);
    }
}
