//! Reading: files → verified chunks, comparing each file's attributes before and after.

use std::io::ErrorKind;
use std::ops::Range;

use super::items::Items;
use super::pool::{Buffer, Pool};
use super::segment::{
    CHUNK_HELD_BYTES, Claims, FoundChunk, Has, SEGMENT_BYTES, SEGMENT_READ_BYTES_MAX, Segment, detach_few, lacking_bytes,
};
use super::source::Root;
use crate::chunk::cut;
use crate::error::Result;
use crate::fsx;

/// Largest file that is read whole, together with others, bytes.
pub(super) const SMALL_BYTES_MAX: u64 = 1 << 20;

/// The end of a file in a [`Batch`].
pub(super) struct FileEnd {
    /// The file's item number.
    pub item: u32,
    /// How many of the batch's chunks lie before this end.
    pub chunks_before: usize,
    /// What had changed under the reader; the file's chunks are then worth nothing.
    pub change: Option<&'static str>,
}

/// Whole small files: their chunks, and the ends of files among them.
#[derive(Default)]
pub(super) struct Batch {
    pub chunks: Vec<FoundChunk>,
    pub ends: Vec<FileEnd>,
}

/// What one read task brought.
pub(super) enum Piece {
    /// Whole small files.
    Batch(Batch),
    /// Segment `number` of the large file `item`, or what had changed.
    Segment { item: u32, number: u64, segment: Result<Segment, &'static str> },
}

impl Piece {
    /// Bytes that are kept in memory for it.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => lacking_bytes(&batch.chunks) + batch.chunks.len() * CHUNK_HELD_BYTES,
            Self::Segment { segment, .. } => segment.as_ref().map_or(0, Segment::held_bytes),
        }
    }
}

/// What the readers share.
pub(super) struct Source<'a> {
    pub root: &'a Root,
    pub items: &'a Items,
    pub pool: Pool,
    /// Says which content need not be kept.
    pub has: &'a Has<'a>,
    /// Gives the chunks that a file is claimed to have, of those that begin in a range of its bytes.
    pub claims: &'a ClaimsOf<'a>,
}

/// See [`Source::claims`].
pub(super) type ClaimsOf<'a> = dyn Fn(u32, Range<u64>) -> Claims + Sync + 'a;

const GONE: &str = "it is gone";
const CUT_SHORT: &str = "it was cut short";

/// How many segments a large file has.
pub(super) fn segments_of(size: u64) -> u64 {
    size.div_ceil(SEGMENT_BYTES as u64)
}

impl Source<'_> {
    /// Size of a file as scanned.
    pub fn size(&self, item: u32) -> u64 {
        self.items.stat(item).map_or(0, |stat| stat.size)
    }

    /// Fills `buffer` with a file's bytes from `start` on, or says what has changed since the scan: one look behind the reading tells, as many small files
    /// cost little but system calls.
    fn fill(&self, item: u32, start: u64, buffer: &mut [u8]) -> Result<Option<&'static str>> {
        let path = self.items.path(item);
        let Some((scanned, file)) = self.items.stat(item).zip(self.root.open_any(path)?) else { return Ok(Some(GONE)) };
        let read = fsx::read_exact_at(&file, buffer, start);
        if let Some(change) = scanned.difference(&self.root.restat(&file, path)?) {
            return Ok(Some(change));
        }
        match read {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Some(CUT_SHORT)),
            other => self.root.named(other, "read", path).map(|()| None),
        }
    }

    /// Reads, cuts and hashes whole small files.
    pub fn read_small(&self, items: &[u32]) -> Result<Piece> {
        let bytes = items.iter().map(|&item| self.size(item)).sum::<u64>();
        let mut buffer = self.pool.take(usize::try_from(bytes).unwrap_or(0));
        let mut ends = Vec::with_capacity(items.len());
        let mut end = 0;
        for &item in items {
            let change = self.read_whole(item, &mut buffer, &mut end)?;
            ends.push((item, end, change));
        }
        let bytes = buffer.freeze();
        let mut batch = Batch { chunks: Vec::with_capacity(items.len()), ends: Vec::with_capacity(items.len()) };
        let mut start = 0;
        for (item, end, change) in ends {
            if change.is_none() {
                let file = bytes.slice(start..end);
                let claims = (self.claims)(item, 0..self.size(item));
                let mut at = 0;
                for chunk in claims.right(&file, true) {
                    at += chunk.bytes().len();
                    batch.chunks.push(FoundChunk::found(chunk, self.has)?);
                }
                for range in cut::cut(&file[at..]) {
                    batch.chunks.push(FoundChunk::of(file.slice(at + range.start..at + range.end), self.has)?);
                }
            }
            batch.ends.push(FileEnd { item, chunks_before: batch.chunks.len(), change });
            start = end;
        }
        detach_few(&mut batch.chunks, bytes.len());
        Ok(Piece::Batch(batch))
    }

    /// Reads a whole file to `end` of `buffer` and moves that behind it, unless the file has changed.
    fn read_whole(&self, item: u32, buffer: &mut Buffer, end: &mut usize) -> Result<Option<&'static str>> {
        let len = usize::try_from(self.size(item)).unwrap_or(0);
        let change = self.fill(item, 0, &mut buffer.as_mut()[*end..*end + len])?;
        if change.is_none() {
            *end += len;
        }
        Ok(change)
    }

    /// Reads, cuts and hashes segment `number` of a large file.
    pub fn read_segment(&self, item: u32, number: u64) -> Result<Piece> {
        let segment = self.segment(item, number)?;
        Ok(Piece::Segment { item, number, segment })
    }

    fn segment(&self, item: u32, number: u64) -> Result<Result<Segment, &'static str>> {
        let start = number * SEGMENT_BYTES as u64;
        let left = usize::try_from(self.size(item) - start).unwrap_or(usize::MAX);
        let mut buffer = self.pool.take(left.min(SEGMENT_READ_BYTES_MAX));
        if let Some(change) = self.fill(item, start, buffer.as_mut())? {
            return Ok(Err(change));
        }
        let claims = (self.claims)(item, start..start + SEGMENT_BYTES as u64);
        Segment::cut(buffer.freeze(), left <= SEGMENT_READ_BYTES_MAX, &claims, self.has).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;

    use super::*;
    use crate::ingest::tree::Tree;

    const LEN: u64 = 3 * SEGMENT_BYTES as u64;

    fn source<'a>(root: &'a Root, tree: &'a Tree) -> Source<'a> {
        Source { root, items: &tree.items, pool: Pool::default(), has: &|_| Ok(false), claims: &|_, _| Claims::default() }
    }

    /// Reads a file of three segments and calls `change` on it after the first; gives what the others say.
    fn read_while(change: impl FnOnce(&Path)) -> Vec<Option<&'static str>> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("file");
        File::create(&at).unwrap().set_len(LEN).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let tree = Tree::of_file(&root, "file").unwrap();
        let source = source(&root, &tree);
        assert!(source.segment(0, 0).unwrap().is_ok());
        change(&at);
        (1..segments_of(LEN)).map(|number| source.segment(0, number).unwrap().err()).collect()
    }

    #[test]
    fn a_large_file_left_alone_reads_well() {
        assert_eq!(read_while(|_| {}), [None, None]);
    }

    #[test]
    fn a_large_file_that_changes_between_two_segments_is_noticed() {
        let both = |why| [Some(why), Some(why)];
        let append = |at: &Path| File::options().append(true).open(at).unwrap().write_all(b"more").unwrap();
        assert_eq!(read_while(append), both("its size changed"));
        let truncate = |at: &Path| File::options().write(true).open(at).unwrap().set_len(LEN - 1).unwrap();
        assert_eq!(read_while(truncate), both("its size changed"));
        let overwrite = |at: &Path| {
            let file = File::options().write(true).open(at).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"other", 5).unwrap();
            // Some file systems stamp times so coarsely that two writes may share one.
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        assert_eq!(read_while(overwrite), both("its times changed"));
        assert_eq!(read_while(|at| fs::remove_file(at).unwrap()), both(GONE));
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
            let Piece::Batch(batch) = source(&root, &tree).read_small(&[0]).unwrap() else { unreachable!() };
            assert_eq!(batch.ends[0].change.is_some(), name != "calm", "{name}");
            assert_eq!(batch.chunks.len(), usize::from(name == "calm"), "{name}");
        }
    }
}
