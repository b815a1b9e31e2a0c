//! Walking over the records of a pack file, across damage.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use super::{offset32, read_at};
use crate::chunk::record::{RECORD_FIXED_BYTES, RECORD_HEADER_BYTES_MAX, RecordHeader};
use crate::error::{Error, Result};

/// Bytes read at a record's start: the whole header of all but very crowded records.
const HEAD_BYTES: u64 = 4096;
/// Bytes read at once where records are small.
const AHEAD_BYTES: u64 = 256 << 10;
/// Bytes read at once when the next record is searched for.
const SEARCH_BYTES: usize = 1 << 20;
const RECORD_MAGIC: &[u8] = b"CNRC";

/// How closely records are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Header checksums only; payloads are not read.
    Headers,
    /// Header and payload checksums.
    Payloads,
}

/// A good record.
#[derive(Debug)]
pub(crate) struct Found {
    /// Offset in the pack, bytes.
    pub(crate) offset: u32,
    /// Its parsed header.
    pub(crate) header: RecordHeader,
}

enum Step {
    Good(RecordHeader),
    /// The header is good, the payload is not.
    BadPayload(u64),
    Bad,
}

/// Calls `each` for every good record that begins in `range` of `file` and returns the end of the last one (`range.start` without any).
///
/// Bad bytes are passed over: by the length of a record whose header is good, else to the next place where a record begins. So damage in
/// the middle costs what is damaged and nothing behind it, and only what follows the last good record is a torn tail.
pub(super) fn walk(
    file: &File,
    path: &Path,
    range: Range<u64>,
    check: Check,
    each: &mut dyn FnMut(Found) -> Result<()>,
) -> Result<u64> {
    let mut end = range.start;
    let mut at = range.start;
    let mut in_step = true;
    let mut heads = Heads::new(file, path);
    while at < range.end {
        match step(&mut heads, at..range.end, check) {
            Ok(Step::Good(header)) => {
                at += header.record_len() as u64;
                each(Found { offset: offset32(at - header.record_len() as u64), header })?;
                (end, in_step) = (at, true);
            }
            Ok(Step::BadPayload(len)) => at += len,
            // Only where a record must begin is "too new" to be believed, and if it is no flipped bit; in the midst of damage it is chance.
            Err(error @ Error::TooNew { .. }) if in_step => {
                let longest = (range.end - at).min(RECORD_HEADER_BYTES_MAX as u64);
                if !RecordHeader::is_damaged_start(&read_at(file, path, at, usize_of(longest))?) {
                    return Err(super::at_record(path, at, error));
                }
                in_step = false;
                at = search(file, path, at + 1..range.end)?;
            }
            Ok(Step::Bad) | Err(Error::TooNew { .. }) => {
                in_step = false;
                at = search(file, path, at + 1..range.end)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(end)
}

/// Finds the first record in `range` whose header is good; its payload is not read.
pub(super) fn find_next(file: &File, path: &Path, range: Range<u64>) -> Result<Option<Found>> {
    let mut at = range.start;
    let mut heads = Heads::new(file, path);
    while at < range.end {
        match step(&mut heads, at..range.end, Check::Headers) {
            Ok(Step::Good(header)) => return Ok(Some(Found { offset: offset32(at), header })),
            Ok(Step::BadPayload(_) | Step::Bad) | Err(Error::TooNew { .. }) => at = search(file, path, at + 1..range.end)?,
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Reads the beginnings of records: each alone, or many at once where they lie close together.
struct Heads<'a> {
    file: &'a File,
    path: &'a Path,
    held: Bytes,
    /// Where that lies in the file.
    from: u64,
}

impl<'a> Heads<'a> {
    fn new(file: &'a File, path: &'a Path) -> Self {
        Self { file, path, held: Bytes::new(), from: 0 }
    }

    /// Returns the first bytes of `range`, all of them or at least [`HEAD_BYTES`].
    fn read(&mut self, range: &Range<u64>) -> Result<Bytes> {
        let wanted = (range.end - range.start).min(HEAD_BYTES);
        let held = self.from..self.from + self.held.len() as u64;
        if range.start < held.start || range.start + wanted > held.end {
            // The record before was small: the next ones will be too.
            let ahead = if held.contains(&range.start) { AHEAD_BYTES.min(range.end - range.start) } else { wanted };
            self.held = read_at(self.file, self.path, range.start, usize_of(ahead))?;
            self.from = range.start;
        }
        let start = usize_of(range.start - self.from);
        Ok(self.held.slice(start..start + usize_of(wanted)))
    }
}

fn step(heads: &mut Heads<'_>, range: Range<u64>, check: Check) -> Result<Step> {
    let (file, path) = (heads.file, heads.path);
    let rest = range.end - range.start;
    let mut head = heads.read(&range)?;
    let Some(header_len) = not_damaged(RecordHeader::header_len(&head))? else { return Ok(Step::Bad) };
    if header_len as u64 > rest {
        return Ok(Step::Bad);
    }
    if header_len > head.len() {
        head = read_at(file, path, range.start, header_len)?;
    }
    let Some(header) = not_damaged(RecordHeader::parse(&head))? else { return Ok(Step::Bad) };
    let len = header.record_len() as u64;
    if len > rest {
        return Ok(Step::Bad);
    }
    if check == Check::Payloads {
        let record =
            if len <= head.len() as u64 { head.slice(..usize_of(len)) } else { read_at(file, path, range.start, usize_of(len))? };
        if not_damaged(header.check_payload(&record))?.is_none() {
            return Ok(Step::BadPayload(len));
        }
    }
    Ok(Step::Good(header))
}

/// Finds the first place in `range` where a record may begin; the end of the range when there is none.
fn search(file: &File, path: &Path, range: Range<u64>) -> Result<u64> {
    let mut at = range.start;
    while at + RECORD_FIXED_BYTES as u64 <= range.end {
        let window = read_at(file, path, at, usize_of((range.end - at).min(SEARCH_BYTES as u64)))?;
        if let Some(found) = window.windows(RECORD_MAGIC.len()).position(|bytes| bytes == RECORD_MAGIC) {
            return Ok(at + found as u64);
        }
        at += (window.len() - (RECORD_MAGIC.len() - 1)) as u64;
    }
    Ok(range.end)
}

fn not_damaged<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn usize_of(len: u64) -> usize {
    usize::try_from(len).expect("reads of a pack are bounded by the longest record")
}
