//! Sweeping: what a pack still holds of worth is copied, then it is no longer found, then its file is unlinked.
//!
//! Each step is durable before the next, so a kill in between leaves a pack too many and never one too few.

use super::condemned::{Batch, place};
use super::gc::{GcReport, Plan};
use crate::chunk::VerifiedChunk;
use crate::chunk::record::{self, VerifiedRecord};
use crate::error::{Error, Result};
use crate::index::Dropped;
use crate::pack::{FooterLine, Found, Pack};
use crate::store::{ChunkAt, RecordAt, Store};

/// Compression of records of which a part is copied.
const LEVEL: i32 = 3;

/// Carries out plans.
pub(super) struct Sweep<'a> {
    store: &'a Store,
    dry_run: bool,
    pace: &'a mut dyn FnMut(u64) -> Result<()>,
    report: &'a mut GcReport,
}

/// A pack whose copies are made.
struct Emptied {
    plan: Plan,
    dropped: Dropped,
    copied_bytes: u64,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(
        store: &'a Store,
        dry_run: bool,
        pace: &'a mut dyn FnMut(u64) -> Result<()>,
        report: &'a mut GcReport,
    ) -> Self {
        Self { store, dry_run, pace, report }
    }

    /// Carries out `plans`.
    pub(super) fn run(mut self, plans: Vec<Plan>) -> Result<()> {
        if !self.dry_run {
            for plan in &plans {
                self.store.inner.end_appending(&plan.pack);
            }
        }
        let mut emptied = Vec::new();
        for plan in plans {
            match self.empty(plan)? {
                Some(done) => emptied.push(done),
                None => self.report.packs_kept += 1,
            }
        }
        let mut kept = Vec::new();
        if !self.dry_run && !emptied.is_empty() {
            (emptied, kept) = self.forget(emptied)?;
            self.unlink(&emptied)?;
        }
        for done in &emptied {
            self.count(done);
        }
        for done in kept {
            self.report.packs_kept += 1;
            self.report.copied_bytes += done.copied_bytes;
            self.report.freed_bytes = self.report.freed_bytes.saturating_sub(done.copied_bytes);
        }
        Ok(())
    }

    fn count(&mut self, done: &Emptied) {
        let report = &mut *self.report;
        report.freed_bytes = (report.freed_bytes + done.plan.pack.stored_bytes()).saturating_sub(done.copied_bytes);
        report.copied_bytes += done.copied_bytes;
        *(if done.plan.is_dead() { &mut report.packs_unlinked } else { &mut report.packs_rewritten }) += 1;
        report.chunks_swept += done.dropped.chunks;
        report.chunks_waiting = report.chunks_waiting.saturating_sub(done.dropped.chunks);
        report.waiting_raw_bytes = report.waiting_raw_bytes.saturating_sub(done.dropped.raw_bytes);
    }

    /// Copies what has to be kept of a pack, record by record as it lies; `None` when some of it cannot be read, so that the pack has to stay.
    fn empty(&mut self, mut plan: Plan) -> Result<Option<Emptied>> {
        let pack = plan.pack.clone();
        let store = self.store;
        plan.spared = store.inner.condemned().batches(pack.number()).iter().flat_map(Batch::saved).collect();
        plan.spared.sort_unstable();
        let (mut dropped, mut copied_bytes) = (Dropped::default(), 0);
        let walked = pack.records(&mut |found| {
            let mut keep = Vec::new();
            for line in FooterLine::of_record(found.offset, &found.header) {
                let here = ChunkAt { record: RecordAt { pack: pack.number(), offset: line.offset }, ordinal: line.ordinal };
                if store.inner.index.locate(&line.id)? != Some(here) {
                    continue;
                }
                if plan.dooms(place(line.offset, line.ordinal)) {
                    dropped.chunks += 1;
                    dropped.raw_bytes += u64::from(line.len);
                } else {
                    keep.push(line.ordinal);
                }
            }
            if keep.is_empty() {
                return (self.pace)(found.header.header_len as u64);
            }
            copied_bytes += self.copy(&pack, found, &keep)?;
            (self.pace)(found.header.record_len() as u64)
        });
        match walked {
            Ok(lines) => {
                dropped.records = lines.records;
                Ok(lines.whole.then_some(Emptied { plan, dropped, copied_bytes }))
            }
            Err(Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Copies some chunks of one record; returns the bytes of the new one.
    fn copy(&self, pack: &Pack, found: &Found, keep: &[u16]) -> Result<u64> {
        let record = pack.record_of(found).and_then(VerifiedRecord::decode);
        let record = record.map_err(|error| pack.at_record(found.offset, error))?;
        let encoded = if record.header().chunks.len() == keep.len() {
            record.encoded().clone()
        } else {
            let chunks: Vec<VerifiedChunk> = keep.iter().filter_map(|ordinal| record.chunk(*ordinal)).collect();
            record::encode(record.header().kind, &chunks, LEVEL)?
        };
        if !self.dry_run {
            self.store.inner.append_moved(&encoded, pack.number())?;
        }
        Ok(encoded.len() as u64)
    }

    /// Finds nothing in the emptied packs any more, durably; returns those, and the ones that stay because something in them was looked up
    /// meanwhile.
    fn forget(&self, emptied: Vec<Emptied>) -> Result<(Vec<Emptied>, Vec<Emptied>)> {
        let inner = &self.store.inner;
        inner.packs.sync()?;
        let (gone, kept): (Vec<_>, Vec<_>) = {
            // Nobody looks up now: what is not saved at this moment is not found by anybody after it.
            let mut condemned = inner.condemned_mut();
            let is_saved = |done: &Emptied| {
                let mut saved = condemned.batches(done.plan.pack.number()).iter().flat_map(Batch::saved);
                saved.any(|place| done.plan.dooms(place))
            };
            let (gone, kept): (Vec<_>, Vec<_>) = emptied.into_iter().partition(|done| !is_saved(done) && done.plan.pack.hold());
            for done in &gone {
                inner.index.drop_pack(done.plan.pack.number(), done.dropped);
                condemned.packs.remove(&done.plan.pack.number());
            }
            (gone, kept)
        };
        if !gone.is_empty() {
            inner.index.rewrite(&|| inner.packs.sync())?;
        }
        Ok((gone, kept))
    }

    fn unlink(&self, emptied: &[Emptied]) -> Result<()> {
        let inner = &self.store.inner;
        let numbers: Vec<_> = emptied.iter().map(|done| done.plan.pack.number()).collect();
        // The lists first: a number that is in one of them must not be given to another pack.
        inner.condemned().store(&inner.dir)?;
        inner.forget_damage_in(&numbers)?;
        let next_lease = inner.leases.next();
        numbers.iter().try_for_each(|&number| inner.packs.retire(number, next_lease))?;
        inner.packs.sync_names()?;
        inner.packs.release(inner.leases.oldest());
        Ok(())
    }
}
