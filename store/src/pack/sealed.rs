//! A sealed pack: complete, named by its digest, mapped, never changed again.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;

use super::footer::{self, FooterLine, LINE_BYTES, NameHasher, TRAILER_BYTES, Trailer};
use super::map::Map;
use super::open::OpenPack;
use super::sort::LineSorter;
use super::walk::{Check, walk};
use super::{PACK_HEADER_BYTES, damaged, parse_header, range_of, read_at};
use crate::error::{At, Error, Result};
use crate::fsx;

/// Lines of a footer taken at once.
const SLICE_LINES: usize = 4096;

/// A sealed pack.
#[derive(Debug)]
pub(crate) struct SealedPack {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    /// Length of the file, bytes.
    pub(crate) len: u64,
    /// `None` when it is damaged: then the records are found by walking, and reach to the end of the file for all that is known.
    trailer: Option<Trailer>,
    /// Made at the first read; `None` inside when mapping failed: then every read is a positioned one.
    map: OnceLock<Option<Map>>,
}

impl SealedPack {
    /// Opens the pack at `path`; maps nothing yet.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).at("open", &path)?;
        let len = file.metadata().at("read", &path)?.len();
        let number = parse_header(&read_at(&file, &path, 0, PACK_HEADER_BYTES)?, &path)?;
        let trailer = match Self::read_trailer(&file, len, &path) {
            Ok(trailer) => Some(trailer),
            Err(Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { number, path, len, trailer, map: OnceLock::new() })
    }

    fn read_trailer(file: &File, len: u64, path: &std::path::Path) -> Result<Trailer> {
        let at = len.checked_sub(TRAILER_BYTES as u64).ok_or_else(|| damaged(path, "it is shorter than a trailer"))?;
        let trailer = Trailer::parse(&read_at(file, path, at, TRAILER_BYTES)?, len, path)?;
        let named = path.file_stem().is_some_and(|stem| stem.as_encoded_bytes() == hex::encode(trailer.name).as_bytes());
        if named { Ok(trailer) } else { Err(damaged(path, "its name is not the one in its trailer")) }
    }

    /// Writes the footer of `pack`, syncs it and gives it its name; the file handle that readers of `pack` hold stays good.
    ///
    /// After an error the pack is open as before, or takes no further records.
    pub(crate) fn seal(pack: &OpenPack) -> Result<Self> {
        let tail = pack.tail();
        let mut lines = LineSorter::new(&pack.path);
        let mut records = 0;
        let mut name = NameHasher::new(&read_at(&pack.file, &pack.path, 0, PACK_HEADER_BYTES)?);
        walk(&pack.file, &pack.path, PACK_HEADER_BYTES as u64..tail, Check::Headers, &mut |found| {
            name.push(&found.header);
            records += 1;
            FooterLine::of_record(found.offset, &found.header).try_for_each(|line| lines.push(line))
        })?;
        let name = name.finish();
        let path = pack.path.with_file_name(format!("{}.pack", hex::encode(name)));
        pack.finish(|write| footer::encode(lines, tail, records, &name, write))?;
        fsx::rename_durable(&pack.path, &path)?;
        Self::open(path)
    }

    /// Makes sure that the pack stays readable after its file is unlinked; says whether it does.
    pub(crate) fn hold(&self) -> bool {
        self.map.get_or_init(|| Map::open(&self.path).ok()).is_some()
    }

    /// Compares header, footer and trailer of the file with their checksums.
    pub(crate) fn check_frame(&self) -> Result<()> {
        let file = File::open(&self.path).at("open", &self.path)?;
        parse_header(&read_at(&file, &self.path, 0, PACK_HEADER_BYTES)?, &self.path)?;
        let len = file.metadata().at("read", &self.path)?.len();
        let trailer = Self::read_trailer(&file, len, &self.path)?;
        trailer.check_lines(&self.path, &mut |at, len| read_at(&file, &self.path, at, len))
    }

    /// Where the records end, bytes.
    pub(crate) fn end(&self) -> u64 {
        self.trailer.as_ref().map_or(self.len, |trailer| trailer.footer_at)
    }

    /// Reads `len` bytes at `offset`: a slice of the map, or by position where a map cannot give it without a fault.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        let range = range_of(offset, len).filter(|range| range.end as u64 <= self.len);
        let range = range.ok_or_else(|| damaged(&self.path, &format!("it ends before a record at byte {offset} does")))?;
        match self.map.get_or_init(|| Map::open(&self.path).ok()).as_ref().and_then(|map| map.read(range)) {
            Some(bytes) => Ok(bytes),
            None => read_at(&File::open(&self.path).at("open", &self.path)?, &self.path, offset, len),
        }
    }

    /// Returns `len` bytes at `offset` if they are mapped and in memory.
    pub(crate) fn read_now(&self, offset: u64, len: usize) -> Option<Bytes> {
        self.map.get()?.as_ref()?.read_now(range_of(offset, len)?)
    }

    /// Calls `each` with the lines of records in `range` and returns how many records those are: from the footer, or by walking when that
    /// is damaged.
    pub(crate) fn replay(&self, range: Range<u64>, each: &mut dyn FnMut(&[FooterLine]) -> Result<()>) -> Result<u64> {
        match self.footer_lines(&range, each) {
            Err(Error::Damaged { .. }) => {
                let file = File::open(&self.path).at("open", &self.path)?;
                let mut records = 0;
                walk(&file, &self.path, range, Check::Headers, &mut |found| {
                    records += 1;
                    each(&FooterLine::of_record(found.offset, &found.header).collect::<Vec<_>>())
                })?;
                Ok(records)
            }
            other => other,
        }
    }

    /// Calls `each` with the lines of records in `range`, by rising id, and returns how many records those are.
    pub(super) fn footer_lines(&self, range: &Range<u64>, each: &mut dyn FnMut(&[FooterLine]) -> Result<()>) -> Result<u64> {
        let trailer = self.trailer.as_ref().ok_or_else(|| damaged(&self.path, "its trailer is damaged"))?;
        trailer.check_lines(&self.path, &mut |at, len| self.read(at, len))?;
        let whole = range.start <= PACK_HEADER_BYTES as u64 && range.end >= trailer.footer_at;
        let mut offsets = HashSet::new();
        for start in (0..trailer.lines_len()).step_by(LINE_BYTES * SLICE_LINES) {
            let len = (LINE_BYTES * SLICE_LINES).min(trailer.lines_len() - start);
            let slice = self.read(trailer.footer_at + start as u64, len)?;
            let lines = slice.chunks_exact(LINE_BYTES).map(FooterLine::parse);
            let lines: Vec<_> = lines.filter(|line| range.contains(&u64::from(line.offset))).collect();
            if !whole {
                offsets.extend(lines.iter().map(|line| line.offset));
            }
            each(&lines)?;
        }
        Ok(if whole { u64::from(trailer.records) } else { offsets.len() as u64 })
    }
}
