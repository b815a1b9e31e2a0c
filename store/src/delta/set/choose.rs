//! What changed between two versions, and from which old file a changed one should be made.

use std::cell::OnceCell;
use std::collections::HashSet;

use super::content::{Version, front};
use crate::delta::archive::{begins_as_archive, holds_xz};
use crate::delta::similar::{Described, Sketch, Sketcher, best_base, name_key};
use crate::error::{Error, Result};
use crate::id::FileDigest;
use crate::manifest::file::ManifestFile;
use crate::manifest::pairs::Pairs;
use crate::spill::Keyed;
use crate::store::Store;

/// Smallest file whose base is looked for by content: a smaller one costs little anyway.
const SKETCHED_BYTES_MIN: u64 = 4 << 10;
/// Most files that are sketched on each side.
const SKETCHES_MAX: usize = 4096;
/// Most bytes of old files that are sketched.
const SKETCHED_BYTES_MAX: u64 = 1 << 30;

/// Smallest file that is looked at for whether it is an archive, to tell how much work it is, and how many are.
const ARCHIVE_BYTES_MIN: u64 = 256 << 10;
const ARCHIVES_MAX: usize = 64;
/// How much more work an archive is than as many bytes of a plain file: measured 2.4 on a .whl of programs and 7 on a .tgz of scripts; where there is an
/// xz file near its front, as in most Debian packages, 4 to 10.
const ARCHIVE_WEIGHT: u64 = 4;
const XZ_WEIGHT: u64 = 10;

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
    /// By the hash of the path with what changes taken out.
    by_path: Keyed,
    /// By that of the file name alone, likewise.
    by_name: Keyed,
}

impl Names {
    fn of(manifest: &ManifestFile) -> Result<Self> {
        let keyed = |part: fn(&str) -> &str| {
            let pairs = files(manifest).map(|(entry, _)| (hash_of(&name_key(part(manifest.path_of(entry)))), entry));
            Keyed::of(pairs, manifest.folder())
        };
        Ok(Self { by_path: keyed(|path| path)?, by_name: keyed(name_of)? })
    }
}

impl<'a> Chooser<'a> {
    pub(super) fn of(base: &'a ManifestFile, pairs: &'a Pairs) -> Self {
        Self { base, pairs, names: OnceCell::new() }
    }

    /// Chooses for entry `number` of `target`, a file whose content the base does not have; `None` if it is empty.
    pub(super) fn choose(&self, target: &ManifestFile, number: u32) -> Result<Option<Choice>> {
        let Some((target_len, ..)) = target.file_of(number).filter(|(len, ..)| *len > 0) else { return Ok(None) };
        let same = self.pairs.twin(number).map(|twin| twin.number).filter(|entry| self.base.file_of(*entry).is_some());
        let base = if same.is_some() { same } else { self.alike(target.path_of(number))? };
        let usable = |entry: &u32| self.base.file_of(*entry).is_some_and(|(len, ..)| len > 0);
        Ok(Some(Choice { target: number, target_len, base: base.filter(usable) }))
    }

    /// Finds the first file of the base with the same path, or else the same name, but for what changes from version to version.
    fn alike(&self, path: &str) -> Result<Option<u32>> {
        if self.names.get().is_none() {
            // Nobody else can have set it.
            let _ = self.names.set(Names::of(self.base)?);
        }
        let Some(names) = self.names.get() else { return Ok(None) };
        let first = |keyed: &Keyed, part: fn(&str) -> &str| {
            let key = name_key(part(path));
            keyed.numbers(hash_of(&key)).find(|entry| name_key(part(self.base.path_of(*entry))) == key)
        };
        Ok(first(&names.by_path, |path| path).or_else(|| first(&names.by_name, name_of)))
    }
}

/// The files of `target` whose content is no file's of `base`: entry numbers in path order.
///
/// # Errors
/// I/O on the folder of `target`.
pub(super) fn new_files(base: &ManifestFile, target: &ManifestFile, pairs: &Pairs) -> Result<Vec<u32>> {
    let front_of = |number: u32| target.file_of(number).map(|(_, digest, _)| front(digest.as_bytes()));
    let changed = Keyed::of(pairs.changed().filter_map(|number| Some((front_of(number)?, number))), target.folder())?;
    if changed.len() == 0 {
        return Ok(Vec::new());
    }
    let mut new: Vec<u32> = pairs.changed().filter(|number| target.file_of(*number).is_some()).collect();
    let moved: HashSet<u32> = files(base).flat_map(|(_, (_, digest, _))| changed.numbers(front(digest.as_bytes()))).collect();
    new.retain(|number| !moved.contains(number));
    Ok(new)
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
    for (entry, (len, digest, _)) in files(base.manifest) {
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
/// I/O on the folder of `target`.
pub fn changed_bytes(base: &ManifestFile, target: &ManifestFile) -> Result<u64> {
    let new = new_files(base, target, &Pairs::of(base, target))?;
    Ok(new.into_iter().filter_map(|number| target.file_of(number)).map(|(len, ..)| len).sum())
}

/// How much work the patches from `base` to `target` are, both in `store`: as many bytes of plain files. An archive is seen through, and costs more
/// than its bytes tell.
///
/// # Errors
/// The store lacks content or it is damaged, I/O.
pub fn work_bytes(store: &Store, base: &ManifestFile, target: &ManifestFile) -> Result<u64> {
    let version = Version { store, manifest: target };
    let (mut sum, mut looks_left) = (0_u64, ARCHIVES_MAX);
    for number in new_files(base, target, &Pairs::of(base, target))? {
        let len = version.len(number);
        let looked_at = len >= ARCHIVE_BYTES_MIN && looks_left > 0;
        looks_left -= usize::from(looked_at);
        let weight = if looked_at { weight(version, number)? } else { 1 };
        sum = sum.saturating_add(len.saturating_mul(weight));
    }
    Ok(sum)
}

/// How much work a byte of the file `entry` is, by its first chunk.
fn weight(version: Version<'_>, entry: u32) -> Result<u64> {
    let mut weight = 1;
    let first = version.read(entry, &(0..version.len(entry)), &mut |bytes| {
        if begins_as_archive(bytes) {
            weight = if holds_xz(bytes) { XZ_WEIGHT } else { ARCHIVE_WEIGHT };
        }
        // No more than the first chunk.
        Err(Error::Cancelled)
    });
    match first {
        Ok(()) | Err(Error::Cancelled) => Ok(weight),
        Err(error) => Err(error),
    }
}

/// The first eight bytes of the digest of each file.
fn contents(manifest: &ManifestFile) -> Result<Keyed> {
    Keyed::of(files(manifest).map(|(entry, (_, digest, _))| (front(digest.as_bytes()), entry)), manifest.folder())
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

fn hash_of(text: &str) -> u64 {
    front(blake3::hash(text.as_bytes()).as_bytes())
}
