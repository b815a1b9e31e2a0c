//! What the handles of a store share: appending, sealing, writing the index, and the locks of upkeep.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Inner, RecordAt, opening};
use crate::chunk::record::RecordHeader;
use crate::error::{Error, Result};
use crate::pack::{FooterLine, Mode, OpenPack, Pack};
use crate::upkeep::{Condemned, Damaged, DamagedChunk};

/// Times [`super::Limits::memory_entries_max`] at which who appends waits until the index is written.
const WAIT_FACTOR: usize = 8;

/// Whose chunks a record brings.
#[derive(Clone, Copy)]
enum Origin {
    /// They are new.
    New,
    /// They are moved out of this pack.
    Moved(u32),
}

impl Inner {
    /// Returns the pack that takes records of `origin`, for who appends.
    fn taker(&self, origin: Origin) -> MutexGuard<'_, Option<Arc<OpenPack>>> {
        let taker = match origin {
            Origin::New => &self.active,
            Origin::Moved(_) => &self.mover,
        };
        taker.lock().expect("nothing panics while it appends")
    }

    pub(crate) fn condemned(&self) -> RwLockReadGuard<'_, Condemned> {
        self.condemned.read().expect("nothing panics while it condemns")
    }

    pub(crate) fn condemned_mut(&self) -> RwLockWriteGuard<'_, Condemned> {
        self.condemned.write().expect("nothing panics while it condemns")
    }

    pub(crate) fn damaged(&self) -> MutexGuard<'_, Damaged> {
        self.damaged.lock().expect("nothing panics while it notes damage")
    }

    /// Waits for its turn to unlink packs.
    pub(crate) fn upkeep_turn(&self) -> MutexGuard<'_, ()> {
        self.upkeep.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.mode {
            Mode::Write => Ok(()),
            Mode::Read => Err(Error::Refused {
                path: self.dir.display().to_string(),
                why: "the store was opened for reading only; open it for writing to change it".to_owned(),
            }),
        }
    }

    pub(super) fn pack(&self, number: u32) -> Result<Pack> {
        self.packs
            .get(number)
            .ok_or_else(|| Error::damaged(self.dir.display().to_string(), format!("pack {number} is not there (any more)")))
    }

    /// Appends the record of `header`, whole in `parts`.
    pub(super) fn append(&self, header: &RecordHeader, parts: &[Bytes]) -> Result<RecordAt> {
        self.append_from(header, parts, Origin::New)
    }

    /// Appends a record of chunks that were found in pack `from` until now: from now on they are found here.
    pub(crate) fn append_moved(&self, encoded: &Bytes, from: u32) -> Result<RecordAt> {
        self.append_from(&RecordHeader::parse(encoded)?, std::slice::from_ref(encoded), Origin::Moved(from))
    }

    /// Only the short moves are done under the lock: what takes a sync or writes a run comes after it.
    fn append_from(&self, header: &RecordHeader, parts: &[Bytes], origin: Origin) -> Result<RecordAt> {
        self.check_writable()?;
        let len = parts.iter().map(Bytes::len).sum();
        if header.record_len() != len {
            return Err(Error::damaged("a record to be appended", "its length is not what its header says"));
        }
        let (at, full) = {
            let mut taker = self.taker(origin);
            let (pack, full) = self.pack_for(&mut taker, len)?;
            let offset = pack.append(parts)?;
            self.enter(&pack, offset, header, origin)?;
            (RecordAt { pack: pack.number, offset }, full)
        };
        if let Some(full) = full {
            // Else it stays open: it is read as well, and what a failed sync left unsure is reported by the next `sync`.
            if !full.is_closed() && self.packs.seal(&full).is_ok() {
                self.write_index();
            }
        } else if self.index.in_memory() >= self.flush_at.load(Ordering::Relaxed) {
            self.write_index();
        }
        Ok(at)
    }

    /// Enters an appended record in the index.
    fn enter(&self, pack: &OpenPack, offset: u32, header: &RecordHeader, origin: Origin) -> Result<()> {
        let lines: Vec<_> = FooterLine::of_record(offset, header).collect();
        let len = u32::try_from(header.record_len()).unwrap_or(u32::MAX);
        let range = offset..offset.checked_add(len).expect("a pack ends before PACK_BYTES_MAX");
        match origin {
            Origin::New => {
                pack.owe();
                // Who appends a chunk relies on it wherever it is found.
                let condemned = self.condemned();
                self.index.add_record(pack.number, range, &lines, &mut |at| condemned.save(at))
            }
            Origin::Moved(from) => self.index.move_record(pack.number, range, &lines, from),
        }
    }

    /// Returns the pack that takes a record of `len` bytes: the one in `taker` or another, and then the one before, which is full.
    fn pack_for(&self, taker: &mut Option<Arc<OpenPack>>, len: usize) -> Result<(Arc<OpenPack>, Option<Arc<OpenPack>>)> {
        if let Some(pack) = taker.as_ref().filter(|pack| pack.accepts(len, self.limits.pack_bytes_max)) {
            return Ok((Arc::clone(pack), None));
        }
        let mut next = self.next_pack.lock().expect("nothing panics while it numbers a pack");
        let after = opening::after(*next)?;
        let pack = self.packs.create(*next)?;
        *next = after;
        Ok((Arc::clone(&pack), taker.replace(pack)))
    }

    /// Takes the pack that takes new records away from who appends.
    pub(super) fn take_active(&self) -> Option<Arc<OpenPack>> {
        self.taker(Origin::New).take()
    }

    /// Lets nothing more be appended to `pack`.
    pub(crate) fn end_appending(&self, pack: &Pack) {
        for origin in [Origin::New, Origin::Moved(pack.number())] {
            if let Some(taker) = self.taker(origin).take_if(|taker| taker.number == pack.number()) {
                taker.close();
            }
        }
    }

    /// Writes the index if that is possible and nobody does: it is a cache, so what is not written now is written later or read from the packs.
    pub(super) fn write_index(&self) {
        if self.index.is_writing() && self.index.in_memory() < self.limits.memory_entries_max.saturating_mul(WAIT_FACTOR) {
            return;
        }
        let written = self.index.flush(&|| self.packs.sync());
        let kept = if written.is_ok() { 0 } else { self.index.in_memory() };
        self.flush_at.store(kept + self.limits.memory_entries_max, Ordering::Relaxed);
    }

    /// Points the entry of `line` (of pack `pack`) there.
    pub(crate) fn correct(&self, pack: u32, line: &FooterLine) -> Result<()> {
        let _turn = self.taker(Origin::New);
        self.index.correct(pack, line)
    }

    /// Notes damage, durably: what lies there is no longer found.
    pub(crate) fn add_damage(&self, found: &[DamagedChunk]) -> Result<()> {
        let mut damaged = self.damaged();
        damaged.add(found)?;
        damaged.store(&self.dir)?;
        self.index.set_damaged(damaged.records());
        Ok(())
    }

    /// Forgets damage in packs that go away.
    pub(crate) fn forget_damage_in(&self, packs: &[u32]) -> Result<()> {
        let mut damaged = self.damaged();
        if damaged.forget(packs) {
            damaged.store(&self.dir)?;
            self.index.set_damaged(damaged.records());
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.mode == Mode::Write {
            // Best effort, as in `write_index`.
            let _ = self.index.flush(&|| self.packs.sync());
        }
    }
}
