//! What changed between two versions, and from which old file a changed one should be made.

use std::collections::{HashMap, HashSet};

use crate::manifest::file::ManifestFile;

/// Longest file that patches are made of or for, bytes: both sides are held in memory while a patch is built.
const FILE_BYTES_MAX: u64 = 128 << 20;
/// Fewest digits of a run in a name that counts as a hash.
const HASH_DIGITS_MIN: usize = 6;

/// A changed file and the old one that it is probably most like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) target: u32,
    pub(super) target_len: u64,
    pub(super) base: Option<u32>,
}

/// Chooses among the files of a base version.
pub(super) struct Chooser<'a> {
    base: &'a ManifestFile,
    contents: HashSet<u64>,
    /// By path with what changes from version to version taken out.
    by_path: HashMap<String, u32>,
    /// By file name alone, likewise.
    by_name: HashMap<String, u32>,
}

impl<'a> Chooser<'a> {
    pub(super) fn of(base: &'a ManifestFile) -> Self {
        let (mut by_path, mut by_name) = (HashMap::new(), HashMap::new());
        for entry in files(base) {
            let path = base.path_of(entry);
            by_path.entry(steady(path)).or_insert(entry);
            by_name.entry(steady(name_of(path))).or_insert(entry);
        }
        Self { base, contents: contents(base), by_path, by_name }
    }

    /// Chooses for entry `number` of `target`; `None` if it is no file, has content that the base has too, or is too large.
    pub(super) fn choose(&self, target: &ManifestFile, number: u32) -> Option<Choice> {
        let (target_len, digest, _) = target.file_of(number)?;
        if target_len == 0 || target_len > FILE_BYTES_MAX || self.contents.contains(&front(digest.as_bytes())) {
            return None;
        }
        let path = target.path_of(number);
        let same = self.base.find(path).filter(|entry| self.base.file_of(*entry).is_some());
        let alike = || self.by_path.get(&steady(path)).or_else(|| self.by_name.get(&steady(name_of(path)))).copied();
        let usable = |entry: &u32| self.base.file_of(*entry).is_some_and(|(len, ..)| len > 0 && len <= FILE_BYTES_MAX);
        Some(Choice { target: number, target_len, base: same.or_else(alike).filter(usable) })
    }
}

/// Raw bytes of the files of `target` whose content is no file's of `base`: how much work their patches are.
#[must_use]
pub fn changed_bytes(base: &ManifestFile, target: &ManifestFile) -> u64 {
    let known = contents(base);
    let changed = files(target).filter_map(|entry| target.file_of(entry));
    changed.filter(|(_, digest, _)| !known.contains(&front(digest.as_bytes()))).map(|(len, ..)| len).sum()
}

fn contents(manifest: &ManifestFile) -> HashSet<u64> {
    files(manifest).filter_map(|entry| manifest.file_of(entry)).map(|(_, digest, _)| front(digest.as_bytes())).collect()
}

fn files(manifest: &ManifestFile) -> impl Iterator<Item = u32> + '_ {
    let entries = u32::try_from(manifest.totals().entries).unwrap_or(u32::MAX);
    (0..entries).filter(|entry| manifest.file_of(*entry).is_some())
}

/// The first eight bytes of a digest.
pub(super) fn front(digest: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The part of a name that stays from version to version: numbers become `#`, and so do runs of hexadecimal digits that look like hashes.
fn steady(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let run = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let word = &rest[..run];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let hash = run >= HASH_DIGITS_MIN
            && word.bytes().all(|byte| byte.is_ascii_hexdigit())
            && word.bytes().any(|byte| byte.is_ascii_digit());
        let taken = if hash {
            out.push('#');
            run
        } else if digits > 0 {
            out.push('#');
            digits
        } else {
            out.push(first);
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::steady;

    #[test]
    fn names_lose_their_numbers_and_hashes() {
        assert_eq!(steady("cmake-3.30.1.dist-info/RECORD"), steady("cmake-3.30.12.dist-info/RECORD"));
        assert_eq!(steady("libfoo-1a2b3c4d.so.1.1"), steady("libfoo-99ffee0.so.1.2"));
        assert_ne!(steady("decade.txt"), steady("facade.txt"));
        assert_eq!(steady("größe-2"), "größe-#");
    }
}
