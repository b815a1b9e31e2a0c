//! Patch sets: everything that turns one version into another, in as few patches as their sizes allow.
//!
//! Changed files are joined in layout order into groups, and so are the files that they may draw from: what is alike lies together, models
//! learn across files, and a file may take from any base of its group. A file that is too large for that is patched in parts.

mod choose;
mod content;
mod group;
mod landmarks;
mod large;
mod parts;
mod plan;
mod scope;
mod split;
mod take;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::FileDigest;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::sorted_by_likeness;
use crate::manifest::pairs::Pairs;
use crate::store::Store;

use super::apply::Verifier;
use super::archive::{ApplyCost, encode_joined, is_archive};
use super::covers;
use super::view::Views;

pub use choose::changed_bytes;
pub(crate) use parts::{join_recipes, lines};
pub use plan::{Part as PlanPart, UpdatePlan, plan};
pub(crate) use scope::useless;
pub use scope::{Part, Scope, Span, Targets};
pub(crate) use split::{Split, Take};
pub use take::{join_parts, lacks_any, take_into_store};

use choose::{Choice, Chooser};
use content::Version;
use group::{Files, Group, groups};

/// Bytes that a chunk costs in a recipe; what a patch makes needs none.
const RECIPE_LINE_BYTES: u64 = 44;

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
/// The same versions give the same bytes. Needs at most 512 MiB of memory whatever their sizes; contents are put down in files without
/// names in `out`, at most 2 GiB at once.
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

fn build(mut choices: Vec<Choice>, (base, target): (Version<'_>, Version<'_>), out: &Path) -> Result<Vec<BuiltPatch>> {
    if choices.is_empty() {
        return Ok(Vec::new());
    }
    choose::by_content(&mut choices, base, target)?;
    let mut builder = Builder { base, target, known: base.chunks()?, out, views: Views::in_folder(out), set: Vec::new() };
    for group in groups(choices, base) {
        match group {
            Group::Files(files) => builder.files(files)?,
            Group::Large { target, base } => builder.large(target, base)?,
        }
    }
    Ok(builder.set)
}

struct Builder<'a> {
    base: Version<'a>,
    target: Version<'a>,
    /// The chunks of the base.
    known: HashSet<u64>,
    out: &'a Path,
    views: Views,
    set: Vec<BuiltPatch>,
}

impl Builder<'_> {
    fn files(&mut self, files: Files) -> Result<()> {
        let bases = files.bases.into_iter().map(Span::File).collect();
        let scope = Scope { targets: Targets::Files(files.targets), bases };
        let old = self.base.joined(&scope.base_pieces(self.base.manifest)?, &self.views)?;
        let old = covers::Base::of(&old);
        let new = self.target.joined(&scope.pieces(self.target.manifest)?, &self.views)?;
        match scope.entries() {
            // Of an archive a part would be of no use: what it holds lies across the cuts.
            [entry] if new.len() as u64 > large::PART_BYTES && !old.bytes.is_empty() && !is_archive(&new) => {
                for part in large::even_parts(self.target, *entry, &new)? {
                    let bytes = &new[part.from as usize..(part.from + part.len) as usize];
                    self.patch(Scope { targets: Targets::Part(part), bases: scope.bases.clone() }, &old, bytes)?;
                }
                Ok(())
            }
            _ => self.patch(scope, &old, &new),
        }
    }

    fn large(&mut self, entry: u32, base_entry: u32) -> Result<()> {
        let (base, target, views) = ((self.base, base_entry), (self.target, entry), self.views.clone());
        large::each_part(base, target, &views, &mut |scope, old, new| self.patch(scope, &covers::Base::of(old), new))
    }

    fn patch(&mut self, scope: Scope, old: &covers::Base<'_>, new: &[u8]) -> Result<()> {
        let chunks_of = |entry: &u32| self.target.manifest.file_of(*entry).map_or(0, |(_, _, chunks)| u64::from(chunks));
        let chunks: u64 = match &scope.targets {
            Targets::Files(files) => files.iter().map(chunks_of).filter(|chunks| *chunks > 1).sum(),
            Targets::Part(part) => part.chunks.into(),
        };
        let records_len =
            self.target.records_len(&scope.pieces(self.target.manifest)?, &self.known)? + chunks * RECIPE_LINE_BYTES;
        let written = fsx::temp_beside(&self.out.join("patch"));
        let mut file = BufWriter::new(File::create_new(&written).at("create", &written)?);
        let (mut len, mut digest) = (0, Verifier::default());
        let encoded = encode_joined(old, new, &self.views, &mut |bytes| {
            len += bytes.len() as u64;
            if len >= records_len {
                return Err(Error::Cancelled);
            }
            digest.push(bytes);
            file.write_all(bytes).at("write", &written)
        });
        let cost = match encoded {
            Ok(cost) => cost,
            // Records are cheaper: whatever the rest costs.
            Err(Error::Cancelled) => return std::fs::remove_file(&written).at("remove", &written),
            Err(error) => return Err(error),
        };
        file.flush().at("write", &written)?;
        let digest = digest.built().digest;
        std::fs::rename(&written, self.out.join(digest.to_hex())).at("rename", &written)?;
        self.set.push(BuiltPatch { digest, len, records_len, cost, scope });
        Ok(())
    }
}
