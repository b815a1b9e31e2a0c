//! Looking over one pack: what of it is live, dead, condemned already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::condemned::{Batch, Condemned, Place, Places, place};
use super::mark::{Marks, Pace};
use crate::error::Result;
use crate::pack::{FooterLine, LINE_BYTES, Pack};
use crate::store::{ChunkAt, RecordAt, Store};

/// Dead chunks of a pack that were condemned together.
#[derive(Debug, Default)]
pub(super) struct Dead {
    pub(super) places: Places,
    /// Their raw bytes.
    pub(super) raw_bytes: u64,
}

impl Dead {
    fn push(&mut self, at: Place, len: u64) {
        // Nobody shares them until all are there.
        Arc::make_mut(&mut self.places).push(at);
        self.raw_bytes += len;
    }
}

/// Lines that are looked at between two pauses.
const STRIDE_LINES: usize = 64;

/// What was known before a pack was looked over.
pub(super) struct Before<'a> {
    pub(super) marks: &'a Marks,
    pub(super) condemned: &'a Condemned,
    /// Most chunks that are found dead and were not before: the others are as good as live, because nobody could save them.
    pub(super) fresh_max: usize,
}

/// What is in a pack.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) pack: u32,
    /// Bytes of the file.
    pub(super) stored_bytes: u64,
    /// Raw bytes of all its records.
    pub(super) raw_bytes: u64,
    /// Raw bytes of the chunks that are found in it.
    pub(super) found_bytes: u64,
    /// Dead chunks that are condemned already, by when and by the next lease then.
    pub(super) condemned: BTreeMap<(i64, u64), Dead>,
    /// Dead chunks that are not condemned yet.
    pub(super) fresh: Dead,
    /// Something live in it is damaged, or it holds a copy of something live that is damaged elsewhere: it stays.
    pub(super) kept: bool,
    /// Offsets of its damaged records.
    damaged: BTreeSet<u32>,
}

impl Survey {
    /// Looks over `pack` as it was when marking began; `pause` is called every few lines.
    pub(super) fn of(store: &Store, pack: &Pack, before: &Before<'_>, pause: Pace<'_>) -> Result<Self> {
        let mut survey = Self {
            pack: pack.number(),
            stored_bytes: pack.stored_bytes(),
            raw_bytes: 0,
            found_bytes: 0,
            condemned: BTreeMap::new(),
            fresh: Dead::default(),
            kept: false,
            damaged: store
                .inner
                .damaged()
                .records()
                .into_iter()
                .filter(|at| at.pack == pack.number())
                .map(|at| at.offset)
                .collect(),
        };
        let batches = before.condemned.batches(survey.pack);
        let lines = pack.lines(&mut |lines| {
            lines.chunks(STRIDE_LINES).try_for_each(|lines| {
                lines.iter().try_for_each(|line| survey.take(store, line, before, batches))?;
                pause((lines.len() * LINE_BYTES) as u64)
            })
        })?;
        survey.kept |= !lines.whole;
        survey.condemned.values_mut().chain([&mut survey.fresh]).for_each(|dead| {
            let places = Arc::make_mut(&mut dead.places);
            places.sort_unstable();
            places.shrink_to_fit();
        });
        Ok(survey)
    }

    fn take(&mut self, store: &Store, line: &FooterLine, before: &Before<'_>, batches: &[Batch]) -> Result<()> {
        let len = u64::from(line.len);
        self.raw_bytes += len;
        let here = ChunkAt { record: RecordAt { pack: self.pack, offset: line.offset }, ordinal: line.ordinal };
        let found = before.marks.find(&line.id)?;
        let Some((_, is_live)) = found.filter(|(at, _)| *at == here) else {
            // A chunk that came since, or a copy: of no use unless the chunk cannot be had where it is said to be.
            let now = store.inner.index.locate(&line.id)?;
            self.found_bytes += if now == Some(here) { len } else { 0 };
            self.kept |= now.is_none() && found.is_some_and(|(_, is_live)| is_live);
            return Ok(());
        };
        self.found_bytes += len;
        if is_live {
            self.kept |= self.damaged.contains(&line.offset) && store.inner.index.locate(&line.id)?.is_none();
            return Ok(());
        }
        let at = place(line.offset, line.ordinal);
        let holder = batches.iter().find(|batch| batch.places.binary_search(&at).is_ok());
        match holder.filter(|batch| batch.holds(at)) {
            Some(batch) => self.condemned.entry((batch.since_millis, batch.next_lease)).or_default().push(at, len),
            // What was saved is condemned anew, and so has a whole grace period again.
            None if self.fresh.places.len() < before.fresh_max => self.fresh.push(at, len),
            None => {}
        }
        Ok(())
    }
}
