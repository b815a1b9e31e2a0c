//! Which chunks are still needed, and where: found by id, in 12 bytes a place.

use std::ops::Range;

use crate::id::ChunkId;
use crate::manifest::table::ChunkTable;

use super::bits::Bits;

/// The places (ordinals) that lacked their chunk when the set was made, by the first 8 bytes of the chunk's id.
#[derive(Debug, Default)]
pub(super) struct Needed(Vec<[u32; 3]>);

impl Needed {
    /// Collects the known ordinals of `table` that are not in `have`.
    pub(super) fn of(table: &ChunkTable, have: &Bits) -> Self {
        let missing = || (0..table.len()).filter(|&ordinal| !have.has(ordinal));
        let mut places = Vec::with_capacity(missing().count());
        places.extend(missing().filter_map(|ordinal| {
            let [high, low] = prefix(&table.line(ordinal)?.id);
            Some([high, low, ordinal])
        }));
        places.sort_unstable();
        Self(places)
    }

    /// Says whether no place is needed at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates the places whose chunk has the id's first 8 bytes, ascending; the caller compares the rest.
    pub(super) fn places(&self, id: &ChunkId) -> impl Iterator<Item = u32> + '_ {
        let [high, low] = prefix(id);
        let start = self.0.partition_point(|place| [place[0], place[1]] < [high, low]);
        self.0[start..].iter().take_while(move |place| place[..2] == [high, low]).map(|place| place[2])
    }

    /// Returns the first place of each distinct chunk that is still not in `have`, ascending.
    pub(super) fn missing(&self, table: &ChunkTable, have: &Bits) -> Vec<u32> {
        let mut out = Vec::new();
        for same in self.0.chunk_by(|a, b| a[..2] == b[..2]) {
            // Nearly always one id a prefix, but that is chance and not law.
            let mut ids: Vec<ChunkId> = Vec::new();
            for &[_, _, ordinal] in same.iter().filter(|place| !have.has(place[2])) {
                if let Some(line) = table.line(ordinal).filter(|line| !ids.contains(&line.id)) {
                    ids.push(line.id);
                    out.push(ordinal);
                }
            }
        }
        out.sort_unstable();
        out
    }
}

/// Joins ascending numbers into ranges.
pub(super) fn ranges_of(numbers: &[u32]) -> Vec<Range<u32>> {
    numbers.chunk_by(|a, b| a + 1 == *b).map(|run| run[0]..run[run.len() - 1] + 1).collect()
}

fn prefix(id: &ChunkId) -> [u32; 2] {
    let (high, rest) = id.as_bytes().split_first_chunk().expect("an id has 32 bytes");
    let low = rest.first_chunk().expect("an id has 32 bytes");
    [u32::from_be_bytes(*high), u32::from_be_bytes(*low)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_join_into_ranges() {
        assert_eq!(ranges_of(&[]), vec![]);
        assert_eq!(ranges_of(&[3]), vec![3..4]);
        assert_eq!(ranges_of(&[0, 1, 2, 5, 7, 8]), vec![0..3, 5..6, 7..9]);
    }
}
