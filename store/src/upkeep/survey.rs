//! Looking over one pack: what of it is live, dead, condemned already.

use std::collections::{BTreeMap, BTreeSet};

use super::condemned::{Batch, Condemned, Place, place};
use super::mark::Marks;
use crate::error::Result;
use crate::pack::{FooterLine, Pack};
use crate::store::{ChunkAt, RecordAt, Store};

/// Dead chunks of a pack that were condemned together.
#[derive(Debug, Default)]
pub(super) struct Dead {
    pub(super) places: Vec<Place>,
    /// Their raw bytes.
    pub(super) raw_bytes: u64,
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
    /// Looks over `pack` as it was when marking began.
    pub(super) fn of(store: &Store, pack: &Pack, marks: &Marks, condemned: &Condemned) -> Result<Self> {
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
        let batches = condemned.batches(survey.pack);
        let lines = pack.lines(&mut |lines| lines.iter().try_for_each(|line| survey.take(store, line, marks, batches)))?;
        survey.kept |= !lines.whole;
        survey.condemned.values_mut().chain([&mut survey.fresh]).for_each(|dead| dead.places.sort_unstable());
        Ok(survey)
    }

    fn take(&mut self, store: &Store, line: &FooterLine, marks: &Marks, batches: &[Batch]) -> Result<()> {
        let len = u64::from(line.len);
        self.raw_bytes += len;
        let here = ChunkAt { record: RecordAt { pack: self.pack, offset: line.offset }, ordinal: line.ordinal };
        let found = marks.find(&line.id)?;
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
        let dead = match holder.filter(|batch| batch.holds(at)) {
            Some(batch) => self.condemned.entry((batch.since_millis, batch.next_lease)).or_default(),
            // What was saved is condemned anew, and so has a whole grace period again.
            None => &mut self.fresh,
        };
        dead.places.push(at);
        dead.raw_bytes += len;
        Ok(())
    }
}
