//! Patch sets: everything that turns one version into another, in as few patches as their sizes allow.
//!
//! Changed files are joined in layout order into groups, and so are the files that they may draw from: what is alike lies together, models
//! learn across files, and a file may take from any base of its group. A file that is too large for that is patched in parts.

mod build;
mod choose;
mod content;
mod front;
mod group;
mod landmarks;
mod large;
mod parts;
mod plan;
mod room;
mod scope;
mod split;
mod take;

use std::path::Path;

use crate::error::Result;
use crate::id::FileDigest;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::sorted_by_likeness;
use crate::manifest::pairs::Pairs;
use crate::store::Store;

use super::archive::ApplyCost;

pub use choose::{changed_bytes, work_bytes};
pub use front::{Front, Share, fronts_of, hand_over};
pub(crate) use front::{FrontSplit, TakeFront, Watched};
pub(crate) use parts::{join_recipes, lines};
pub use plan::{Part as PlanPart, UpdatePlan, plan};
pub(crate) use scope::useless;
pub use scope::{Part, Scope, Span, Targets};
pub(crate) use split::{Split, Take};
pub use take::{join_parts, lacks_any, take_front_into_store, take_into_store};

use build::build;
use choose::{Choice, Chooser};
use content::Version;

/// A patch of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltPatch {
    /// Digest of the patch's bytes, and its name.
    pub digest: FileDigest,
    /// Its length, bytes.
    pub len: u64,
    /// About how many bytes the same content costs as records, with its lines in recipes, for whoever has the base version.
    pub records_len: u64,
    /// What applying it takes.
    pub cost: ApplyCost,
    /// What it makes, of what.
    pub scope: Scope,
}

/// Builds the patches from version `base` to version `target` of `store` into the folder `out`, each in a file named by the hexadecimal
/// digits of its digest; a group or part whose patch would not be smaller than its records is left out.
///
/// Several are built at once, each by up to two threads. The same versions give the same bytes, but of archives crafted to be at the limit of what
/// folding them may cost. Needs at most 512 MiB of memory whatever their sizes; contents are put down in files without names in `out`, at most
/// 3 GiB at once.
///
/// # Errors
/// The store lacks content or it is damaged; I/O on `out`.
pub fn build_set(store: &Store, base: &ManifestFile, target: &ManifestFile, out: &Path) -> Result<Vec<BuiltPatch>> {
    let choices = choices(base, target, &Pairs::of(base, target))?;
    build(choices, (Version { store, manifest: base }, Version { store, manifest: target }), out)
}

/// Most files that change, and that go, for a set to be small.
const SMALL_SET_FILES_MAX: usize = 4096;

/// Does as [`build_set`] if all that there is to read, on both sides together, has at most `bytes_max` bytes; `None` if it is more. It needs a few
/// times as much memory.
///
/// # Errors
/// As [`build_set`].
pub fn build_small_set(
    store: &Store,
    (base, target): (&ManifestFile, &ManifestFile),
    out: &Path,
    bytes_max: u64,
) -> Result<Option<Vec<BuiltPatch>>> {
    let pairs = Pairs::of(base, target);
    if pairs.changed().nth(SMALL_SET_FILES_MAX).is_some() || pairs.gone().len() > SMALL_SET_FILES_MAX {
        return Ok(None);
    }
    let choices = choices(base, target, &pairs)?;
    let len_of = |entry: u32| base.file_of(entry).map_or(0, |(len, ..)| len);
    let chosen = choices.iter().map(|choice| choice.target_len.saturating_add(choice.base.map_or(0, len_of)));
    // What is gone is looked through for what has no namesake.
    let changed = pairs.changed().filter_map(|number| Some((number, pairs.twin(number)?.number)));
    let changed = changed.filter(|(number, old)| target.file_of(*number) != base.file_of(*old)).map(|(_, old)| len_of(old));
    let gone = pairs.gone().iter().map(|entry| len_of(*entry));
    if chosen.chain(changed).chain(gone).fold(0, u64::saturating_add) > bytes_max {
        return Ok(None);
    }
    build(choices, (Version { store, manifest: base }, Version { store, manifest: target }), out).map(Some)
}

/// Chooses a base for each file with new content, in layout order.
fn choices(base: &ManifestFile, target: &ManifestFile, pairs: &Pairs) -> Result<Vec<Choice>> {
    let chooser = Chooser::of(base, pairs);
    let new = choose::new_files(base, target, pairs)?.into_iter();
    let new = sorted_by_likeness(new, |number| target.path_of(number), target.folder())?;
    new.from(0).filter_map(|[number]| chooser.choose(target, number).transpose()).collect()
}
