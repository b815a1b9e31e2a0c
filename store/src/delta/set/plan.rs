//! What an update costs by each way, for people who want to know before it starts.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use super::content::Version;
use super::{BuiltPatch, build_set};
use crate::error::Result;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::Layout;
use crate::store::Store;

/// One kind of what an update consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Files.
    pub files: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
    /// What travels for them, bytes.
    pub wire_bytes: u64,
}

/// What bringing a version to somebody costs: content only, without manifest and metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpdatePlan {
    /// For somebody who has nothing, bytes.
    pub full_wire_bytes: u64,
    /// For somebody who has the base and takes records only, bytes.
    pub chunk_wire_bytes: u64,
    /// Files that the base has at the same path.
    pub kept: Part,
    /// Files all of whose chunks the base has.
    pub local: Part,
    /// Files made by patches.
    pub patched: Part,
    /// Files made of records, and of chunks that the base has.
    pub records: Part,
}

impl UpdatePlan {
    /// For somebody who has the base and takes what is cheapest, bytes.
    #[must_use]
    pub fn planned_wire_bytes(&self) -> u64 {
        self.patched.wire_bytes + self.records.wire_bytes
    }
}

/// Works out what `target` costs from `base`, building the patches in the folder `scratch`.
///
/// # Errors
/// As [`build_set`].
pub fn plan(store: &Store, base: Option<&ManifestFile>, target: &ManifestFile, scratch: &Path) -> Result<UpdatePlan> {
    let all: Vec<u32> = Layout::of(target)?.files().map(|placed| placed.entry).collect();
    let version = Version { store, manifest: target };
    let whole = |entries: &[u32]| -> Vec<_> { entries.iter().map(|entry| (*entry, 0..version.len(*entry))).collect() };
    let full_wire_bytes = version.records_len(&whole(&all), &HashSet::new())?;
    let Some(base) = base else {
        let records = part(target, &all, full_wire_bytes);
        return Ok(UpdatePlan { full_wire_bytes, chunk_wire_bytes: full_wire_bytes, records, ..UpdatePlan::default() });
    };
    let known = Version { store, manifest: base }.chunks()?;
    let set = build_set(store, base, target, scratch)?;
    let mut patched: HashMap<u32, Vec<Range<u64>>> = HashMap::new();
    for patch in &set {
        for (entry, range) in patch.scope.pieces(target)? {
            patched.entry(entry).or_default().push(range);
        }
    }
    let (by_patch, rest): (Vec<u32>, Vec<u32>) = all.iter().partition(|entry| patched.contains_key(entry));
    let (mut by_records, mut here) = (Vec::new(), Vec::new());
    for entry in rest {
        if version.has_other_than(entry, &known)? { by_records.push(entry) } else { here.push(entry) }
    }
    let in_place = |entry: &u32| {
        let old = base.find(target.path_of(*entry));
        old.is_some_and(|old| base.file_of(old) == target.file_of(*entry))
    };
    let (kept, local): (Vec<u32>, Vec<u32>) = here.into_iter().partition(in_place);
    let mut pieces = whole(&by_records);
    for (entry, made) in patched {
        pieces.extend(between(made, version.len(entry)).map(|range| (entry, range)));
    }
    Ok(UpdatePlan {
        full_wire_bytes,
        chunk_wire_bytes: version.records_len(&whole(&all), &known)?,
        kept: part(target, &kept, 0),
        local: part(target, &local, 0),
        patched: part(target, &by_patch, set.iter().map(|patch: &BuiltPatch| patch.len).sum()),
        records: part(target, &by_records, version.records_len(&pieces, &known)?),
    })
}

/// What of a file of `len` bytes lies between the parts `made`, which are in order.
fn between(made: Vec<Range<u64>>, len: u64) -> impl Iterator<Item = Range<u64>> {
    let mut end = 0;
    let last = len..len;
    let gaps = made.into_iter().chain([last]).map(move |range| std::mem::replace(&mut end, range.end)..range.start);
    gaps.filter(|gap| !gap.is_empty())
}

fn part(manifest: &ManifestFile, entries: &[u32], wire_bytes: u64) -> Part {
    let raw = entries.iter().filter_map(|entry| manifest.file_of(*entry)).map(|(size, ..)| size).sum();
    Part { files: entries.len() as u64, raw_bytes: raw, wire_bytes }
}
