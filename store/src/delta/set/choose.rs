//! What changed between two versions, and from which old file a changed one should be made.

use super::content::{Version, front};
use crate::delta::similar::{Described, Sketch, Sketcher, best_base, name_key};
use crate::error::Result;
use crate::manifest::file::ManifestFile;
use crate::spill::Keyed;

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
    contents: Keyed,
    /// By the hash of the path with what changes from version to version taken out.
    by_path: Keyed,
    /// By that of the file name alone, likewise.
    by_name: Keyed,
}

impl<'a> Chooser<'a> {
    pub(super) fn of(base: &'a ManifestFile) -> Result<Self> {
        let keyed = |part: fn(&str) -> &str| {
            let pairs = files(base).map(|entry| (hash_of(&name_key(part(base.path_of(entry)))), entry));
            Keyed::of(pairs, base.folder())
        };
        Ok(Self { base, contents: contents(base)?, by_path: keyed(|path| path)?, by_name: keyed(name_of)? })
    }

    /// Finds the first file of the base for which `part` of the path has the same name but for what changes from version to version.
    fn alike(&self, keyed: &Keyed, part: fn(&str) -> &str, path: &str) -> Option<u32> {
        let key = name_key(part(path));
        keyed.numbers(hash_of(&key)).find(|entry| name_key(part(self.base.path_of(*entry))) == key)
    }

    /// Chooses for entry `number` of `target`; `None` if it is no file, or has content that the base has too.
    pub(super) fn choose(&self, target: &ManifestFile, number: u32) -> Option<Choice> {
        let (target_len, digest, _) = target.file_of(number)?;
        if target_len == 0 || self.contents.has(front(digest.as_bytes())) {
            return None;
        }
        let path = target.path_of(number);
        let same = self.base.find(path).filter(|entry| self.base.file_of(*entry).is_some());
        let alike = || {
            let by_name = || self.alike(&self.by_name, name_of, path);
            self.alike(&self.by_path, |path| path, path).or_else(by_name)
        };
        let usable = |entry: &u32| self.base.file_of(*entry).is_some_and(|(len, ..)| len > 0);
        Some(Choice { target: number, target_len, base: same.or_else(alike).filter(usable) })
    }
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
    let kept = contents(target.manifest)?;
    let mut budget = SKETCHED_BYTES_MAX;
    let mut gone = Vec::new();
    for entry in files(base.manifest) {
        let Some((len, digest, _)) = base.manifest.file_of(entry) else { continue };
        let usable = (SKETCHED_BYTES_MIN..=budget).contains(&len);
        if usable && gone.len() < SKETCHES_MAX && !kept.has(front(digest.as_bytes())) {
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
///
/// # Errors
/// I/O on the folder of `base`.
pub fn changed_bytes(base: &ManifestFile, target: &ManifestFile) -> Result<u64> {
    let known = contents(base)?;
    let changed = files(target).filter_map(|entry| target.file_of(entry));
    Ok(changed.filter(|(_, digest, _)| !known.has(front(digest.as_bytes()))).map(|(len, ..)| len).sum())
}

/// The first eight bytes of the digest of each file.
fn contents(manifest: &ManifestFile) -> Result<Keyed> {
    let digests = files(manifest).filter_map(|entry| Some((front(manifest.file_of(entry)?.1.as_bytes()), entry)));
    Keyed::of(digests, manifest.folder())
}

fn files(manifest: &ManifestFile) -> impl Iterator<Item = u32> + '_ {
    let entries = u32::try_from(manifest.totals().entries).unwrap_or(u32::MAX);
    (0..entries).filter(|entry| manifest.file_of(*entry).is_some())
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

fn hash_of(text: &str) -> u64 {
    front(blake3::hash(text.as_bytes()).as_bytes())
}
