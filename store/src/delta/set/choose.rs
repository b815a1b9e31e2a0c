//! What changed between two versions, and from which old file a changed one should be made.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use super::content::{Version, front};
use crate::delta::similar::{Described, Sketch, Sketcher, best_base, name_key};
use crate::error::Result;
use crate::id::FileDigest;
use crate::manifest::file::ManifestFile;
use crate::manifest::pairs::Pairs;

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
    pairs: &'a Pairs,
    /// Made when a file without a namesake is met.
    names: OnceCell<Names>,
}

/// The files of a version by what does not change from version to version.
struct Names {
    by_path: HashMap<String, u32>,
    by_name: HashMap<String, u32>,
}

impl Names {
    fn of(manifest: &ManifestFile) -> Self {
        let (mut by_path, mut by_name) = (HashMap::new(), HashMap::new());
        for (entry, _) in files(manifest) {
            let path = manifest.path_of(entry);
            by_path.entry(name_key(path)).or_insert(entry);
            by_name.entry(name_key(name_of(path))).or_insert(entry);
        }
        Self { by_path, by_name }
    }
}

impl<'a> Chooser<'a> {
    pub(super) fn of(base: &'a ManifestFile, pairs: &'a Pairs) -> Self {
        Self { base, pairs, names: OnceCell::new() }
    }

    /// Chooses for entry `number` of `target`, a file whose content the base does not have; `None` if it is empty.
    pub(super) fn choose(&self, target: &ManifestFile, number: u32) -> Option<Choice> {
        let (target_len, ..) = target.file_of(number).filter(|(len, ..)| *len > 0)?;
        let path = target.path_of(number);
        let same = self.pairs.twin(number).map(|twin| twin.number).filter(|entry| self.base.file_of(*entry).is_some());
        let alike = || {
            let names = self.names.get_or_init(|| Names::of(self.base));
            names.by_path.get(&name_key(path)).or_else(|| names.by_name.get(&name_key(name_of(path)))).copied()
        };
        let usable = |entry: &u32| self.base.file_of(*entry).is_some_and(|(len, ..)| len > 0);
        Some(Choice { target: number, target_len, base: same.or_else(alike).filter(usable) })
    }
}

/// The files of `target` whose content is no file's of `base`: entry numbers in path order.
pub(super) fn new_files(base: &ManifestFile, target: &ManifestFile, pairs: &Pairs) -> Vec<u32> {
    let front_of = |number: u32| target.file_of(number).map(|(_, digest, _)| front(digest.as_bytes()));
    let changed: Vec<(u32, u64)> = pairs.changed().filter_map(|number| Some((number, front_of(number)?))).collect();
    if changed.is_empty() {
        return Vec::new();
    }
    let asked: HashSet<u64> = changed.iter().map(|(_, front)| *front).collect();
    let fronts = files(base).map(|(_, (_, digest, _))| front(digest.as_bytes()));
    let known: HashSet<u64> = fronts.filter(|front| asked.contains(front)).collect();
    changed.into_iter().filter(|(_, front)| !known.contains(front)).map(|(number, _)| number).collect()
}

/// Finds bases by content for the choices that have none: among the files of the base whose content is gone from the target, since content that
/// moves and changes leaves its old place.
///
/// # Errors
/// The store lacks content or it is damaged.
pub(super) fn by_content(choices: &mut [Choice], base: Version<'_>, target: Version<'_>) -> Result<()> {
    let lonely = |choice: &&mut Choice| choice.base.is_none() && choice.target_len >= SKETCHED_BYTES_MIN;
    if !choices.iter_mut().any(|choice| lonely(&choice)) {
        return Ok(());
    }
    let kept = contents(target.manifest);
    let mut budget = SKETCHED_BYTES_MAX;
    let mut gone = Vec::new();
    for (entry, (len, digest, _)) in files(base.manifest) {
        let usable = (SKETCHED_BYTES_MIN..=budget).contains(&len);
        if usable && gone.len() < SKETCHES_MAX && !kept.contains(&front(digest.as_bytes())) {
            budget -= len;
            gone.push((entry, sketch(base, entry)?));
        }
    }
    let described: Vec<_> =
        gone.iter().map(|(entry, sketch)| Described { path: base.manifest.path_of(*entry), sketch }).collect();
    for choice in choices.iter_mut().filter(lonely).take(SKETCHES_MAX) {
        let sketch = sketch(target, choice.target)?;
        let place = best_base(&Described { path: target.manifest.path_of(choice.target), sketch: &sketch }, &described);
        choice.base = place.map(|place| gone[place].0);
    }
    Ok(())
}

/// Raw bytes of the files of `target` whose content is no file's of `base`: how much work their patches are.
#[must_use]
pub fn changed_bytes(base: &ManifestFile, target: &ManifestFile) -> u64 {
    let new = new_files(base, target, &Pairs::of(base, target));
    new.into_iter().filter_map(|number| target.file_of(number)).map(|(len, ..)| len).sum()
}

fn contents(manifest: &ManifestFile) -> HashSet<u64> {
    files(manifest).map(|(_, (_, digest, _))| front(digest.as_bytes())).collect()
}

/// Entry number, and size, digest and chunk count.
fn files(manifest: &ManifestFile) -> impl Iterator<Item = (u32, (u64, FileDigest, u32))> + '_ {
    manifest.numbers().filter_map(|entry| Some((entry, manifest.file_of(entry)?)))
}

fn sketch(version: Version<'_>, entry: u32) -> Result<Sketch> {
    let mut sketcher = Sketcher::default();
    version.read(entry, &(0..version.len(entry)), &mut |bytes| {
        sketcher.push(bytes);
        Ok(())
    })?;
    Ok(sketcher.finish())
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
