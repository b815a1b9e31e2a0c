//! Reading: files → verified chunks, comparing each file's attributes before and after.

use std::fs::File;
use std::io::{ErrorKind, Read};

use bytes::Bytes;

use super::source::{FileStat, Root};
use super::tree::Items;
use crate::chunk::{CHUNK_BYTES_MAX, ChunkKind, VerifiedChunk, cut};
use crate::error::{At, Result};

/// Largest file that is read whole, together with others, bytes.
pub(super) const SMALL_BYTES_MAX: u64 = 1 << 20;
/// What a larger file is read in, bytes.
pub(super) const SEGMENT_BYTES: usize = 4 << 20;

/// The end of a file in a [`Piece`].
pub(super) struct FileEnd {
    /// The file's item number.
    pub item: u32,
    /// How many of the piece's chunks lie before this end.
    pub chunks_before: usize,
    /// What had changed under the reader; the file's chunks are then worth nothing.
    pub change: Option<&'static str>,
}

/// What one reading step brought: chunks, and the ends of files among them.
#[derive(Default)]
pub(super) struct Piece {
    pub chunks: Vec<VerifiedChunk>,
    pub ends: Vec<FileEnd>,
}

impl Piece {
    /// Raw bytes of the chunks.
    pub fn raw_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes().len()).sum()
    }

    fn end(&mut self, item: u32, change: Option<&'static str>) {
        self.ends.push(FileEnd { item, chunks_before: self.chunks.len(), change });
    }
}

/// What the readers share.
pub(super) struct Source<'a> {
    pub root: &'a Root,
    pub items: &'a Items,
}

const GONE: &str = "it is gone";

impl Source<'_> {
    /// Size of a file as scanned.
    pub fn size(&self, item: u32) -> u64 {
        self.items.stat(item).map_or(0, |stat| stat.size)
    }

    /// Opens a file as scanned, or says what changed.
    fn open(&self, item: u32) -> Result<Result<(File, FileStat), &'static str>> {
        let Some((file, stat)) = self.root.file(self.items.path(item))? else { return Ok(Err(GONE)) };
        let change = self.items.stat(item).map_or(Some(GONE), |scanned| scanned.difference(&stat));
        Ok(change.map_or(Ok((file, stat)), Err))
    }

    /// Compares a file that has been read with what it was.
    fn change_of(&self, file: &File, before: &FileStat, item: u32) -> Result<Option<&'static str>> {
        Ok(before.difference(&self.root.restat(file, self.items.path(item))?))
    }

    /// Reads, cuts and hashes whole small files.
    pub fn read_small(&self, items: &[u32]) -> Result<Piece> {
        let mut buffer = Vec::with_capacity(usize::try_from(items.iter().map(|&item| self.size(item)).sum::<u64>()).unwrap_or(0));
        let mut ends = Vec::with_capacity(items.len());
        for &item in items {
            let start = buffer.len();
            let change = self.read_whole(item, &mut buffer)?;
            if change.is_some() {
                buffer.truncate(start);
            }
            ends.push((item, buffer.len(), change));
        }
        let bytes = Bytes::from(buffer);
        let mut piece = Piece { chunks: Vec::with_capacity(items.len()), ends: Vec::with_capacity(items.len()) };
        let mut start = 0;
        for (item, end, change) in ends {
            for range in cut::cut(&bytes[start..end]) {
                piece.chunks.push(VerifiedChunk::hash(ChunkKind::Content, bytes.slice(start + range.start..start + range.end)));
            }
            piece.end(item, change);
            start = end;
        }
        Ok(piece)
    }

    fn read_whole(&self, item: u32, buffer: &mut Vec<u8>) -> Result<Option<&'static str>> {
        let (mut file, before) = match self.open(item)? {
            Ok(opened) => opened,
            Err(change) => return Ok(Some(change)),
        };
        let len = usize::try_from(before.size).unwrap_or(0);
        if !self.read_exact(&mut file, item, buffer, len)? {
            return Ok(Some("it was cut short"));
        }
        self.change_of(&file, &before, item)
    }

    /// Appends the next `len` bytes of `file`; `false` if it ends before.
    fn read_exact(&self, file: &mut File, item: u32, buffer: &mut Vec<u8>, len: usize) -> Result<bool> {
        let start = buffer.len();
        buffer.resize(start + len, 0);
        match file.read_exact(&mut buffer[start..]) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            other => other.at("read", self.root.full(self.items.path(item))).map(|()| true),
        }
    }

    /// Begins a large file: the first step of [`Source::step`] opens it.
    pub fn begin_large(item: u32) -> LargeFile {
        LargeFile { item, open: None, rest: Vec::new(), at: 0 }
    }

    /// Reads, cuts and hashes the next segment of a large file; gives the file back unless that was its end.
    pub fn step(&self, mut large: LargeFile) -> Result<(Piece, Option<LargeFile>)> {
        let item = large.item;
        let mut piece = Piece::default();
        if large.open.is_none() {
            match self.open(item)? {
                Ok(opened) => large.open = Some(opened),
                Err(change) => piece.end(item, Some(change)),
            }
        }
        let Some((mut file, before)) = large.open.take() else { return Ok((piece, None)) };
        let len = usize::try_from(before.size - large.at).unwrap_or(usize::MAX).min(SEGMENT_BYTES);
        let mut buffer = Vec::with_capacity(large.rest.len() + len);
        buffer.append(&mut large.rest);
        if !self.read_exact(&mut file, item, &mut buffer, len)? {
            piece.end(item, Some("it was cut short"));
            return Ok((piece, None));
        }
        large.at += len as u64;
        let last = large.at == before.size;
        let bytes = Bytes::from(buffer);
        let mut start = 0;
        while start < bytes.len() && (last || bytes.len() - start >= CHUNK_BYTES_MAX) {
            let len = cut::first_cut(&bytes[start..], last);
            piece.chunks.push(VerifiedChunk::hash(ChunkKind::Content, bytes.slice(start..start + len)));
            start += len;
        }
        if last {
            piece.end(item, self.change_of(&file, &before, item)?);
            return Ok((piece, None));
        }
        large.rest = bytes[start..].to_vec();
        large.open = Some((file, before));
        Ok((piece, Some(large)))
    }
}

/// A large file between two segments.
pub(super) struct LargeFile {
    item: u32,
    open: Option<(File, FileStat)>,
    /// Bytes read that are not yet cut: fewer than the largest chunk.
    rest: Vec<u8>,
    /// How far the file has been read, bytes.
    at: u64,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use super::*;
    use crate::ingest::tree::Tree;

    const LEN: u64 = 3 * SEGMENT_BYTES as u64;

    /// Reads a file of three segments and calls `change` on it after the first; gives what its end says.
    fn read_while(change: impl FnOnce(&Path)) -> Option<&'static str> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("file");
        File::create(&at).unwrap().set_len(LEN).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let tree = Tree::of_file(&root, "file").unwrap();
        let source = Source { root: &root, items: &tree.items };
        let (first, mut large) = source.step(Source::begin_large(0)).unwrap();
        assert!(first.ends.is_empty() && !first.chunks.is_empty());
        change(&at);
        while let Some(next) = large {
            let (piece, more) = source.step(next).unwrap();
            if let Some(end) = piece.ends.first() {
                assert!(more.is_none());
                return end.change;
            }
            large = more;
        }
        Some("no end")
    }

    #[test]
    fn a_large_file_left_alone_ends_well() {
        assert_eq!(read_while(|_| {}), None);
    }

    #[test]
    fn a_large_file_that_changes_between_two_segments_is_noticed() {
        let append = |at: &Path| File::options().append(true).open(at).unwrap().write_all(b"more").unwrap();
        assert_eq!(read_while(append), Some("its size changed"));
        let truncate = |at: &Path| File::options().write(true).open(at).unwrap().set_len(LEN - 1).unwrap();
        assert_eq!(read_while(truncate), Some("it was cut short"));
        let overwrite = |at: &Path| {
            let file = File::options().write(true).open(at).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"other", 5).unwrap();
            // Some file systems stamp times so coarsely that two writes may share one.
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        assert_eq!(read_while(overwrite), Some("its times changed"));
        assert_eq!(read_while(|at| fs::remove_file(at).unwrap()), Some("its times changed"));
    }

    #[test]
    fn small_files_that_change_after_the_scan_are_noticed_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["calm", "gone", "grown", "link", "other"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let mut reads = Vec::new();
        for name in ["calm", "gone", "grown", "link", "other"] {
            reads.push((name, Tree::of_file(&root, name).unwrap()));
        }
        fs::remove_file(dir.path().join("gone")).unwrap();
        fs::write(dir.path().join("grown"), "grown larger").unwrap();
        fs::remove_file(dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("calm", dir.path().join("link")).unwrap();
        fs::write(dir.path().join("new"), "other").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("other")).unwrap();
        for (name, tree) in reads {
            let piece = Source { root: &root, items: &tree.items }.read_small(&[0]).unwrap();
            assert_eq!(piece.ends[0].change.is_some(), name != "calm", "{name}");
            assert_eq!(piece.chunks.len(), usize::from(name == "calm"), "{name}");
        }
    }
}
