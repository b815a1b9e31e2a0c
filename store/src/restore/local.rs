//! From a store's records to chunks by ordinal: which records hold what is asked for.

use std::ops::Range;

use crate::chunk::record::VerifiedRecord;
use crate::error::{Error, Result};
use crate::manifest::layout::Layout;
use crate::manifest::table::ChunkTable;
use crate::store::{RecordAt, Store};

/// Consecutive wanted chunks that lie in one record: their places in it, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) record: RecordAt,
    pub(super) places: Vec<u16>,
}

/// Groups wanted ordinals into [`Run`]s, in their order.
pub(super) struct Runs<O> {
    ordinals: O,
    next: Option<Run>,
}

/// Iterates the ordinals of `ranges`.
pub(super) fn ordinals_of(ranges: Vec<Range<u32>>) -> impl Iterator<Item = u32> {
    ranges.into_iter().flatten()
}

impl<O: Iterator<Item = u32>> Runs<O> {
    pub(super) fn new(ordinals: O) -> Self {
        Self { ordinals, next: None }
    }

    /// Finds the next run.
    pub(super) fn next(&mut self, store: &Store, table: &ChunkTable) -> Result<Option<Run>> {
        let mut run = self.next.take();
        for ordinal in self.ordinals.by_ref() {
            let unknown = || Error::damaged(format!("chunk table of {ordinal}"), "it has no such line; build it again");
            let line = table.line(ordinal).ok_or_else(unknown)?;
            let at = store.locate(&line.id)?.ok_or(Error::NoChunk(line.id))?;
            match &mut run {
                Some(open) if open.record == at.record && open.places.last().is_some_and(|last| *last < at.ordinal) => {
                    open.places.push(at.ordinal);
                }
                // The same chunk again, at once: it is in the run already.
                Some(open) if open.record == at.record && open.places.last() == Some(&at.ordinal) => {}
                _ => {
                    self.next = Some(Run { record: at.record, places: vec![at.ordinal] });
                    if run.is_some() {
                        return Ok(run);
                    }
                    run = self.next.take();
                }
            }
        }
        Ok(run)
    }
}

/// Returns the records that hold the chunks at `ordinals`, each once, in the order of the packs.
pub(super) fn records_of(store: &Store, table: &ChunkTable, ordinals: Vec<Range<u32>>) -> Result<Vec<RecordAt>> {
    let mut runs = Runs::new(ordinals_of(ordinals));
    let mut out = Vec::new();
    while let Some(run) = runs.next(store, table)? {
        out.push(run.record);
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// Iterates whole, verified records that cover the chunks at `ordinals` of `table`, in that order, each record read and decoded once per run.
///
/// # Errors
/// The store lacks a chunk, or it is damaged; what `sink` returns.
pub fn stream_local(
    store: &Store,
    table: &ChunkTable,
    _layout: &Layout,
    ordinals: &[Range<u32>],
    sink: &mut dyn FnMut(VerifiedRecord) -> Result<()>,
) -> Result<()> {
    let _lease = store.lease();
    let mut runs = Runs::new(ordinals_of(ordinals.to_vec()));
    while let Some(run) = runs.next(store, table)? {
        sink(VerifiedRecord::decode(store.read_record(run.record)?)?)?;
    }
    Ok(())
}
