//! Files that were made part by part: their recipes come from those of their parts.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::scope::Part;
use crate::chunk::VerifiedChunk;
use crate::chunk::record::ChunkLine;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::manifest::file::ManifestFile;
use crate::manifest::recipe::{self, RecipeBuilder};

/// Gives `sink` the recipe pages of each file of `target` that `parts` make up, if `page` has the pages of all its parts: those were kept
/// when the parts were made. A file that comes out otherwise than the manifest says is left out: its recipe is fetched, and tells which
/// chunks are wrong.
///
/// # Errors
/// What `page` and `sink` return, but for a page that is not here.
pub(crate) fn join_recipes(
    target: &ManifestFile,
    parts: &[Part],
    page: &mut dyn FnMut(ChunkId) -> Result<Bytes>,
    sink: &mut dyn FnMut(&VerifiedChunk) -> Result<()>,
) -> Result<()> {
    let mut files: BTreeMap<u32, BTreeMap<u64, Part>> = BTreeMap::new();
    for part in parts {
        files.entry(part.entry).or_default().insert(part.from, *part);
    }
    for (entry, parts) in files {
        let Some((size, digest, _)) = target.file_of(entry) else { continue };
        let end = parts.values().try_fold(0_u64, |end, part| if part.from == end { end.checked_add(part.len) } else { None });
        if end != Some(size) {
            continue;
        }
        // Once to see whether it is right, and once to keep it: so a huge recipe is never held.
        match walk(parts.values(), page, &mut |_| Ok(())) {
            Ok(found) if found == digest => walk(parts.values(), page, sink).map(drop)?,
            Ok(_) | Err(Error::NoChunk(_) | Error::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn walk<'a>(
    parts: impl Iterator<Item = &'a Part>,
    page: &mut dyn FnMut(ChunkId) -> Result<Bytes>,
    sink: &mut dyn FnMut(&VerifiedChunk) -> Result<()>,
) -> Result<crate::id::FileDigest> {
    let mut builder = RecipeBuilder::default();
    for part in parts {
        lines(part, page, &mut |line| {
            builder.push(line);
            builder.take_pages().iter().try_for_each(&mut *sink)
        })?;
    }
    let built = builder.finish();
    built.pages.iter().try_for_each(sink)?;
    Ok(built.digest)
}

/// Gives `line` the chunks of a part.
pub(crate) fn lines(
    part: &Part,
    page: &mut dyn FnMut(ChunkId) -> Result<Bytes>,
    line: &mut dyn FnMut(ChunkLine) -> Result<()>,
) -> Result<()> {
    recipe::walk(part.digest, part.len, part.chunks, page, line)
}
