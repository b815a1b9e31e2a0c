//! Patches for a file that is too large for one: part by part, each from the stretches of the old file that it resembles.

use std::ops::Range;

use super::content::{Version, each_line};
use super::landmarks::Survey;
use super::scope::{Part, Scope, Span, Targets};
use crate::delta::view::Views;
use crate::error::Result;
use crate::manifest::recipe;
use crate::map::ReadOnlyMap;

/// Longest part: what is lost when its patch turns out useless.
const PART_BYTES: u64 = 32 << 20;

/// Gives `build` each part of the file `entry` of `target`, with the stretches of the file `base_entry` of `base` that it resembles.
pub(super) fn each_part(
    (base, base_entry): (Version<'_>, u32),
    (target, entry): (Version<'_>, u32),
    views: &Views,
    build: &mut dyn FnMut(Scope, &ReadOnlyMap, &ReadOnlyMap) -> Result<()>,
) -> Result<()> {
    let mut survey = Survey::of(base.len(base_entry));
    base.read(base_entry, &(0..base.len(base_entry)), &mut |bytes| {
        survey.push(bytes);
        Ok(())
    })?;
    let landmarks = survey.finish();
    let mut shift = 0;
    for (range, chunks) in parts(target, entry)? {
        let made = target.joined(&[(entry, range.clone())], views)?;
        let near = landmarks.near(&made, range.start, &mut shift);
        let old = base.joined(&near.iter().map(|stretch| (base_entry, stretch.clone())).collect::<Vec<_>>(), views)?;
        let part = Part {
            entry,
            from: range.start,
            len: range.end - range.start,
            chunks,
            // Cutting begins anew behind every cut, so a part has the chunks that the file has there.
            digest: recipe::of_bytes(&made).digest,
        };
        let span = |stretch: Range<u64>| Span::Part { entry: base_entry, from: stretch.start, len: stretch.end - stretch.start };
        let scope = Scope { targets: Targets::Part(part), bases: near.into_iter().map(span).collect() };
        build(scope, &old, &made)?;
    }
    Ok(())
}

/// Cuts a file into parts at chunk boundaries: ranges of bytes, and counts of chunks.
fn parts(target: Version<'_>, entry: u32) -> Result<Vec<(Range<u64>, u32)>> {
    let mut parts: Vec<(Range<u64>, u32)> = Vec::new();
    each_line(target.store, target.manifest, entry, &mut |offset, line| {
        let end = offset + u64::from(line.len);
        match parts.last_mut() {
            Some((range, chunks)) if end - range.start <= PART_BYTES => {
                range.end = end;
                *chunks += 1;
            }
            _ => parts.push((offset..end, 1)),
        }
        Ok(())
    })?;
    Ok(parts)
}
