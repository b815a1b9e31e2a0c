//! Patch sets: everything that turns one version into another, in as few patches as their sizes allow.
//!
//! Changed files are joined in layout order into groups, and so are the files that they may draw from: what is alike lies together, models
//! learn across files, and a file may take from any base of its group.

mod choose;
mod group;
mod plan;
mod take;

use std::collections::HashSet;
use std::path::Path;

use crate::chunk::ChunkKind;
use crate::error::{At, Error, Result};
use crate::id::{ChunkId, FileDigest};
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::Layout;
use crate::manifest::recipe;
use crate::store::Store;

use super::archive::{Encoded, encode_joined};

pub use choose::changed_bytes;
pub use plan::{Part, UpdatePlan, plan};
pub use take::take_into_store;

use choose::{Choice, Chooser};
use group::groups;

/// A patch of a set: from the joined files `bases` to the joined files `targets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltPatch {
    /// Digest of the patch's bytes, and its name.
    pub digest: FileDigest,
    /// Its length, bytes.
    pub len: u64,
    /// About how many bytes the same files cost as records for whoever has the base version.
    pub records_len: u64,
    /// Plain bytes that whoever applies it has to compress, because it sees through archives.
    pub folded_bytes: u64,
    /// Entry numbers in the target's manifest, in their order in the patch.
    pub targets: Vec<u32>,
    /// Entry numbers in the base's manifest, in their order in the patch.
    pub bases: Vec<u32>,
}

/// Builds the patches from version `base` to version `target` of `store` into the folder `out`, each in a file named by the hexadecimal
/// digits of its digest; a group whose patch would not be smaller than its records is left out.
///
/// The same versions give the same bytes. Needs several times the size of a group in memory. No ceiling is kept for it yet: 931 MB were
/// measured for a package of one large file, 695 MB where archives unfold to 91 MB.
///
/// # Errors
/// The store lacks content or it is damaged; I/O on `out`.
pub fn build_set(store: &Store, base: &ManifestFile, target: &ManifestFile, out: &Path) -> Result<Vec<BuiltPatch>> {
    let chooser = Chooser::of(base);
    let layout = Layout::of(target)?;
    let mut choices: Vec<Choice> = layout.files().filter_map(|placed| chooser.choose(target, placed.entry)).collect();
    let mut read = |new, entry| joined(store, if new { target } else { base }, &[entry]);
    choose::by_content(&mut choices, (base, target), &mut read)?;
    let known = chunks_of(store, base)?;
    let mut set = Vec::new();
    for group in groups(choices, base) {
        let bases = joined(store, base, &group.bases)?;
        let targets = joined(store, target, &group.targets)?;
        let records_len = records_len(store, target, &group.targets, &known)?;
        let Encoded { bytes: patch, folded_bytes } = encode_joined(bases, targets)?;
        let len = patch.len() as u64;
        if len >= records_len {
            continue;
        }
        let digest = recipe::of_bytes(&patch).digest;
        let file = out.join(digest.to_hex());
        std::fs::write(&file, &patch).at("write", &file)?;
        set.push(BuiltPatch { digest, len, records_len, folded_bytes, targets: group.targets, bases: group.bases });
    }
    Ok(set)
}

/// The content of several files, one after the other.
fn joined(store: &Store, manifest: &ManifestFile, entries: &[u32]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for entry in entries {
        each_chunk(store, manifest, *entry, &mut |line| {
            out.extend_from_slice(store.read_chunk(&line, ChunkKind::Content)?.bytes());
            Ok(())
        })?;
    }
    Ok(out)
}

fn each_chunk(store: &Store, manifest: &ManifestFile, entry: u32, chunk: &mut dyn FnMut(ChunkId) -> Result<()>) -> Result<()> {
    let Some((size, digest, chunks)) = manifest.file_of(entry) else { return Ok(()) };
    let mut page = |id| Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone());
    recipe::walk(digest, size, chunks, &mut page, &mut |line| chunk(line.id))
}

/// The first eight bytes of every chunk id of a version: enough to estimate.
fn chunks_of(store: &Store, manifest: &ManifestFile) -> Result<HashSet<u64>> {
    let mut known = HashSet::new();
    for entry in 0..u32::try_from(manifest.totals().entries).unwrap_or(u32::MAX) {
        each_chunk(store, manifest, entry, &mut |id| {
            known.insert(choose::front(id.as_bytes()));
            Ok(())
        })?;
    }
    Ok(known)
}

/// About what the chunks of `entries` that are not among `known` cost as records: their share of the records in which they lie.
fn records_len(store: &Store, target: &ManifestFile, entries: &[u32], known: &HashSet<u64>) -> Result<u64> {
    let mut counted = HashSet::new();
    let mut sum = 0;
    for entry in entries {
        each_chunk(store, target, *entry, &mut |id| {
            let front = choose::front(id.as_bytes());
            if known.contains(&front) || !counted.insert(front) {
                return Ok(());
            }
            let at = store.locate(&id)?.ok_or(Error::NoChunk(id))?;
            let header = store.read_header(at.record)?;
            let len = header.chunks.get(usize::from(at.ordinal)).map_or(0, |line| u64::from(line.len));
            let raw = (header.raw_len as u64).max(1);
            sum += len * header.record_len() as u64 / raw;
            Ok(())
        })?;
    }
    Ok(sum)
}
