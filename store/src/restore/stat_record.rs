//! What the installed files looked like when they were put in place, so that the next update need not read them again.
//!
//! ```text
//! header (64 bytes): magic "CNSR" | u16 major | u8 hash | u8 zero | u16 required | u16 optional | u32 lines
//!                    | 32 manifest id | 16 checksum of the header before it and the body
//! body: lines of 32 bytes, one an entry: u64 size | i64 mtime | i64 ctime (nanoseconds) | u64 inode; zeros: not to be trusted
//! ```

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use crate::chunk::fields;
use crate::error::{At, Result};
use crate::fsx;
use crate::id::ManifestId;
use crate::lines::LinesWriter;
use crate::manifest::file::ManifestFile;
use crate::map::ReadOnlyMap;

/// The record's name in the work folder.
pub(super) const STAT_FILE: &str = "stat";

const HEADER_BYTES: usize = 64;
const LINE_BYTES: usize = 32;
const START: [u8; fields::START_BYTES] = fields::start(*b"CNSR", 0);
const CONTEXT: &str = "consign 2026-11 v1 stat record";

/// Clock ticks of file systems that keep parts of a second, nanoseconds, doubled: a file changed again within one tick looks unchanged.
const TICK_NANOS: i64 = 20_000_000;
/// The same for file systems that keep whole seconds, or two of them.
const TICK_COARSE_NANOS: i64 = 2_000_000_000;

/// What is recorded of one entry.
pub(super) type Line = [u8; LINE_BYTES];

/// The line of an entry that is no file, or whose file is not to be trusted unread.
const BLANK: Line = [0; LINE_BYTES];

/// Whether others can reach the files that are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Not yet: a file is as it was written, and whoever changes it later does so at a later time.
    Hidden,
    /// Since they were verified: one changed again within one tick of the clock looks unchanged.
    InPlace,
}

/// The record of one manifest's entries.
#[derive(Debug)]
pub(super) struct StatRecord {
    map: ReadOnlyMap,
    manifest: ManifestId,
}

impl StatRecord {
    /// Opens the record; `None` if there is none or it is not whole: then the files are read.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let map = ReadOnlyMap::open(&File::open(path).ok()?).ok()?;
        let header = map.get(..HEADER_BYTES)?;
        let manifest = ManifestId::from_slice(&header[16..48])?;
        let lines = u32::from_le_bytes(header[12..16].try_into().ok()?) as usize;
        let mut hash = blake3::Hasher::new_derive_key(CONTEXT);
        hash.update(&header[..48]).update(&map[HEADER_BYTES..]);
        let whole = header[..12] == START
            && map.len() == HEADER_BYTES + lines * LINE_BYTES
            && hash.finalize().as_bytes()[..16] == header[48..64];
        whole.then_some(Self { map, manifest })
    }

    /// Returns whose entries these are.
    pub(super) fn manifest(&self) -> ManifestId {
        self.manifest
    }

    /// Says whether `stat` is what entry `number` looked like.
    pub(super) fn agrees(&self, number: u32, stat: &Stat) -> bool {
        !self.is_blank(number) && self.line(number) == line_of(stat)
    }

    /// Returns the line of entry `number`, blank where there is none.
    pub(super) fn line(&self, number: u32) -> Line {
        let at = HEADER_BYTES + number as usize * LINE_BYTES;
        self.map.get(at..at + LINE_BYTES).and_then(|line| line.try_into().ok()).unwrap_or(BLANK)
    }

    /// Says whether nothing is recorded of entry `number`.
    pub(super) fn is_blank(&self, number: u32) -> bool {
        self.line(number) == BLANK
    }

    /// Records the files of `manifest`, which are in the folder `tree`: the lines that `carried` still has, and a look at each file without one.
    /// Returns how many looks it took. Not durable: what a power cut leaves is checked when it is opened.
    pub(super) fn write(
        work: &Path,
        (tree, reach): (&Path, Reach),
        manifest: &ManifestFile,
        carried: &dyn Fn(u32) -> Option<Line>,
    ) -> Result<u64> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(tree, flags, Mode::empty()).at("open", tree)?;
        let now = clock_of(tree)?;
        let before = match reach {
            Reach::Hidden => now,
            Reach::InPlace if now % 1_000_000_000 == 0 => now - TICK_COARSE_NANOS,
            Reach::InPlace => now - TICK_NANOS,
        };
        let entries = u32::try_from(manifest.totals().entries).unwrap_or(u32::MAX);
        let looks = std::cell::Cell::new(0);
        write_lines(&work.join(STAT_FILE), manifest.id(), entries, |number| {
            carried(number).or_else(|| {
                let (size, ..) = manifest.file_of(number)?;
                looks.set(looks.get() + 1);
                trusted_line(&root, manifest.path_of(number), size, before)
            })
        })?;
        Ok(looks.get())
    }
}

/// Writes the record of `entries` lines to `path`, under a temporary name first.
fn write_lines(path: &Path, manifest: ManifestId, entries: u32, line: impl Fn(u32) -> Option<Line>) -> Result<()> {
    let temp = fsx::temp_beside(path);
    let mut header = START.to_vec();
    header.extend_from_slice(&entries.to_le_bytes());
    header.extend_from_slice(manifest.as_bytes());
    let mut hash = blake3::Hasher::new_derive_key(CONTEXT);
    hash.update(&header);
    let out = LinesWriter::begin(File::create(&temp).at("create", path)?, HEADER_BYTES, hash);
    let mut out = out.at("write", path)?;
    (0..entries).try_for_each(|number| out.push(&line(number).unwrap_or(BLANK))).at("write", path)?;
    let finished = out.finish(|hash| {
        header.extend_from_slice(&hash.as_bytes()[..16]);
        header
    });
    finished.at("write", path)?;
    fs::rename(&temp, path).at("rename to", path)
}

/// The line of a file that was changed last before the time `before`, so that it cannot change unseen from now on.
fn trusted_line(root: &OwnedFd, path: &str, size: u64, before: i64) -> Option<Line> {
    let stat = rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && u64::try_from(stat.st_size) == Ok(size);
    (ours && nanos(stat.st_ctime, stat.st_ctime_nsec) < before).then(|| line_of(&stat))
}

fn line_of(stat: &Stat) -> Line {
    let mut line = BLANK;
    line[..8].copy_from_slice(&stat.st_size.to_le_bytes());
    line[8..16].copy_from_slice(&nanos(stat.st_mtime, stat.st_mtime_nsec).to_le_bytes());
    line[16..24].copy_from_slice(&nanos(stat.st_ctime, stat.st_ctime_nsec).to_le_bytes());
    line[24..].copy_from_slice(&stat.st_ino.to_le_bytes());
    line
}

/// The time by the clock of the file system that holds `dest`: no other clock is comparable with its files' times.
fn clock_of(dest: &Path) -> Result<i64> {
    let probe = fsx::temp_beside(dest);
    let file = File::create(&probe).at("create", &probe)?;
    let stat = rustix::fs::fstat(file.as_fd()).at("read the time of", &probe)?;
    fs::remove_file(&probe).at("remove", &probe)?;
    Ok(nanos(stat.st_ctime, stat.st_ctime_nsec))
}

#[expect(clippy::allow_attributes, reason = "the width of nanoseconds differs between systems")]
#[allow(clippy::cast_possible_wrap, clippy::cast_lossless, reason = "below 10⁹")]
fn nanos(seconds: i64, nanos: u64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (probe, path) = (dir.path().join("probe"), dir.path().join("stat"));
        fs::write(&probe, b"x").unwrap();
        let mut stat = rustix::fs::stat(&probe).unwrap();
        stat.st_size = 300_000;
        (stat.st_mtime, stat.st_mtime_nsec) = (1_700_000_000, 123_456_789);
        (stat.st_ctime, stat.st_ctime_nsec) = (-1, 5);
        stat.st_ino = 0x0123_4567_89ab_cdef;
        write_lines(&path, ManifestId([9; 32]), 2, |number| (number > 0).then(|| line_of(&stat))).unwrap();
        crate::golden::assert_same("stat-record-v1.bin", &path);

        let record = StatRecord::open(&crate::golden::path("stat-record-v1.bin")).unwrap();
        assert_eq!(record.manifest(), ManifestId([9; 32]));
        assert!(!record.agrees(0, &stat) && record.agrees(1, &stat) && !record.agrees(2, &stat));
        stat.st_ino += 1;
        assert!(!record.agrees(1, &stat));
    }
}
