//! Scrub: reading everything again, so that damage is found before somebody needs what it hit.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::damaged::DamagedChunk;
use super::file::Kind;
use super::mark::Marks;
use crate::chunk::fields;
use crate::chunk::record::{RecordHeader, VerifiedRecord};
use crate::error::{Error, Result};
use crate::id::{ChunkId, FileDigest, ManifestId};
use crate::pack::{FooterLine, Found, PACK_HEADER_BYTES, Pack};
use crate::store::{ChunkAt, RecordAt, Store};

/// Bytes read before the position is kept.
const KEEP_BYTES: u64 = 64 << 20;
/// Bytes passed over where the disk cannot read.
const SECTOR_BYTES: u64 = 4096;

/// ```text
/// 0 pack u32   4 offset u64
/// ```
const FILE: Kind = Kind { name: "scrub", magic: *b"CNSP", line_bytes: 12 };

/// A pack of which a part that is no record is damaged; its records can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPack {
    /// The pack.
    pub number: u32,
    /// What is wrong, with the path.
    pub why: String,
}

/// What a scrub has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScrubReport {
    /// Records read.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Chunks newly found damaged: look-ups treat them as missing from now on.
    pub damaged: Vec<DamagedChunk>,
    /// Packs that repair has to write anew.
    pub damaged_packs: Vec<DamagedPack>,
    /// Entries of the index that were wrong or absent, and are right now.
    pub corrected: u64,
}

/// Reads every record of the store and checks header, payload and every chunk; goes on where the last one was stopped.
///
/// `pace` is called after each record with its bytes, and may wait to hold a rate; an error of it stops the scrub at a place that is kept.
///
/// # Errors
/// What `pace` returns; I/O (a record that the disk cannot read is damage, not an error); opened for reading only.
pub fn scrub(store: &Store, pace: &mut dyn FnMut(u64) -> Result<()>) -> Result<ScrubReport> {
    store.inner.check_writable()?;
    let mut scrub = Scrub { store, pace, report: ScrubReport::default(), bad: Vec::new(), unkept_bytes: 0, keeps_place: true };
    let (mut next_pack, mut offset) = position(store.dir())?;
    while let Some(pack) = store.inner.packs.all().into_iter().find(|pack| pack.number() >= next_pack) {
        let start = if pack.number() == next_pack { offset } else { 0 };
        scrub.pack(&pack, start.max(PACK_HEADER_BYTES as u64))?;
        let Some(following) = pack.number().checked_add(1) else { break };
        (next_pack, offset) = (following, 0);
        scrub.keep(&pack, (next_pack, offset))?;
    }
    FILE.write(store.dir(), &[])?;
    Ok(scrub.report)
}

/// Reads the packs in which what `version` needs lies, as [`scrub`] does, but all of them from the front: for when somebody got something wrong of it. The place
/// of a scrub is left as it is.
///
/// # Errors
/// As [`scrub`]; that something of the version is missing or damaged is no error.
pub fn examine(store: &Store, version: ManifestId, pace: &mut dyn FnMut(u64) -> Result<()>) -> Result<ScrubReport> {
    store.inner.check_writable()?;
    let mut packs = Marks::as_far_as_known(store, version, pace)?.packs()?;
    // Where the manifest's root cannot be read, nothing else is known.
    packs.extend(store.inner.index.locate(&ChunkId::from(FileDigest::from(version)))?.map(|at| at.record.pack));
    let mut scrub = Scrub { store, pace, report: ScrubReport::default(), bad: Vec::new(), unkept_bytes: 0, keeps_place: false };
    for pack in store.inner.packs.all().into_iter().filter(|pack| packs.contains(&pack.number())) {
        scrub.pack(&pack, PACK_HEADER_BYTES as u64)?;
    }
    Ok(scrub.report)
}

/// Returns pack and offset at which the next scrub begins.
fn position(store: &Path) -> Result<(u32, u64)> {
    let bytes = FILE.read(store)?;
    Ok(bytes.first_chunk::<12>().map_or((0, 0), |line| (fields::u32_at(line, 0), fields::u64_at(line, 4))))
}

/// Keeps what [`position`] returns.
fn keep_position(store: &Path, (pack, offset): (u32, u64)) -> Result<()> {
    let mut line = pack.to_le_bytes().to_vec();
    line.extend_from_slice(&offset.to_le_bytes());
    FILE.write(store, &line)
}

struct Scrub<'a> {
    store: &'a Store,
    pace: &'a mut dyn FnMut(u64) -> Result<()>,
    report: ScrubReport,
    /// Bytes of the pack at hand that no good record has, ascending.
    bad: Vec<Range<u64>>,
    unkept_bytes: u64,
    /// What it has read need not be read again by the next one.
    keeps_place: bool,
}

impl Scrub<'_> {
    /// Enters the damage found in `pack`, then keeps the place at which the next scrub begins.
    fn keep(&mut self, pack: &Pack, next: (u32, u64)) -> Result<()> {
        self.damage(pack)?;
        self.unkept_bytes = 0;
        if self.keeps_place { keep_position(self.store.dir(), next) } else { Ok(()) }
    }

    fn pack(&mut self, pack: &Pack, start: u64) -> Result<()> {
        let whole = pack.end();
        let len = match self.store.inner.packs.file_len(pack) {
            Err(Error::Io { .. }) if self.is_gone(pack) => return Ok(()),
            other => other?,
        };
        let end = whole.min(len.unwrap_or(0));
        let mut at = start;
        while at < end {
            let found = match pack.find_next(at..end) {
                // A sealing changed the name of the file, or a collection took it away: that one is read under its new name, if at all.
                Err(Error::Io { .. }) if self.is_gone(pack) => return Ok(()),
                Err(error) if error.is_bad_sector() => {
                    let next = end.min(at + SECTOR_BYTES);
                    self.bad.push(at..next);
                    at = next;
                    continue;
                }
                other => other?,
            };
            let begins = found.as_ref().map_or(end, |found| u64::from(found.offset));
            let mut bad = at..begins;
            at = begins;
            if let Some(found) = found {
                at += found.header.record_len() as u64;
                match self.record(pack, &found) {
                    Ok(()) => self.report.records += 1,
                    Err(Error::Io { .. }) if self.is_gone(pack) => return Ok(()),
                    Err(error) if matches!(error, Error::Damaged { .. }) || error.is_bad_sector() => bad.end = at,
                    Err(error) => return Err(error),
                }
            }
            if !bad.is_empty() {
                self.bad.push(bad);
            }
            self.read(pack, at, at - begins)?;
        }
        if end < whole {
            // Somebody cut it short, or took it away, under this process: what comes goes elsewhere.
            self.store.inner.end_appending(pack);
            self.bad.push(end..whole);
        }
        self.damage(pack)?;
        if len.is_some() {
            return self.frame(pack);
        }
        self.store.inner.packs.lose(pack.number());
        Ok(())
    }

    fn read(&mut self, pack: &Pack, at: u64, bytes: u64) -> Result<()> {
        self.report.bytes += bytes;
        self.unkept_bytes += bytes;
        let paced = (self.pace)(bytes);
        if paced.is_err() || self.unkept_bytes >= KEEP_BYTES {
            self.keep(pack, (pack.number(), at))?;
        }
        paced
    }

    /// Reads one record whose header is good.
    fn record(&mut self, pack: &Pack, found: &Found) -> Result<()> {
        pack.read_record(found.offset).and_then(VerifiedRecord::decode)?;
        FooterLine::of_record(found.offset, &found.header).try_for_each(|line| self.entry(pack.number(), &line))
    }

    /// Sees to it that the chunk of a good record is found, here or at another good place.
    fn entry(&mut self, pack: u32, line: &FooterLine) -> Result<()> {
        if self.is_found(pack, line)? {
            return Ok(());
        }
        // Not while a collection runs: that may just have given the chunk up, and is about to unlink the pack.
        let inner = &self.store.inner;
        let _turn = inner.upkeep_turn();
        if inner.packs.present(pack).is_some() && !self.is_found(pack, line)? {
            inner.correct(pack, line)?;
            self.report.corrected += 1;
        }
        Ok(())
    }

    fn is_found(&self, pack: u32, line: &FooterLine) -> Result<bool> {
        let here = ChunkAt { record: RecordAt { pack, offset: line.offset }, ordinal: line.ordinal };
        let Some(at) = self.store.inner.index.locate(&line.id)? else { return Ok(false) };
        let names = |header: RecordHeader| header.chunks.get(usize::from(at.ordinal)).is_some_and(|there| there.id == line.id);
        Ok(at == here || self.store.read_header(at.record).is_ok_and(names))
    }

    /// Enters as damaged what is found in the bad bytes of `pack`.
    fn damage(&mut self, pack: &Pack) -> Result<()> {
        let inner = &self.store.inner;
        let bad = std::mem::take(&mut self.bad);
        if bad.is_empty() {
            return Ok(());
        }
        let _turn = inner.upkeep_turn();
        let is_hit = |offset: u64| {
            bad[..bad.partition_point(|range| range.start <= offset)].last().is_some_and(|range| offset < range.end)
        };
        let mut hit = BTreeSet::new();
        inner.index.view().for_each(&mut |id, at| {
            if at.record.pack == pack.number() && is_hit(u64::from(at.record.offset)) {
                hit.insert((id, (at.record.offset, at.ordinal)));
            }
        })?;
        let mut found = Vec::new();
        for (id, (offset, ordinal)) in hit {
            let at = ChunkAt { record: RecordAt { pack: pack.number(), offset }, ordinal };
            if inner.index.locate(&id)? == Some(at) {
                found.push(DamagedChunk { id, at });
            }
        }
        inner.add_damage(&found)?;
        self.report.damaged.extend(found);
        Ok(())
    }

    fn frame(&mut self, pack: &Pack) -> Result<()> {
        match pack.check_frame() {
            Err(Error::Io { .. }) if self.is_gone(pack) => Ok(()),
            Err(Error::Damaged { why, .. }) => {
                self.report.damaged_packs.push(DamagedPack { number: pack.number(), why });
                Ok(())
            }
            other => other,
        }
    }

    fn is_gone(&self, pack: &Pack) -> bool {
        self.store.inner.packs.present(pack.number()).is_none_or(|now| now.path() != pack.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let dir = tempfile::tempdir().unwrap();
        keep_position(dir.path(), (3, 0x0102_0304_0506)).unwrap();
        crate::golden::assert_same("scrub-v1.bin", &dir.path().join("upkeep/scrub"));
        assert_eq!(position(dir.path()).unwrap(), (3, 0x0102_0304_0506));
    }
}
