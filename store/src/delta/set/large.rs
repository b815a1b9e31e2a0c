//! Patches for a file that is too large for one, part by part: of a huge file each from the stretches of the old one that it resembles, of a
//! smaller one each from all of the old one, so that parts can be applied at once.

use std::ops::Range;

use super::content::{Version, each_line};
use super::landmarks::Survey;
use super::scope::{Part, Scope, Span, Targets};
use crate::chunk::CHUNK_BYTES_MAX;
use crate::delta::view::Views;
use crate::error::Result;
use crate::manifest::recipe::{BuiltRecipe, RecipeBuilder};

/// Longest part: what is lost when its patch turns out useless.
pub(super) const PART_BYTES: u64 = 32 << 20;

/// Returns what each part of the file `entry` of `target` is to be made of: the stretches of the file `base_entry` of `base` that it resembles.
/// Both files are read for that.
pub(super) fn scopes(
    (base, base_entry): (Version<'_>, u32),
    (target, entry): (Version<'_>, u32),
    views: &Views,
) -> Result<Vec<Scope>> {
    let mut survey = Survey::of(base.len(base_entry));
    base.read(base_entry, &(0..base.len(base_entry)), &mut |bytes| {
        survey.push(bytes);
        Ok(())
    })?;
    let landmarks = survey.finish();
    let mut shift = 0;
    let scope = |part: Part| {
        let made = target.joined(&[(entry, part.from..part.from + part.len)], views)?;
        let near = landmarks.near(&made, part.from, &mut shift);
        let span = |stretch: Range<u64>| Span::Part { entry: base_entry, from: stretch.start, len: stretch.end - stretch.start };
        Ok(Scope { targets: Targets::Part(part), bases: near.into_iter().map(span).collect() })
    };
    parts(target, entry, PART_BYTES)?.into_iter().map(scope).collect()
}

/// Returns the parts of the file `entry` of `target`: alike in length, and at most [`PART_BYTES`] but for a chunk.
pub(super) fn even_parts(target: Version<'_>, entry: u32) -> Result<Vec<Part>> {
    let len = target.len(entry);
    let most = len.div_ceil(len.div_ceil(PART_BYTES).max(1)) + CHUNK_BYTES_MAX as u64;
    parts(target, entry, most)
}

/// Cuts a file into parts of at most `most` bytes at chunk boundaries.
fn parts(target: Version<'_>, entry: u32, most: u64) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let (mut from, mut recipe) = (0, RecipeBuilder::default());
    // Cutting begins anew behind every cut, so a file with a part's bytes has the chunks that the whole one has there.
    let part = |from: u64, recipe: RecipeBuilder| {
        let BuiltRecipe { digest, size, chunks, .. } = recipe.finish();
        Part { entry, from, len: size, chunks, digest }
    };
    each_line(target.store, target.manifest, entry, &mut |offset, line| {
        if offset > from && offset + u64::from(line.len) - from > most {
            parts.push(part(from, std::mem::take(&mut recipe)));
            from = offset;
        }
        recipe.push(line);
        Ok(())
    })?;
    parts.extend(Some(part(from, recipe)).filter(|part| part.chunks > 0));
    Ok(parts)
}
