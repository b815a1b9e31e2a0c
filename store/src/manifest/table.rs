//! The chunk table: ordinal → chunk id and length, a mapped file beside the packs or in a staging folder; rebuildable.
//!
//! ```text
//! header (80 bytes): magic "CNCT" | u16 major | u8 hash | u8 zero | u16 required | u16 optional | u32 lines
//!                    | 32 manifest id | 16 body checksum | 16 header checksum
//! body: lines of 36 bytes: 32 chunk id | u32 raw length (all ones: unknown line)
//! ```

use std::fs::{self, File};
use std::path::Path;

use bytes::Bytes;

use crate::chunk::fields;
use crate::chunk::record::ChunkLine;
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::{ChunkId, FileDigest};
use crate::lines::LinesWriter;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::Layout;
use crate::manifest::recipe;
use crate::map::{ReadOnlyMap, is_resident};

const MAGIC: [u8; 4] = *b"CNCT";
const HEADER_BYTES: usize = 80;
const CHECKED_HEADER_BYTES: usize = HEADER_BYTES - 16;
const LINE_BYTES: usize = 36;
const LEN_UNKNOWN: u32 = u32::MAX;
const HEADER_CONTEXT: &str = "consign 2026-11 v1 chunk table header";
const BODY_CONTEXT: &str = "consign 2026-11 v1 chunk table body";

/// The chunks of one version by ordinal; 36 bytes each, in a file, not in memory.
#[derive(Debug)]
pub struct ChunkTable {
    map: ReadOnlyMap,
    len: u32,
}

impl ChunkTable {
    /// Builds the table of `manifest` at `path` (temporary name, then rename), taking recipe pages from `page`; files for which `wanted`
    /// (entry number) is false and that have a recipe get unknown lines.
    ///
    /// The file is not synced: it can always be built again, and [`ChunkTable::open`] notices what a power cut did to it.
    ///
    /// # Errors
    /// What `page` returns, damage, I/O.
    pub fn build(
        path: &Path,
        manifest: &ManifestFile,
        layout: &Layout,
        wanted: &dyn Fn(u32) -> bool,
        page: &mut dyn FnMut(ChunkId) -> Result<Bytes>,
    ) -> Result<Self> {
        let temp = fsx::temp_beside(path);
        let built = write_table(&temp, path, manifest, layout, wanted, page)
            .and_then(|()| fs::rename(&temp, path).at("rename to", path))
            .and_then(|()| Self::open_unchecked(path, layout.chunks()));
        if built.is_err() {
            let _ = fs::remove_file(&temp); // already failing: the first error is the one to tell
        }
        built
    }

    /// Opens a table built before for the same manifest (its header names it and carries a checksum).
    ///
    /// # Errors
    /// Damaged or I/O; build it again.
    pub fn open(path: &Path, manifest: &ManifestFile) -> Result<Self> {
        let chunks = manifest.totals().chunks;
        let len = u32::try_from(chunks).map_err(|_| damaged(path, "its manifest has too many chunks"))?;
        let table = Self::open_unchecked(path, len)?;
        let header = &table.map[..HEADER_BYTES];
        if fields::sum(HEADER_CONTEXT, &[&header[..CHECKED_HEADER_BYTES]]) != header[CHECKED_HEADER_BYTES..] {
            return Err(damaged(path, "its header checksum differs"));
        }
        if header[..CHECKED_HEADER_BYTES] != header_of(manifest, len, &header[48..64]) {
            return Err(damaged(path, "it is of another version or manifest"));
        }
        if fields::sum(BODY_CONTEXT, &[&table.map[HEADER_BYTES..]]) != header[48..64] {
            return Err(damaged(path, "its checksum differs"));
        }
        Ok(table)
    }

    /// Maps a table whose length must be that of `len` lines.
    fn open_unchecked(path: &Path, len: u32) -> Result<Self> {
        let map = File::open(path).and_then(|file| ReadOnlyMap::open(&file)).at("open", path)?;
        if map.len() != HEADER_BYTES + len as usize * LINE_BYTES {
            return Err(damaged(path, "its length is not that of its lines"));
        }
        Ok(Self { map, len })
    }

    /// Returns the chunk at `ordinal`; `None` if it is out of range or unknown.
    #[must_use]
    pub fn line(&self, ordinal: u32) -> Option<ChunkLine> {
        let start = HEADER_BYTES + ordinal as usize * LINE_BYTES;
        let line = self.map.get(start..start + LINE_BYTES)?;
        let (id, len) = line.split_at(32);
        let len = u32::from_le_bytes(len.try_into().ok()?);
        (len != LEN_UNKNOWN).then_some(ChunkLine { id: ChunkId::from_slice(id)?, len })
    }

    /// Says whether the lines from `ordinal` on, `count` of them or as many as there are, are in memory.
    pub(crate) fn is_resident(&self, ordinal: u32, count: usize) -> bool {
        let start = (HEADER_BYTES + ordinal as usize * LINE_BYTES).min(self.map.len());
        is_resident(&self.map[start..(start + count * LINE_BYTES).min(self.map.len())])
    }

    /// Number of ordinals.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Says whether there is no chunk at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes the whole table to `temp`; errors speak of `path`.
fn write_table(
    temp: &Path,
    path: &Path,
    manifest: &ManifestFile,
    layout: &Layout,
    wanted: &dyn Fn(u32) -> bool,
    page: &mut dyn FnMut(ChunkId) -> Result<Bytes>,
) -> Result<()> {
    let file = File::create(temp).at("create", path)?;
    let body = LinesWriter::begin(file, HEADER_BYTES, blake3::Hasher::new_derive_key(BODY_CONTEXT));
    let mut body = body.at("write", path)?;
    let mut push = |id: ChunkId, len: u32| {
        let mut line = [0; LINE_BYTES];
        line[..32].copy_from_slice(id.as_bytes());
        line[32..].copy_from_slice(&len.to_le_bytes());
        body.push(&line).at("write", path)
    };
    for placed in layout.files() {
        let Some((size, digest, chunks)) = manifest.file_of(placed.entry) else { continue };
        match chunks {
            0 => {}
            1 => push(ChunkId::from(digest), single_len(size, path)?)?,
            _ if !wanted(placed.entry) => {
                (0..chunks).try_for_each(|_| push(ChunkId::from(FileDigest([0; 32])), LEN_UNKNOWN))?;
            }
            _ => recipe::walk(digest, size, chunks, page, &mut |line| push(line.id, line.len))?,
        }
    }
    let header = |hash: blake3::Hash| {
        let sum: [u8; fields::SUM_BYTES] = fields::array_at(hash.as_bytes(), 0);
        let mut header = header_of(manifest, layout.chunks(), &sum).to_vec();
        header.extend(fields::sum(HEADER_CONTEXT, &[&header]));
        header
    };
    body.finish(header).at("write", path)
}

/// The length of a file's only chunk.
fn single_len(size: u64, path: &Path) -> Result<u32> {
    u32::try_from(size).map_err(|_| damaged(path, "a file of one chunk is too long"))
}

/// The part of the header that its checksum covers.
fn header_of(manifest: &ManifestFile, lines: u32, body_checksum: &[u8]) -> [u8; CHECKED_HEADER_BYTES] {
    let mut header = [0; CHECKED_HEADER_BYTES];
    header[..12].copy_from_slice(&fields::start(MAGIC, 0));
    header[12..16].copy_from_slice(&lines.to_le_bytes());
    header[16..48].copy_from_slice(manifest.id().as_bytes());
    header[48..64].copy_from_slice(body_checksum);
    header
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::damaged(format!("chunk table {}", path.display()), why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ManifestId;

    #[test]
    fn golden_bytes() {
        let path = crate::golden::path("manifest-v1.bin");
        let id = ManifestId::from(FileDigest::from(ChunkId::of_content(&fs::read(&path).unwrap())));
        let manifest = ManifestFile::open(&path, id).unwrap();
        let layout = Layout::of(&manifest).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        // The one file with a recipe is not wanted: its lines are unknown.
        let mut page = |id| Err(Error::NoChunk(id));
        ChunkTable::build(&path, &manifest, &layout, &|_| false, &mut page).unwrap();
        crate::golden::assert_same("chunk-table-v1.bin", &path);

        let table = ChunkTable::open(&crate::golden::path("chunk-table-v1.bin"), &manifest).unwrap();
        let lens: Vec<_> = (0..table.len()).map(|ordinal| table.line(ordinal).map(|line| line.len)).collect();
        assert_eq!(lens.iter().flatten().sum::<u32>(), 21);
        assert_eq!(lens.iter().filter(|len| len.is_none()).count(), 3);
    }
}
