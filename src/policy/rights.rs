//! Who may read a package.

use crate::domain::CollectionId;

/// Says whether a machine of these collections may read a package with these readers.
#[must_use]
pub fn may_read(collections: &[CollectionId], readers: &[CollectionId], open: bool) -> bool {
    open || collections.iter().any(|collection| readers.contains(collection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_collection_or_openness_only() {
        let id = |n| CollectionId(uuid::Uuid::from_u128(n));
        let cases: [(&[u128], &[u128], bool, bool); 6] = [
            (&[], &[], false, false),
            (&[], &[], true, true),
            (&[1, 2], &[3], false, false),
            (&[1, 2], &[3, 2], false, true),
            (&[1], &[], false, false),
            (&[], &[1], false, false),
        ];
        for (collections, readers, open, expected) in cases {
            let ids = |list: &[u128]| list.iter().copied().map(id).collect::<Vec<_>>();
            assert_eq!(may_read(&ids(collections), &ids(readers), open), expected, "{collections:?} {readers:?} {open}");
        }
    }
}
