//! Which parts of which packs an index part speaks for.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges of pack bytes whose records are in the index, by pack number; ascending, disjoint, joined where they touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Covers {
    packs: BTreeMap<u32, Vec<Range<u32>>>,
}

impl Covers {
    /// Adds `range` of pack `pack`.
    pub(crate) fn insert(&mut self, pack: u32, mut range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        let ranges = self.packs.entry(pack).or_default();
        ranges.retain(|there| {
            let touches = there.start <= range.end && range.start <= there.end;
            if touches {
                range = there.start.min(range.start)..there.end.max(range.end);
            }
            !touches
        });
        let at = ranges.partition_point(|there| there.start < range.start);
        ranges.insert(at, range);
    }

    /// Adds all of `other`.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (pack, range) in other.iter() {
            self.insert(pack, range);
        }
    }

    /// Iterates (pack, range), ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Range<u32>)> + '_ {
        self.packs.iter().flat_map(|(&pack, ranges)| ranges.iter().map(move |range| (pack, range.clone())))
    }

    /// Number of ranges.
    pub(crate) fn len(&self) -> usize {
        self.packs.values().map(Vec::len).sum()
    }

    /// Takes pack `pack` out.
    pub(crate) fn remove(&mut self, pack: u32) {
        self.packs.remove(&pack);
    }

    /// Returns the parts of `whole` of pack `pack` that are not covered.
    pub(crate) fn gaps(&self, pack: u32, whole: Range<u32>) -> Vec<Range<u32>> {
        let mut gaps = Vec::new();
        let mut at = whole.start;
        for range in self.packs.get(&pack).into_iter().flatten() {
            if range.start.min(whole.end) > at {
                gaps.push(at..range.start.min(whole.end));
            }
            at = at.max(range.end);
        }
        if at < whole.end {
            gaps.push(at..whole.end);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_gaps_are_what_is_left() {
        let mut covers = Covers::default();
        covers.insert(1, 50..60);
        covers.insert(1, 10..20);
        covers.insert(1, 20..30);
        covers.insert(1, 5..5);
        covers.insert(2, 0..1);
        assert_eq!(covers.iter().collect::<Vec<_>>(), [(1, 10..30), (1, 50..60), (2, 0..1)]);
        assert_eq!(covers.gaps(1, 0..70), [0..10, 30..50, 60..70]);
        assert_eq!(covers.gaps(1, 12..55), vec![30..50]);
        assert_eq!(covers.gaps(1, 0..5), vec![0..5]);
        assert_eq!(covers.gaps(3, 0..7), vec![0..7]);
        covers.insert(1, 25..55);
        assert_eq!(covers.gaps(1, 0..60), vec![0..10]);
    }

    #[test]
    fn a_pack_is_taken_out_whole() {
        let mut covers = Covers::default();
        covers.insert(1, 10..20);
        covers.insert(1, 30..40);
        covers.insert(2, 0..1);
        covers.remove(1);
        assert_eq!(covers.iter().collect::<Vec<_>>(), [(2, 0..1)]);
    }
}
