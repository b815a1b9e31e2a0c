//! Which chunks are still needed, and where: found by id, in 12 bytes a place, of which only a fixed part is in memory.

use std::ops::Range;
use std::path::Path;

use crate::error::Result;
use crate::id::ChunkId;
use crate::manifest::table::ChunkTable;
use crate::spill::Keyed;

use super::bits::Bits;

/// The places (ordinals) that lacked their chunk when the set was made, by the first 8 bytes of the chunk's id.
#[derive(Debug, Default)]
pub(super) struct Needed(Keyed);

impl Needed {
    /// Collects the known ordinals of `table` that are not in `have`; puts down what is much in `folder`.
    pub(super) fn of(table: &ChunkTable, have: &Bits, folder: &Path) -> Result<Self> {
        let missing = (0..table.len()).filter(|&ordinal| !have.has(ordinal));
        Keyed::of(missing.filter_map(|ordinal| Some((prefix(&table.line(ordinal)?.id), ordinal))), folder).map(Self)
    }

    /// Says whether no place is needed at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Iterates the places whose chunk has the id's first 8 bytes, ascending; the caller compares the rest.
    pub(super) fn places(&self, id: &ChunkId) -> impl Iterator<Item = u32> + '_ {
        self.0.numbers(prefix(id))
    }

    /// Iterates the first place of each distinct chunk that is still not in `have`, ascending.
    pub(super) fn missing(&self, table: &ChunkTable, have: &Bits) -> impl Iterator<Item = u32> {
        let none = self.is_empty();
        let lacking = (0..if none { 0 } else { table.len() }).filter(|&ordinal| !have.has(ordinal));
        lacking.filter(|&ordinal| {
            let Some(id) = table.line(ordinal).map(|line| line.id) else { return false };
            let same = |place: &u32| !have.has(*place) && table.line(*place).is_some_and(|line| line.id == id);
            self.places(&id).find(same) == Some(ordinal)
        })
    }
}

/// Joins ascending numbers into ranges.
pub(super) fn ranges_of(numbers: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    ranges
}

fn prefix(id: &ChunkId) -> u64 {
    u64::from_be_bytes(*id.as_bytes().first_chunk().expect("an id has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_join_into_ranges() {
        assert_eq!(ranges_of([]), vec![]);
        assert_eq!(ranges_of([3]), vec![3..4]);
        assert_eq!(ranges_of([0, 1, 2, 5, 7, 8]), vec![0..3, 5..6, 7..9]);
    }
}
