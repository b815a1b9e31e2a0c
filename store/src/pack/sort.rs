//! Sorting the lines of a footer in little memory, however many there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::footer::{FooterLine, LINE_BYTES};
use super::read_at;
use crate::error::{At, Result};
use crate::fsx;

/// Most lines in memory, 44 bytes each; more are put down as sorted runs, in a file that has no name any more.
const HELD_LINES_MAX: usize = 256 << 10;
/// Lines of a run that are read at once.
const STRIDE_LINES: usize = 2048;

/// Takes lines in any order and gives them back sorted.
pub(super) struct LineSorter {
    /// The pack; the file lies beside it while it has a name.
    pack: PathBuf,
    held: Vec<FooterLine>,
    held_max: usize,
    spilled: Option<File>,
    /// Ends of the runs in the file, bytes.
    ends: Vec<u64>,
}

/// What is left of one run.
struct Run {
    range: Range<u64>,
    at_hand: Bytes,
}

impl LineSorter {
    /// Sorts for the footer of the pack at `pack`.
    pub(super) fn new(pack: &Path) -> Self {
        Self::holding(pack, HELD_LINES_MAX)
    }

    fn holding(pack: &Path, held_max: usize) -> Self {
        Self { pack: pack.to_path_buf(), held: Vec::new(), held_max, spilled: None, ends: Vec::new() }
    }

    /// Number of lines so far.
    pub(super) fn len(&self) -> usize {
        let spilled = self.ends.last().map_or(0, |end| usize::try_from(*end).unwrap_or(usize::MAX));
        self.held.len() + spilled / LINE_BYTES
    }

    pub(super) fn push(&mut self, line: FooterLine) -> Result<()> {
        self.held.push(line);
        if self.held.len() < self.held_max { Ok(()) } else { self.spill() }
    }

    fn spill(&mut self) -> Result<()> {
        self.held.sort_unstable();
        let mut bytes = Vec::with_capacity(self.held.len() * LINE_BYTES);
        self.held.iter().for_each(|line| bytes.extend_from_slice(&line.encode()));
        self.held.clear();
        let file = match &self.spilled {
            Some(file) => file,
            None => self.spilled.insert(nameless(&self.pack)?),
        };
        let start = self.ends.last().copied().unwrap_or(0);
        fsx::write_all_at(file, &bytes, start).at("write beside", &self.pack)?;
        self.ends.push(start + bytes.len() as u64);
        Ok(())
    }

    /// Calls `each` with every line, encoded, in order.
    pub(super) fn finish(mut self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.spilled.is_none() {
            self.held.sort_unstable();
            return self.held.iter().try_for_each(|line| each(&line.encode()));
        }
        self.spill()?;
        self.held = Vec::new();
        let Some(file) = &self.spilled else { return Ok(()) };
        let starts = std::iter::once(&0).chain(&self.ends);
        let mut runs: Vec<_> =
            starts.zip(&self.ends).map(|(start, end)| Run { range: *start..*end, at_hand: Bytes::new() }).collect();
        let mut heads = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(run.next(file, &self.pack)?.map(|line| Reverse((line, number))));
        }
        while let Some(Reverse((line, number))) = heads.pop() {
            each(&line.encode())?;
            heads.extend(runs[number].next(file, &self.pack)?.map(|line| Reverse((line, number))));
        }
        Ok(())
    }
}

impl Run {
    fn next(&mut self, file: &File, pack: &Path) -> Result<Option<FooterLine>> {
        if self.at_hand.is_empty() {
            let len = (self.range.end - self.range.start).min((STRIDE_LINES * LINE_BYTES) as u64);
            if len == 0 {
                return Ok(None);
            }
            self.at_hand = read_at(file, pack, self.range.start, usize::try_from(len).unwrap_or(usize::MAX))?;
            self.range.start += len;
        }
        Ok(Some(FooterLine::parse(&self.at_hand.split_to(LINE_BYTES))))
    }
}

/// Creates a file that goes when it is closed, on the file system of `pack`.
fn nameless(pack: &Path) -> Result<File> {
    let path = fsx::temp_beside(pack);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).at("create", &path)?;
    // Where an open file keeps its name, the next opening of the store removes it.
    let _ = fs::remove_file(&path);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChunkId;

    fn line(number: u32) -> FooterLine {
        let id = ChunkId(*blake3::hash(&(number / 2).to_le_bytes()).as_bytes());
        FooterLine { id, offset: number.wrapping_mul(0x9e37_79b9), ordinal: 3, len: number + 1 }
    }

    #[test]
    fn lines_that_do_not_fit_in_memory_come_back_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for count in [0, 1, 999, 1000, 1001, 9_500, 30_000] {
            let mut sorter = LineSorter::holding(&dir.path().join("open-0.pack"), 1000);
            (0..count).for_each(|number| sorter.push(line(number)).unwrap());
            assert_eq!(sorter.len(), count as usize);
            let mut wanted: Vec<_> = (0..count).map(line).collect();
            wanted.sort_unstable();
            let mut found = Vec::new();
            sorter
                .finish(&mut |bytes| {
                    found.push(FooterLine::parse(bytes));
                    Ok(())
                })
                .unwrap();
            assert!(found == wanted, "{count} lines");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left beside the pack");
    }
}
