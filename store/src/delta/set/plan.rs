//! What an update costs by each way, for people who want to know before it starts.

use std::collections::HashSet;
use std::path::Path;

use super::{BuiltPatch, build_set, chunks_of, records_len};
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
    let full_wire_bytes = records_len(store, target, &all, &HashSet::new())?;
    let Some(base) = base else {
        let records = part(target, &all, full_wire_bytes);
        return Ok(UpdatePlan { full_wire_bytes, chunk_wire_bytes: full_wire_bytes, records, ..UpdatePlan::default() });
    };
    let known = chunks_of(store, base)?;
    let set = build_set(store, base, target, scratch)?;
    let patched: HashSet<u32> = set.iter().flat_map(|patch| patch.targets.iter().copied()).collect();
    let (by_patch, rest): (Vec<u32>, Vec<u32>) = all.iter().partition(|entry| patched.contains(entry));
    let records_cost = |entries: &[u32]| records_len(store, target, entries, &known);
    let has_new = |entry: &u32| records_cost(&[*entry]).is_ok_and(|bytes| bytes > 0);
    let (by_records, here): (Vec<u32>, Vec<u32>) = rest.into_iter().partition(has_new);
    let in_place = |entry: &u32| {
        let old = base.find(target.path_of(*entry));
        old.is_some_and(|old| base.file_of(old) == target.file_of(*entry))
    };
    let (kept, local): (Vec<u32>, Vec<u32>) = here.into_iter().partition(in_place);
    Ok(UpdatePlan {
        full_wire_bytes,
        chunk_wire_bytes: records_cost(&all)?,
        kept: part(target, &kept, 0),
        local: part(target, &local, 0),
        patched: part(target, &by_patch, set.iter().map(|patch: &BuiltPatch| patch.len).sum()),
        records: part(target, &by_records, records_cost(&by_records)?),
    })
}

fn part(manifest: &ManifestFile, entries: &[u32], wire_bytes: u64) -> Part {
    let raw = entries.iter().filter_map(|entry| manifest.file_of(*entry)).map(|(size, ..)| size).sum();
    Part { files: entries.len() as u64, raw_bytes: raw, wire_bytes }
}
