//! Which changed files share a patch.

use super::Choice;
use crate::manifest::file::ManifestFile;

/// Raw target bytes after which a group is full: what is lost when a patch turns out useless, and what its builder holds.
const TARGET_BYTES: u64 = 32 << 20;
/// Raw base bytes after which a group is full: the matcher needs six times as much.
const BASE_BYTES: u64 = 48 << 20;

/// Files that share a patch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) targets: Vec<u32>,
    pub(super) bases: Vec<u32>,
    target_bytes: u64,
    base_bytes: u64,
}

/// Groups `choices` in their order; a file that is larger than a group is one by itself.
pub(super) fn groups(choices: Vec<Choice>, base: &ManifestFile) -> Vec<Group> {
    let len_of = |entry: u32| base.file_of(entry).map_or(0, |(len, ..)| len);
    let mut out: Vec<Group> = Vec::new();
    for choice in choices {
        let base_len = choice.base.map_or(0, len_of);
        let fits =
            |group: &Group| group.target_bytes + choice.target_len <= TARGET_BYTES && group.base_bytes + base_len <= BASE_BYTES;
        if !out.last().is_some_and(fits) {
            out.push(Group::default());
        }
        let Some(group) = out.last_mut() else { continue };
        group.targets.push(choice.target);
        group.target_bytes += choice.target_len;
        if let Some(base) = choice.base.filter(|base| !group.bases.contains(base)) {
            group.bases.push(base);
            group.base_bytes += base_len;
        }
    }
    out
}
