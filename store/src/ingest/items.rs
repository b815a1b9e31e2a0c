//! The things found in a source folder, in path order; of a fixed size in memory.

use std::ops::Range;
use std::path::Path;

use super::source::FileStat;
use super::walk::{Found, FoundKind};
use crate::chunk::fields;
use crate::error::{Error, Result};
use crate::manifest::entry::{LINK_MODE, check_link};
use crate::spill::{Spill, SpillWriter};

/// Bytes of a scanned thing beside its texts: u32 and u32 where its path ends and its target, if it is a link, ends | u16 mode | u16 kind
/// | and of a file u64 size | i64 mtime | i64 ctime | u64 inode. Its texts begin where those of the one before end.
const ITEM_BYTES: usize = 44;
const FILE: u16 = 0;
pub(super) const FOLDER: u16 = 1;
const SYMLINK: u16 = 2;

/// Things being scanned, in path order.
#[derive(Debug)]
pub(super) struct ItemsWriter {
    texts: SpillWriter,
    lines: SpillWriter,
}

impl ItemsWriter {
    /// Puts down what is much in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self { texts: SpillWriter::in_folder(folder), lines: SpillWriter::in_folder(folder) }
    }

    /// Appends what was found.
    pub fn push(&mut self, found: &Found<'_>) -> Result<()> {
        let mut line = [0; ITEM_BYTES];
        let (kind, mode) = match found.kind {
            FoundKind::File(_) => (FILE, found.mode),
            FoundKind::Folder => (FOLDER, found.mode),
            FoundKind::Symlink(_) => (SYMLINK, LINK_MODE),
        };
        line[..4].copy_from_slice(&self.push_text(found.path)?);
        if let FoundKind::Symlink(target) = found.kind {
            self.push_text(check_link(found.path, target)?)?;
        }
        line[4..8].copy_from_slice(&self.push_text("")?);
        line[8..10].copy_from_slice(&mode.to_le_bytes());
        line[10..12].copy_from_slice(&kind.to_le_bytes());
        if let FoundKind::File(stat) = found.kind {
            line[12..20].copy_from_slice(&stat.size.to_le_bytes());
            line[20..28].copy_from_slice(&stat.mtime.to_le_bytes());
            line[28..36].copy_from_slice(&stat.ctime.to_le_bytes());
            line[36..].copy_from_slice(&stat.ino.to_le_bytes());
        }
        self.lines.push(&line)
    }

    /// Appends a text and returns where it ends.
    fn push_text(&mut self, text: &str) -> Result<[u8; 4]> {
        self.texts.push(text.as_bytes())?;
        let over = |_| Error::Limit { what: "the source folder".into(), limit: "4 GiB of paths".into() };
        Ok(u32::try_from(self.texts.len()).map_err(over)?.to_le_bytes())
    }

    /// Ends the scan.
    pub fn finish(self) -> Result<Items> {
        Ok(Items { texts: self.texts.finish()?, lines: self.lines.finish()? })
    }
}

/// Scanned things in path order; of a fixed size in memory.
#[derive(Debug, Default)]
pub(super) struct Items {
    texts: Spill,
    lines: Spill,
}

impl Items {
    /// How many there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.lines.len() / ITEM_BYTES).expect("refused above 2^32 bytes of paths")
    }

    fn line(&self, number: u32) -> &[u8; ITEM_BYTES] {
        &self.lines.as_chunks().0[number as usize]
    }

    /// Where the texts of the item before end.
    fn start(&self, number: u32) -> usize {
        number.checked_sub(1).map_or(0, |before| fields::len_at(self.line(before), 4))
    }

    fn text(&self, range: Range<usize>) -> &str {
        std::str::from_utf8(&self.texts[range]).expect("written from a text")
    }

    /// The path of an item.
    pub fn path(&self, number: u32) -> &str {
        self.text(self.start(number)..fields::len_at(self.line(number), 0))
    }

    /// What the scan saw of a file; `None` for folders and links.
    pub fn stat(&self, number: u32) -> Option<FileStat> {
        let line = self.line(number);
        let long = |at| fields::u64_at(line, at);
        let stat = || FileStat { size: long(12), mtime: long(20).cast_signed(), ctime: long(28).cast_signed(), ino: long(36) };
        (self.kind(number) == FILE).then(stat)
    }

    /// The mode of an item.
    pub fn mode(&self, number: u32) -> u16 {
        fields::u16_at(self.line(number), 8)
    }

    /// Which kind it is.
    pub fn kind(&self, number: u32) -> u16 {
        fields::u16_at(self.line(number), 10)
    }

    /// The target of a link, nothing for others.
    pub fn target(&self, number: u32) -> &str {
        let line = self.line(number);
        self.text(fields::len_at(line, 0)..fields::len_at(line, 4))
    }

    /// Says how a thing found now differs from item `number`.
    pub fn difference(&self, number: u32, found: &Found<'_>) -> Option<&'static str> {
        if number >= self.len() || self.path(number) != found.path {
            return Some("files were added or removed");
        }
        let same = match (self.kind(number), &found.kind) {
            (FILE, FoundKind::File(new)) => {
                let content = self.stat(number).and_then(|old| old.difference(new));
                return content.or_else(|| (self.mode(number) != found.mode).then_some("its mode changed"));
            }
            (FOLDER, FoundKind::Folder) => self.mode(number) == found.mode,
            (SYMLINK, FoundKind::Symlink(target)) => self.target(number).as_bytes() == *target,
            _ => false,
        };
        (!same).then_some("its kind, mode or target changed")
    }
}
