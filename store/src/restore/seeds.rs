//! Content that is already on the machine: other versions, other folders, the target's own repeated content.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::chunk::VerifiedChunk;
use crate::error::{Error, Result};
use crate::id::FileDigest;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::{Layout, Placed};
use crate::manifest::recipe::RecipeBuilder;
use crate::manifest::table::ChunkTable;

use super::content::{Content, Source, Tree};
use super::verify;
use super::{Seed, Target};

/// Files with a recipe, found by digest.
struct ByDigest(Vec<(FileDigest, Placed)>);

impl ByDigest {
    fn of(manifest: &ManifestFile, layout: &Layout) -> Self {
        let with_recipe = layout.files().filter(|placed| placed.chunks > 1);
        let mut files: Vec<_> = with_recipe.filter_map(|placed| Some((manifest.file_of(placed.entry)?.1, placed))).collect();
        files.sort_unstable_by_key(|(digest, placed)| (*digest, placed.entry));
        Self(files)
    }

    fn find(&self, digest: FileDigest) -> Option<Placed> {
        let at = self.0.partition_point(|(found, _)| *found < digest);
        self.0.get(at).filter(|(found, _)| *found == digest).map(|(_, placed)| *placed)
    }
}

/// Builds the recipes of `manifest`'s files that `seed` lists too, and gives their pages to `page`.
pub(super) fn learn(
    manifest: &ManifestFile,
    layout: &Layout,
    wanted: &dyn Fn(u32) -> bool,
    seed: &Seed,
    page: &mut dyn FnMut(&VerifiedChunk) -> Result<()>,
) -> Result<()> {
    let mut long = layout.files().filter(|placed| placed.chunks > 1 && wanted(placed.entry)).peekable();
    if long.peek().is_none() {
        return Ok(());
    }
    let Ok(seed_layout) = Layout::of(&seed.manifest) else { return Ok(()) };
    let known = ByDigest::of(&seed.manifest, &seed_layout);
    for placed in long {
        let digest = manifest.file_of(placed.entry).map(|(_, digest, _)| digest);
        let Some(found) = digest.and_then(|digest| known.find(digest)) else { continue };
        let mut builder = RecipeBuilder::default();
        (found.first..found.first + found.chunks)
            .filter_map(|ordinal| seed.table.line(ordinal))
            .for_each(|line| builder.push(line));
        let built = builder.finish();
        // A table that is wrong, or has no lines here, builds another digest.
        if Some(built.digest) == digest {
            built.pages.iter().try_for_each(&mut *page)?;
        }
    }
    Ok(())
}

/// Chunks of files with recipes up to which a table is built before its assembly: their pages are in memory meanwhile, 44 bytes a chunk.
const EARLY_CHUNKS_MAX: u64 = 1 << 16;

/// Builds the chunk table of a version where its assembly will look for it, if `seed` has all recipes; whoever assembles it builds it otherwise.
///
/// # Errors
/// I/O on the folder `work`.
pub fn build_table(work: &Path, (manifest, layout): (&ManifestFile, &Layout), seed: &Seed) -> Result<()> {
    let long = layout.files().map(|placed| u64::from(placed.chunks)).filter(|chunks| *chunks > 1);
    if long.sum::<u64>() > EARLY_CHUNKS_MAX {
        return Ok(());
    }
    let mut pages = HashMap::new();
    learn(manifest, layout, &|_| true, seed, &mut |page| {
        pages.insert(page.id(), page.bytes().clone());
        Ok(())
    })?;
    let mut page = |id| pages.get(&id).cloned().ok_or(Error::NoChunk(id));
    match ChunkTable::build(&Target::table_path(work, manifest.id()), manifest, layout, &|_| true, &mut page) {
        Err(Error::NoChunk(_)) => Ok(()),
        built => built.map(drop),
    }
}

/// Takes what is still lacking from `seed`; returns the raw bytes written.
pub(super) fn draw(content: &Content, tree: Tree<'_>, seed: &Seed) -> Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::open(&seed.root, flags, Mode::empty()) else { return Ok(0) };
    // Most often what is missing is in no old file, and then nothing of them is needed.
    if !(0..seed.table.len()).filter_map(|ordinal| seed.table.line(ordinal)).any(|line| content.lacks(&line.id)) {
        return Ok(0);
    }
    let Ok(layout) = Layout::of(&seed.manifest) else { return Ok(0) };
    let open = |entry: u32| verify::open_regular(root.as_fd(), seed.manifest.path_of(entry));
    content.draw(tree, &Source { layout: &layout, table: &seed.table, open: &open, usable: &|_| true })
}

/// Takes repeated content that one place of the target has and another lacks; `dest` holds the kept files.
pub(super) fn draw_own(content: &Content, tree: Tree<'_>, dest: &Path) -> Result<u64> {
    let open = |entry: u32| {
        let path = tree.manifest.path_of(entry);
        if content.kept.has(entry) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(dest, flags, Mode::empty()).ok()?;
            verify::open_regular(root.as_fd(), path)
        } else {
            tree.staging.read(&tree.staging.name(entry, path))
        }
    };
    let usable = |ordinal: u32| content.have.has(ordinal);
    content.draw(tree, &Source { layout: tree.layout, table: &content.table, open: &open, usable: &usable })
}

/// Clones whole files of the seed where the file system shares blocks, and believes them as far as their hashes are right; returns the
/// raw bytes believed.
pub(super) fn clone_whole(content: &Content, tree: Tree<'_>, seed: &Seed) -> Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let has_none = |placed: &Placed| !(placed.first..placed.first + placed.chunks).any(|ordinal| content.have.has(ordinal));
    let mut lacking = tree.layout.files().filter(|placed| placed.chunks > 1 && has_none(placed)).peekable();
    if lacking.peek().is_none() {
        return Ok(0);
    }
    let Ok(root) = rustix::fs::open(&seed.root, flags, Mode::empty()) else { return Ok(0) };
    let Ok(layout) = Layout::of(&seed.manifest) else { return Ok(0) };
    let known = ByDigest::of(&seed.manifest, &layout);
    let mut bytes = 0;
    for placed in lacking {
        let found = tree.manifest.file_of(placed.entry).and_then(|(_, digest, _)| known.find(digest));
        let Some(file) = found.and_then(|found| verify::open_regular(root.as_fd(), seed.manifest.path_of(found.entry))) else {
            continue;
        };
        let name = tree.staging.name(placed.entry, tree.manifest.path_of(placed.entry));
        match tree.staging.clone_from(&name, &file)? {
            Ok(()) => bytes += content.verify_one(tree, placed),
            Err(Errno::INTR | Errno::PERM | Errno::ACCESS | Errno::TXTBSY) => {}
            // This file system cannot share blocks, or not with that one: the next file fares no better.
            Err(_) => break,
        }
    }
    Ok(bytes)
}
