//! Reading files that may be anything, and comparing them with the chunks they should hold.

use std::fs::File;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, Mode, OFlags};

use crate::chunk::CHUNK_BYTES_MAX;
use crate::chunk::record::ChunkLine;
use crate::id::ChunkId;
use crate::manifest::table::ChunkTable;

/// Opens the regular file `name` in `dir` for reading, never waiting (a FIFO) and never following a link; `None` if it is none.
pub(super) fn open_regular(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| File::from(file))
}

/// Reads the chunk `line` at `offset` of `file` into `buffer` and returns its bytes if they are that chunk.
pub(super) fn read_chunk<'b>(file: &File, offset: u64, line: ChunkLine, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    let len = line.len as usize;
    if len > CHUNK_BYTES_MAX {
        return None;
    }
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    file.read_exact_at(&mut buffer[..len], offset).ok()?;
    let bytes = &buffer[..len];
    (ChunkId::of_content(bytes) == line.id).then_some(bytes)
}

/// Says whether `file` is exactly the `size` bytes that the chunks at `ordinals` make up.
pub(super) fn is_whole(file: &File, size: u64, table: &ChunkTable, ordinals: Range<u32>, buffer: &mut Vec<u8>) -> bool {
    if file.metadata().map(|stat| stat.len()).ok() != Some(size) {
        return false;
    }
    let mut offset = 0;
    for ordinal in ordinals {
        let Some(line) = table.line(ordinal) else { return false };
        if read_chunk(file, offset, line, buffer).is_none() {
            return false;
        }
        offset += u64::from(line.len);
    }
    offset == size
}

/// Offsets of chunks inside their files, from a running sum kept for every 64th chunk.
#[derive(Debug)]
pub(super) struct Offsets(Vec<u64>);

const OFFSET_EVERY: u32 = 64;

impl Offsets {
    /// Sums up the lengths in `table`.
    pub(super) fn of(table: &ChunkTable) -> Self {
        let mut sum = 0;
        let mut sums = Vec::with_capacity(table.len().div_ceil(OFFSET_EVERY) as usize);
        for ordinal in 0..table.len() {
            if ordinal % OFFSET_EVERY == 0 {
                sums.push(sum);
            }
            sum += len_of(table, ordinal);
        }
        Self(sums)
    }

    /// Returns how many bytes the chunks from `first` up to `ordinal` have: the offset in a file that begins with `first`.
    pub(super) fn between(&self, table: &ChunkTable, first: u32, ordinal: u32) -> u64 {
        if ordinal == first { 0 } else { self.before(table, ordinal) - self.before(table, first) }
    }

    fn before(&self, table: &ChunkTable, ordinal: u32) -> u64 {
        let known = ordinal / OFFSET_EVERY;
        let sum = self.0.get(known as usize).copied().unwrap_or(0);
        (known * OFFSET_EVERY..ordinal).map(|o| len_of(table, o)).sum::<u64>() + sum
    }
}

/// The length of the chunk at `ordinal`, 0 if it is unknown.
fn len_of(table: &ChunkTable, ordinal: u32) -> u64 {
    table.line(ordinal).map_or(0, |line| u64::from(line.len))
}
