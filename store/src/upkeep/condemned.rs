//! Condemned chunks: found dead, not yet swept. Whoever looks one up saves it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::file::Kind;
use crate::chunk::fields;
use crate::error::Result;
use crate::store::ChunkAt;

/// ```text
/// 0 pack u32   4 since i64   12 offset u32   16 ordinal u16
/// ```
const FILE: Kind = Kind { name: "condemned", magic: *b"CNCD", line_bytes: LINE_BYTES };
const LINE_BYTES: usize = 18;

/// A place in a pack as one number: offset of the record, then the ordinal; so places sort as the pack lies.
pub(super) type Place = u64;

/// Returns the place of a chunk in its pack.
pub(super) fn place(offset: u32, ordinal: u16) -> Place {
    u64::from(offset) << 16 | u64::from(ordinal)
}

/// Returns offset and ordinal of a place.
#[expect(clippy::cast_possible_truncation, reason = "a place is made of these two widths")]
pub(super) fn parts(place: Place) -> (u32, u16) {
    ((place >> 16) as u32, place as u16)
}

/// Chunks of one pack that were condemned together.
#[derive(Debug)]
pub(super) struct Batch {
    /// When, milliseconds since 1970, by the caller's clock.
    pub(super) since_millis: i64,
    /// The lease that was next: older ones may have looked the chunks up before.
    pub(super) next_lease: u64,
    pub(super) places: Places,
    /// A bit a place: looked up since.
    saved: Box<[AtomicU64]>,
}

/// Places of one pack, sorted; sharing them takes no room.
pub(super) type Places = Arc<Vec<Place>>;

impl Batch {
    pub(super) fn new(since_millis: i64, next_lease: u64, places: Places) -> Self {
        let saved = (0..places.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { since_millis, next_lease, places, saved }
    }

    fn is_saved(&self, at: usize) -> bool {
        self.saved[at / 64].load(Ordering::Acquire) & (1 << (at % 64)) != 0
    }

    /// Says whether the chunk at `place` is condemned, and not saved.
    pub(super) fn holds(&self, place: Place) -> bool {
        self.places.binary_search(&place).is_ok_and(|at| !self.is_saved(at))
    }

    fn save(&self, place: Place) {
        if let Ok(at) = self.places.binary_search(&place) {
            self.saved[at / 64].fetch_or(1 << (at % 64), Ordering::Release);
        }
    }

    /// Iterates what was saved.
    pub(super) fn saved(&self) -> impl Iterator<Item = Place> + '_ {
        let words = self.saved.iter().enumerate().map(|(word, bits)| (word * 64, bits.load(Ordering::Acquire)));
        let saved = words.flat_map(|(first, bits)| (0..64).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| first + bit));
        saved.map(|at| self.places[at])
    }
}

/// All condemned chunks of a store, by pack.
#[derive(Debug, Default)]
pub(crate) struct Condemned {
    pub(super) packs: BTreeMap<u32, Vec<Batch>>,
}

impl Condemned {
    /// Reads what an earlier process condemned, whose leases have ended; `false` if packs that `is_there` does not know were left out.
    pub(crate) fn load(store: &Path, is_there: impl Fn(u32) -> bool) -> Result<(Self, bool)> {
        let mut condemned = Self::default();
        let mut whole = true;
        let bytes = FILE.read(store)?;
        let (lines, _) = bytes.as_chunks::<LINE_BYTES>();
        for lines in lines.chunk_by(|a, b| a[..12] == b[..12]) {
            let (pack, since_millis) = (fields::u32_at(&lines[0], 0), i64::from_le_bytes(fields::array_at(&lines[0], 4)));
            if is_there(pack) {
                let mut places: Vec<_> =
                    lines.iter().map(|line| place(fields::u32_at(line, 12), fields::u16_at(line, 16))).collect();
                places.sort_unstable();
                condemned.packs.entry(pack).or_default().push(Batch::new(since_millis, 0, Arc::new(places)));
            } else {
                whole = false;
            }
        }
        Ok((condemned, whole))
    }

    /// Writes what is condemned and not saved, durably.
    pub(crate) fn store(&self, store: &Path) -> Result<()> {
        // As it is now: others go on saving.
        let batches: Vec<_> =
            self.packs.iter().flat_map(|(pack, batches)| batches.iter().map(move |batch| (pack, batch))).collect();
        let saved: Vec<Vec<_>> =
            batches.iter().map(|(_, batch)| batch.saved.iter().map(|bits| bits.load(Ordering::Acquire)).collect()).collect();
        let count = self.len() - saved.iter().flatten().map(|bits: &u64| bits.count_ones() as usize).sum::<usize>();
        FILE.write_lines(store, count, &mut |put| {
            for ((pack, batch), saved) in batches.iter().zip(&saved) {
                let unsaved = batch.places.iter().enumerate().filter(|(at, _)| saved[at / 64] & (1 << (at % 64)) == 0);
                for (offset, ordinal) in unsaved.map(|(_, place)| parts(*place)) {
                    let mut line = [0; LINE_BYTES];
                    line[..4].copy_from_slice(&pack.to_le_bytes());
                    line[4..12].copy_from_slice(&batch.since_millis.to_le_bytes());
                    line[12..16].copy_from_slice(&offset.to_le_bytes());
                    line[16..].copy_from_slice(&ordinal.to_le_bytes());
                    put(&line)?;
                }
            }
            Ok(())
        })
    }

    /// Number of condemned chunks, saved ones included.
    pub(super) fn len(&self) -> usize {
        self.packs.values().flatten().map(|batch| batch.places.len()).sum()
    }

    /// Saves the chunk at `at`, if it is condemned: somebody has looked it up.
    pub(crate) fn save(&self, at: ChunkAt) {
        for batch in self.batches(at.record.pack) {
            batch.save(place(at.record.offset, at.ordinal));
        }
    }

    pub(super) fn batches(&self, pack: u32) -> &[Batch] {
        self.packs.get(&pack).map_or(&[], Vec::as_slice)
    }

    /// Takes over what was saved in `older` meanwhile, among what `is_older`: of what is condemned only now, those who looked it up before hold
    /// an older lease.
    pub(super) fn inherit(&self, older: &Self, is_older: impl Fn(&Batch) -> bool) {
        for (&pack, batches) in &older.packs {
            for place in batches.iter().flat_map(Batch::saved) {
                self.batches(pack).iter().filter(|batch| is_older(batch)).for_each(|batch| batch.save(place));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RecordAt;

    fn at(pack: u32, offset: u32, ordinal: u16) -> ChunkAt {
        ChunkAt { record: RecordAt { pack, offset }, ordinal }
    }

    #[test]
    fn golden_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut condemned = Condemned::default();
        condemned.packs.insert(3, vec![Batch::new(-5, 9, vec![place(32, 0), place(u32::MAX, u16::MAX)].into())]);
        condemned.packs.insert(4, vec![Batch::new(1_800_000_000_000, 9, vec![place(32, 0)].into())]);
        condemned.store(dir.path()).unwrap();
        crate::golden::assert_same("condemned-v1.bin", &dir.path().join("upkeep/condemned"));
    }

    #[test]
    fn what_is_condemned_outlives_the_process_and_what_is_saved_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut condemned = Condemned::default();
        let places = vec![place(32, 0), place(32, 7), place(u32::MAX, u16::MAX)];
        condemned.packs.insert(3, vec![Batch::new(-5, 9, places.into()), Batch::new(8, 9, vec![place(64, 1)].into())]);
        condemned.packs.insert(4, vec![Batch::new(1, 9, vec![place(32, 0)].into())]);
        condemned.save(at(3, 32, 7));
        condemned.save(at(3, 33, 7));
        condemned.store(dir.path()).unwrap();
        let (loaded, whole) = Condemned::load(dir.path(), |pack| pack != 4).unwrap();
        assert!(!whole);
        assert_eq!(loaded.packs.len(), 1);
        let batches = loaded.batches(3);
        assert_eq!((batches[0].since_millis, batches[0].next_lease), (-5, 0));
        assert_eq!(*batches[0].places, [place(32, 0), place(u32::MAX, u16::MAX)]);
        assert!(batches[1].holds(place(64, 1)));
        assert_eq!(parts(place(u32::MAX, 5)), (u32::MAX, 5));
        Condemned::default().store(dir.path()).unwrap();
        assert!(Condemned::load(dir.path(), |_| true).unwrap().0.packs.is_empty());
    }

    #[test]
    fn every_damaged_byte_of_the_file_means_that_nothing_is_condemned() {
        let dir = tempfile::tempdir().unwrap();
        let mut condemned = Condemned::default();
        condemned.packs.insert(3, vec![Batch::new(1, 0, vec![place(32, 0)].into())]);
        condemned.store(dir.path()).unwrap();
        let path = dir.path().join("upkeep/condemned");
        let good = std::fs::read(&path).unwrap();
        for byte in 0..good.len() {
            let mut bytes = good.clone();
            bytes[byte] ^= 4;
            std::fs::write(&path, bytes).unwrap();
            assert!(Condemned::load(dir.path(), |_| true).map_or(true, |(loaded, _)| loaded.packs.is_empty()), "byte {byte}");
        }
    }
}
