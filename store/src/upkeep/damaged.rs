//! What a scrub found damaged: chunks that are missing until they are stored anew.

use std::collections::BTreeSet;
use std::path::Path;

use super::file::Kind;
use crate::chunk::fields;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::store::{ChunkAt, RecordAt};

/// Most damaged chunks that are kept in mind.
const DAMAGED_CHUNKS_MAX: usize = 1 << 20;

/// ```text
/// 0 id ×32   32 pack u32   36 offset u32   40 ordinal u16
/// ```
const FILE: Kind = Kind { name: "damaged", magic: *b"CNDM", line_bytes: 42 };

/// A chunk that cannot be had, and where it lies damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedChunk {
    /// The chunk.
    pub id: ChunkId,
    /// Where it was found until then.
    pub at: ChunkAt,
}

/// All chunks found damaged in packs that are there; those that were stored anew are among them.
#[derive(Debug, Default)]
pub(crate) struct Damaged {
    pub(super) chunks: Vec<DamagedChunk>,
}

impl Damaged {
    /// Reads what was found earlier; `false` if packs that `is_there` does not know were left out.
    pub(crate) fn load(store: &Path, is_there: impl Fn(u32) -> bool) -> Result<(Self, bool)> {
        let chunk = |line: &[u8]| DamagedChunk {
            id: ChunkId(fields::array_at(line, 0)),
            at: ChunkAt {
                record: RecordAt { pack: fields::u32_at(line, 32), offset: fields::u32_at(line, 36) },
                ordinal: fields::u16_at(line, 40),
            },
        };
        let bytes = FILE.read(store)?;
        let mut chunks: Vec<_> = bytes.chunks_exact(FILE.line_bytes).map(chunk).collect();
        let all = chunks.len();
        chunks.retain(|chunk| is_there(chunk.at.record.pack));
        let whole = chunks.len() == all;
        Ok((Self { chunks }, whole))
    }

    /// Writes all of it, durably.
    pub(crate) fn store(&self, store: &Path) -> Result<()> {
        let mut lines = Vec::with_capacity(self.chunks.len() * FILE.line_bytes);
        for DamagedChunk { id, at } in &self.chunks {
            lines.extend_from_slice(id.as_bytes());
            lines.extend_from_slice(&at.record.pack.to_le_bytes());
            lines.extend_from_slice(&at.record.offset.to_le_bytes());
            lines.extend_from_slice(&at.ordinal.to_le_bytes());
        }
        FILE.write(store, &lines)
    }

    /// The records concerned.
    pub(crate) fn records(&self) -> BTreeSet<RecordAt> {
        self.chunks.iter().map(|chunk| chunk.at.record).collect()
    }

    pub(crate) fn add(&mut self, found: &[DamagedChunk]) -> Result<()> {
        if self.chunks.len() + found.len() > DAMAGED_CHUNKS_MAX {
            let limit = format!("{DAMAGED_CHUNKS_MAX}; replace the disk and restore the store from another");
            return Err(Error::Limit { what: "the number of damaged chunks".to_owned(), limit });
        }
        self.chunks.extend_from_slice(found);
        Ok(())
    }

    /// Forgets what lies in `packs`; says whether there was anything.
    pub(crate) fn forget(&mut self, packs: &[u32]) -> bool {
        let before = self.chunks.len();
        self.chunks.retain(|chunk| !packs.contains(&chunk.at.record.pack));
        self.chunks.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let at = ChunkAt { record: RecordAt { pack: 3, offset: 0x0102_0304 }, ordinal: 5 };
        let damaged = Damaged { chunks: vec![DamagedChunk { id: ChunkId([9; 32]), at }] };
        damaged.store(dir.path()).unwrap();
        crate::golden::assert_same("damaged-v1.bin", &dir.path().join("upkeep/damaged"));
        assert_eq!(Damaged::load(dir.path(), |pack| pack == 3).unwrap().0.chunks, damaged.chunks);
    }
}
