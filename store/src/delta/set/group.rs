//! Which changed files share a patch.

use super::choose::Choice;
use super::content::Version;

/// Raw target bytes after which a group is full: what is lost when a patch turns out useless.
const TARGET_BYTES: u64 = 32 << 20;
/// Raw base bytes after which a group is full.
const BASE_BYTES: u64 = 48 << 20;
/// Longest file that is patched as a whole, or that whole files are made of: a larger one is patched in parts. The index of its places is
/// still dense enough, and one model learns from all of it.
const WHOLE_BYTES_MAX: u64 = 128 << 20;

/// What patches are made for together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Files that share a patch.
    Files(Files),
    /// A file that is patched in parts, from one that is read in parts.
    Large {
        /// Entry number in the target.
        target: u32,
        /// Entry number in the base.
        base: u32,
    },
}

/// Files that share a patch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) targets: Vec<u32>,
    pub(super) bases: Vec<u32>,
    target_bytes: u64,
    base_bytes: u64,
}

/// Groups `choices` in their order; a file that is larger than a group is one by itself. A large file that nothing is like is left out.
pub(super) fn groups(choices: Vec<Choice>, base: Version<'_>) -> Vec<Group> {
    let mut out: Vec<Group> = Vec::new();
    let mut open = Files::default();
    for choice in choices {
        let base_len = choice.base.map_or(0, |entry| base.len(entry));
        if choice.target_len.max(base_len) > WHOLE_BYTES_MAX {
            out.extend(choice.base.map(|base| Group::Large { target: choice.target, base }));
            continue;
        }
        let fits = open.target_bytes + choice.target_len <= TARGET_BYTES && open.base_bytes + base_len <= BASE_BYTES;
        if !fits && !open.targets.is_empty() {
            out.push(Group::Files(std::mem::take(&mut open)));
        }
        open.targets.push(choice.target);
        open.target_bytes += choice.target_len;
        if let Some(base) = choice.base.filter(|base| !open.bases.contains(base)) {
            open.bases.push(base);
            open.base_bytes += base_len;
        }
    }
    if !open.targets.is_empty() {
        out.push(Group::Files(open));
    }
    out
}
