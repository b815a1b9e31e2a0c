//! What changed between two versions, and from which old file a changed one should be made.

use std::collections::{HashMap, HashSet};

use crate::delta::similar::{Described, Sketch, best_base, name_key};
use crate::error::Result;
use crate::manifest::file::ManifestFile;

/// Longest file that patches are made of or for, bytes: both sides are held in memory while a patch is built.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// Smallest file whose base is looked for by content: a smaller one costs little anyway.
const SKETCHED_BYTES_MIN: u64 = 4 << 10;
/// Most files that are sketched on each side.
const SKETCHES_MAX: usize = 4096;
/// Most bytes of old files that are sketched.
const SKETCHED_BYTES_MAX: u64 = 1 << 30;

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
            by_path.entry(name_key(path)).or_insert(entry);
            by_name.entry(name_key(name_of(path))).or_insert(entry);
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
        let alike = || self.by_path.get(&name_key(path)).or_else(|| self.by_name.get(&name_key(name_of(path)))).copied();
        let usable = |entry: &u32| self.base.file_of(*entry).is_some_and(|(len, ..)| len > 0 && len <= FILE_BYTES_MAX);
        Some(Choice { target: number, target_len, base: same.or_else(alike).filter(usable) })
    }
}

/// Finds bases by content for the choices that have none: among the files of the base whose content is gone from the target, since content that
/// moves and changes leaves its old place. `read` gives the content of an entry of the target (`true`) or of the base (`false`).
///
/// # Errors
/// What `read` returns.
pub(super) fn by_content(
    choices: &mut [Choice],
    (base, target): (&ManifestFile, &ManifestFile),
    read: &mut dyn FnMut(bool, u32) -> Result<Vec<u8>>,
) -> Result<()> {
    let lonely = |choice: &&mut Choice| choice.base.is_none() && choice.target_len >= SKETCHED_BYTES_MIN;
    if !choices.iter_mut().any(|choice| lonely(&choice)) {
        return Ok(());
    }
    let kept = contents(target);
    let mut budget = SKETCHED_BYTES_MAX;
    let mut gone = Vec::new();
    for entry in files(base) {
        let Some((len, digest, _)) = base.file_of(entry) else { continue };
        let usable = (SKETCHED_BYTES_MIN..=FILE_BYTES_MAX.min(budget)).contains(&len);
        if usable && gone.len() < SKETCHES_MAX && !kept.contains(&front(digest.as_bytes())) {
            budget -= len;
            gone.push((entry, Sketch::of_bytes(&read(false, entry)?)));
        }
    }
    let described: Vec<_> = gone.iter().map(|(entry, sketch)| Described { path: base.path_of(*entry), sketch }).collect();
    for choice in choices.iter_mut().filter(lonely).take(SKETCHES_MAX) {
        let sketch = Sketch::of_bytes(&read(true, choice.target)?);
        let place = best_base(&Described { path: target.path_of(choice.target), sketch: &sketch }, &described);
        choice.base = place.map(|place| gone[place].0);
    }
    Ok(())
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
