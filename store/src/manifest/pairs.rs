//! Which entries of two versions stand at the same path, and which of those are the same: found in one walk that decodes only what differs.

use std::cmp::Ordering;

use super::file::ManifestFile;
use super::path::compare_paths;

/// Marks an entry of the new version without one in the old; entry numbers stay below 2³¹.
const NONE: u32 = u32::MAX;
/// Set where both entries are the same in everything.
const SAME: u32 = 1 << 31;

/// An entry of the old version at the path of one of the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twin {
    /// Its number.
    pub number: u32,
    /// It is the same in everything: kind, content, target, attributes.
    pub same: bool,
}

/// Two versions side by side; four bytes an entry of the new one.
#[derive(Debug)]
pub struct Pairs {
    /// By entry number of the new version.
    twins: Vec<u32>,
    /// Entries of the old version whose path the new one has not, ascending.
    gone: Vec<u32>,
}

impl Pairs {
    /// Compares two versions.
    #[must_use]
    pub fn of(old: &ManifestFile, new: &ManifestFile) -> Self {
        let (mut at, end) = (0, old.numbers().end);
        let mut pairs = Self { twins: Vec::with_capacity(new.numbers().len()), gone: Vec::new() };
        for number in new.numbers() {
            if at < end && old.same_bytes(at, new, number) {
                pairs.twins.push(at | SAME);
                at += 1;
                continue;
            }
            let path = new.path_of(number);
            let mut twin = NONE;
            while at < end && twin == NONE {
                match compare_paths(old.path_of(at), path) {
                    Ordering::Less => pairs.gone.push(at),
                    Ordering::Equal => twin = if old.is_same(at, new, number) { at | SAME } else { at },
                    Ordering::Greater => break,
                }
                at += 1;
            }
            pairs.twins.push(twin);
        }
        pairs.gone.extend(at..end);
        pairs
    }

    /// Finds the old entry at the path of entry `number` of the new version.
    #[must_use]
    pub fn twin(&self, number: u32) -> Option<Twin> {
        let twin = *self.twins.get(number as usize)?;
        (twin != NONE).then_some(Twin { number: twin & !SAME, same: twin & SAME != 0 })
    }

    /// Iterates the entries of the new version that the old one has not in the same way, ascending.
    pub fn changed(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..).zip(&self.twins).filter(|(_, twin)| **twin == NONE || **twin & SAME == 0).map(|(number, _)| number)
    }

    /// The entries of the old version whose path the new one has not, ascending.
    #[must_use]
    pub fn gone(&self) -> &[u32] {
        &self.gone
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::ChunkKind;
    use crate::id::FileDigest;
    use crate::manifest::entry::{Attributes, Entry, EntryKind, LINK_MODE, LinkTarget};
    use crate::manifest::path::SafePath;
    use crate::manifest::testing::manifest_of;

    /// A version of entries at the top: name, and what stands there.
    fn manifest(entries: &[(u16, u8)]) -> (tempfile::TempDir, ManifestFile) {
        manifest_of(entries.iter().map(|(name, what)| {
            let path = SafePath::parse(format!("{name:05}").as_bytes()).unwrap();
            let kind = match what {
                0 => EntryKind::Folder,
                1 | 2 => EntryKind::Symlink { target: LinkTarget::parse(&path, what.to_string().as_bytes()).unwrap() },
                what => EntryKind::File { size: 1, digest: FileDigest::from(ChunkKind::Content.id_of(&[what / 2])), chunks: 1 },
            };
            let link = matches!(kind, EntryKind::Symlink { .. });
            let mode = if link { LINK_MODE } else { 0o644 | u16::from(what % 2) };
            Entry { path, kind, attributes: Attributes { mode } }
        }))
    }

    proptest! {
        /// Against the same found entry by entry; enough entries that blocks end between them.
        #[test]
        fn pairs_are_what_looking_each_up_finds(
            old in prop::collection::btree_map(0_u16..600, 0_u8..8, 0..600),
            change in prop::collection::btree_map(0_u16..600, prop::option::of(0_u8..8), 0..40),
        ) {
            let mut new = old.clone();
            for (name, what) in change {
                match what {
                    Some(what) => new.insert(name, what),
                    None => new.remove(&name),
                };
            }
            let list = |map: std::collections::BTreeMap<u16, u8>| map.into_iter().collect::<Vec<_>>();
            let ((_a, old), (_b, new)) = (manifest(&list(old)), manifest(&list(new)));
            let pairs = Pairs::of(&old, &new);
            let twin = |number| {
                let number_of_old = old.find(new.path_of(number))?;
                Some(Twin { number: number_of_old, same: old.entry(number_of_old) == new.entry(number) })
            };
            for number in new.numbers() {
                prop_assert_eq!(pairs.twin(number), twin(number));
            }
            let gone: Vec<_> = old.numbers().filter(|number| new.find(old.path_of(*number)).is_none()).collect();
            prop_assert_eq!(pairs.gone(), gone);
            let changed: Vec<_> = new.numbers().filter(|number| !twin(*number).is_some_and(|twin| twin.same)).collect();
            prop_assert_eq!(pairs.changed().collect::<Vec<_>>(), changed);
        }
    }
}
