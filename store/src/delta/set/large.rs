//! Patches for a file that is too large for one, part by part: of a huge file each from the stretches of the old one that it resembles, of a
//! smaller one each from all of the old one, so that parts can be applied at once.

use std::ops::Range;

use super::content::{Version, each_line};
use super::landmarks::Survey;
use super::scope::{Part, Scope, Span, Targets, useless};
use crate::chunk::CHUNK_BYTES_MAX;
use crate::delta::view::Views;
use crate::error::Result;
use crate::manifest::recipe;

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
    let scope = |(range, chunks): (Range<u64>, u32)| {
        let made = target.joined(&[(entry, range.clone())], views)?;
        let near = landmarks.near(&made, range.start, &mut shift);
        let span = |stretch: Range<u64>| Span::Part { entry: base_entry, from: stretch.start, len: stretch.end - stretch.start };
        let part = part(entry, &range, chunks, &made);
        Ok(Scope { targets: Targets::Part(part), bases: near.into_iter().map(span).collect() })
    };
    parts(target, entry, PART_BYTES)?.into_iter().map(scope).collect()
}

/// Returns the parts of the file `entry` of `target`, whose content is `made`: alike in length, and at most [`PART_BYTES`] but for a chunk.
pub(super) fn even_parts(target: Version<'_>, entry: u32, made: &[u8]) -> Result<Vec<Part>> {
    let len = made.len() as u64;
    let most = len.div_ceil(len.div_ceil(PART_BYTES).max(1)) + CHUNK_BYTES_MAX as u64;
    let of = |(range, chunks): (Range<u64>, u32)| {
        let bytes = made.get(range.start as usize..range.end as usize);
        bytes.map(|bytes| part(entry, &range, chunks, bytes)).ok_or_else(|| useless("its file is shorter than its recipe says"))
    };
    parts(target, entry, most)?.into_iter().map(of).collect()
}

fn part(entry: u32, range: &Range<u64>, chunks: u32, made: &[u8]) -> Part {
    // Cutting begins anew behind every cut, so a part has the chunks that the file has there.
    Part { entry, from: range.start, len: range.end - range.start, chunks, digest: recipe::of_bytes(made).digest }
}

/// Cuts a file into parts of at most `most` bytes at chunk boundaries: ranges of bytes, and counts of chunks.
fn parts(target: Version<'_>, entry: u32, most: u64) -> Result<Vec<(Range<u64>, u32)>> {
    let mut parts: Vec<(Range<u64>, u32)> = Vec::new();
    each_line(target.store, target.manifest, entry, &mut |offset, line| {
        let end = offset + u64::from(line.len);
        match parts.last_mut() {
            Some((range, chunks)) if end - range.start <= most => {
                range.end = end;
                *chunks += 1;
            }
            _ => parts.push((offset..end, 1)),
        }
        Ok(())
    })?;
    Ok(parts)
}
