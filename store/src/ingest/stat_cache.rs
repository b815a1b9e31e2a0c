//! The stat cache: what each file was like when it was last read, so that an unchanged one is not read again.
//!
//! A hint, not a record: a cache that is absent, damaged or of another version is an empty cache.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::contents::Content;
use super::source::FileStat;
use super::tree::Tree;
use crate::chunk::fields;
use crate::error::{At, Result};
use crate::fsx;
use crate::id::FileDigest;
use crate::manifest::path::{PATH_BYTES_MAX, compare_paths};

/// BLAKE3 context string of the checksum.
const CONTEXT: &str = "consign 2026-11 v1 stat cache";
const MAGIC: [u8; 4] = *b"CNSC";
const HEADER_BYTES: usize = 56;
/// Bytes of a line before its path.
const LINE_FIXED_BYTES: usize = 72;
/// A file changed later than this before the scan began may be changed again without its times showing it, nanoseconds.
const RACY_NANOS: i128 = 2_000_000_000;

/// Reads a stat cache in path order, in constant memory.
pub(super) struct StatCache {
    lines: Option<BufReader<File>>,
    left: u64,
    path: String,
    stat: FileStat,
    content: Content,
}

impl StatCache {
    /// A cache that knows nothing.
    pub fn empty() -> Self {
        let stat = FileStat { size: 0, mtime: 0, ctime: 0, ino: 0 };
        let content = Content { digest: FileDigest::empty(), chunks: 0 };
        Self { lines: None, left: 0, path: String::new(), stat, content }
    }

    /// Opens the cache at `path`.
    pub fn open(path: &Path) -> Self {
        let mut cache = Self::empty();
        if let Some((lines, count)) = checked(path) {
            cache.lines = Some(lines);
            cache.left = count;
            cache.advance();
        }
        cache
    }

    /// Says what the file at `path` held if its attributes are as recorded; asked in ascending path order.
    pub fn lookup(&mut self, path: &str, stat: &FileStat) -> Option<Content> {
        while self.lines.is_some() && compare_paths(&self.path, path).is_lt() {
            self.advance();
        }
        (self.lines.is_some() && self.path == path && self.stat == *stat).then_some(self.content)
    }

    /// Reads the next line; nothing more after the last or a bad one.
    fn advance(&mut self) {
        if self.left == 0 || self.read_line().is_none() {
            self.lines = None;
        }
        self.left = self.left.saturating_sub(1);
    }

    fn read_line(&mut self) -> Option<()> {
        let lines = self.lines.as_mut()?;
        let mut line = [0; LINE_FIXED_BYTES];
        lines.read_exact(&mut line).ok()?;
        let long = |at: usize| line[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let path_len = usize::from(u16::from_le_bytes([line[0], line[1]]));
        let chunks = u32::from_le_bytes([line[4], line[5], line[6], line[7]]);
        self.stat = FileStat { size: long(8)?, mtime: long(16)?.cast_signed(), ctime: long(24)?.cast_signed(), ino: long(32)? };
        self.content = Content { digest: FileDigest(line[40..].try_into().ok()?), chunks };
        let mut path = std::mem::take(&mut self.path).into_bytes();
        path.resize(path_len.min(PATH_BYTES_MAX), 0);
        lines.read_exact(&mut path).ok()?;
        self.path = String::from_utf8(path).ok()?;
        Some(())
    }
}

/// Opens the file and checks it whole; gives its lines and their count.
fn checked(path: &Path) -> Option<(BufReader<File>, u64)> {
    let mut file = File::open(path).ok()?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header).ok()?;
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&header[..24]);
    hasher.update_reader(&mut file).ok()?;
    if header[..16] != fixed_header() || header[24..] != *hasher.finalize().as_bytes() {
        return None;
    }
    let count = u64::from_le_bytes(header[16..24].try_into().ok()?);
    file.seek(SeekFrom::Start(HEADER_BYTES as u64)).ok()?;
    Some((BufReader::with_capacity(256 << 10, file), count))
}

fn fixed_header() -> [u8; 16] {
    let mut header = [0; 16];
    header[..12].copy_from_slice(&fields::start(MAGIC, 0));
    header
}

/// Writes what `tree` read to `path`, durably, leaving out files changed so lately before `now_unix_nanos` that their times prove nothing.
pub(super) fn write(path: &Path, tree: &Tree, now_unix_nanos: i128) -> Result<()> {
    let temp = fsx::temp_beside(path);
    let written = write_lines(&temp, tree, now_unix_nanos).and_then(|()| fsx::rename_durable(&temp, path));
    if written.is_err() {
        // Best effort: the error to report is the first one.
        let _ = std::fs::remove_file(&temp);
    }
    written
}

fn write_lines(temp: &Path, tree: &Tree, now_unix_nanos: i128) -> Result<()> {
    let settled = |stat: &FileStat| i128::from(stat.mtime.max(stat.ctime)) <= now_unix_nanos - RACY_NANOS;
    let lines = || {
        (0..tree.items.len()).filter_map(|number| {
            let stat = tree.items.stat(number).filter(|stat| settled(stat))?;
            Some((number, stat, tree.content(number)?))
        })
    };
    let mut header = [0; HEADER_BYTES];
    header[..16].copy_from_slice(&fixed_header());
    header[16..24].copy_from_slice(&(lines().count() as u64).to_le_bytes());
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&header[..24]);
    let mut out = BufWriter::with_capacity(256 << 10, File::create(temp).at("create", temp)?);
    out.write_all(&header).at("write", temp)?;
    for (number, stat, content) in lines() {
        let path = tree.items.path(number).as_bytes();
        let path_len = u16::try_from(path.len()).expect("a path has at most 4096 bytes");
        let mut line = [0; LINE_FIXED_BYTES];
        line[..2].copy_from_slice(&path_len.to_le_bytes());
        line[2..4].copy_from_slice(&tree.items.mode(number).to_le_bytes());
        line[4..8].copy_from_slice(&content.chunks.to_le_bytes());
        line[8..16].copy_from_slice(&stat.size.to_le_bytes());
        line[16..24].copy_from_slice(&stat.mtime.to_le_bytes());
        line[24..32].copy_from_slice(&stat.ctime.to_le_bytes());
        line[32..40].copy_from_slice(&stat.ino.to_le_bytes());
        line[40..].copy_from_slice(content.digest.as_bytes());
        for part in [&line[..], path] {
            hasher.update(part);
            out.write_all(part).at("write", temp)?;
        }
    }
    let mut file = out.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", temp)?;
    file.seek(SeekFrom::Start(24)).at("write", temp)?;
    file.write_all(hasher.finalize().as_bytes()).at("write", temp)?;
    file.sync_all().at("sync", temp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::contents::ContentsWriter;
    use crate::ingest::items::ItemsWriter;
    use crate::ingest::walk::{Found, FoundKind};

    const STAT: FileStat = FileStat { size: 300_000, mtime: 1_700_000_000_123_456_789, ctime: -1, ino: 0x0123_4567_89ab_cdef };

    #[test]
    fn golden_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (mut items, mut contents) = (ItemsWriter::in_folder(dir.path()), ContentsWriter::in_folder(dir.path()));
        let later = FileStat { mtime: 2_000_000_000_000_000_000, ..STAT };
        let found = [
            ("folder", 0o755, FoundKind::Folder),
            ("folder/file", 0o644, FoundKind::File(STAT)),
            ("folder/file-changed-just-now", 0o644, FoundKind::File(later)),
            ("folder/ä", 0o755, FoundKind::File(FileStat { size: 0, ..STAT })),
        ];
        for (path, mode, kind) in found {
            items.push(&Found { path, mode, kind }).unwrap();
        }
        let content = Content { digest: FileDigest([7; 32]), chunks: 5 };
        let empty = Content { digest: FileDigest::empty(), chunks: 0 };
        for (item, content) in [(3, empty), (1, content), (2, content)] {
            contents.push(item, content).unwrap();
        }
        let (items, read) = (items.finish().unwrap(), contents.finish(dir.path()).unwrap());
        let tree = Tree { items, read, ..Tree::default() };
        let path = dir.path().join("stat-cache");
        write(&path, &tree, i128::from(later.mtime)).unwrap();
        crate::golden::assert_same("stat-cache-v1.bin", &path);

        let mut cache = StatCache::open(&crate::golden::path("stat-cache-v1.bin"));
        assert_eq!(cache.lookup("folder/file", &STAT), Some(content));
        assert_eq!(cache.lookup("folder/file-changed-just-now", &later), None);
        assert_eq!(cache.lookup("folder/ä", &FileStat { size: 0, ..STAT }), Some(empty));
    }

    #[test]
    fn a_damaged_byte_anywhere_means_that_nothing_is_known() {
        let good = std::fs::read(crate::golden::path("stat-cache-v1.bin")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stat-cache");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(StatCache::open(&path).lookup("folder/file", &STAT), None, "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert_eq!(StatCache::open(&path).lookup("folder/file", &STAT), None, "cut at {at}");
        }
    }
}
