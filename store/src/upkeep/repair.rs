//! Repair: what is damaged is stored anew from a source that has the right bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::damaged::DamagedChunk;
use super::gc::Plan;
use super::sweep::Sweep;
use crate::chunk::record::{self, RECORD_CHUNKS_MAX, RECORD_RAW_BYTES_MAX};
use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::store::Store;

/// Most chunks asked for at once, so that they take little memory.
const ASKED_CHUNKS_MAX: usize = 64;
/// Compression, as ingest compresses.
const LEVEL: i32 = 3;

/// What a repair has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepairReport {
    /// Chunks stored anew.
    pub repaired: u64,
    /// Packs written anew because their header, footer or trailer is damaged.
    pub packs_rewritten: u64,
    /// Chunks that are damaged and that the source did not have.
    pub remaining: Vec<DamagedChunk>,
}

impl Store {
    /// Returns the chunks that are known to be damaged and have not been stored anew.
    ///
    /// # Errors
    /// I/O on the index.
    pub fn damaged(&self) -> Result<Vec<DamagedChunk>> {
        let known: BTreeMap<_, _> = self.inner.damaged().chunks.iter().map(|chunk| (chunk.id, *chunk)).collect();
        let mut out = Vec::new();
        for chunk in known.into_values() {
            if self.inner.index.locate(&chunk.id)?.is_none() {
                out.push(chunk);
            }
        }
        Ok(out)
    }

    /// Counts the chunks that were found damaged, those that were stored anew included: whoever remembers it knows when there are more.
    #[must_use]
    pub fn damage_noted(&self) -> usize {
        self.inner.damaged().chunks.len()
    }
}

/// Stores anew what is known to be damaged: asks `source` for some chunks at a time, of which it returns those that it has. Packs whose header or
/// footer is damaged are written anew. Durable when it returns.
///
/// # Errors
/// What `source` returns; I/O; opened for reading only. What was repaired until then stays repaired.
pub fn repair(store: &Store, source: &mut dyn FnMut(&[ChunkId]) -> Result<Vec<VerifiedChunk>>) -> Result<RepairReport> {
    store.inner.check_writable()?;
    let _turn = store.inner.upkeep_turn();
    let mut report = RepairReport::default();
    let damaged: Vec<_> = store.damaged()?.into_iter().map(|chunk| chunk.id).collect();
    for asked in damaged.chunks(ASKED_CHUNKS_MAX) {
        let mut found = source(asked)?;
        found.retain(|chunk| asked.contains(&chunk.id()));
        for kind in [ChunkKind::Content, ChunkKind::RecipePage] {
            let of_kind: Vec<_> = found.iter().filter(|chunk| chunk.kind() == kind).cloned().collect();
            store_anew(store, kind, &of_kind)?;
        }
    }
    store.sync()?;
    report.remaining = store.damaged()?;
    report.repaired = (damaged.len() - report.remaining.len()) as u64;
    report.packs_rewritten = rewrite_damaged(store, &report.remaining)?;
    Ok(report)
}

fn store_anew(store: &Store, kind: ChunkKind, chunks: &[VerifiedChunk]) -> Result<()> {
    let mut rest = chunks;
    while !rest.is_empty() {
        let mut raw_bytes = 0;
        let fits = rest.iter().take(RECORD_CHUNKS_MAX).take_while(|chunk| {
            raw_bytes += chunk.bytes().len();
            raw_bytes <= RECORD_RAW_BYTES_MAX
        });
        let (now, later) = rest.split_at(fits.count());
        store.append_encoded(record::encode(kind, now, LEVEL)?)?;
        rest = later;
    }
    Ok(())
}

/// Copies the content of packs that a later opening could not read, and unlinks them. One that holds something of `remaining` waits.
fn rewrite_damaged(store: &Store, remaining: &[DamagedChunk]) -> Result<u64> {
    let waiting: BTreeSet<_> = remaining.iter().map(|chunk| chunk.at.record.pack).collect();
    let mut plans = Vec::new();
    for pack in store.inner.packs.all().into_iter().filter(|pack| !waiting.contains(&pack.number())) {
        match pack.check_frame() {
            Ok(()) => {}
            Err(Error::Damaged { .. }) => plans.push(Plan::copy_all(pack)),
            Err(error) => return Err(error),
        }
    }
    let mut done = super::GcReport::default();
    Sweep::new(store, false, &mut |_| Ok(()), &mut done).run(plans)?;
    Ok(done.packs_rewritten)
}

/// Makes a source for [`repair`] of another store.
pub fn from_store(other: &Store) -> impl FnMut(&[ChunkId]) -> Result<Vec<VerifiedChunk>> + use<'_> {
    |ids| {
        let mut found = Vec::new();
        for id in ids {
            let Some(at) = other.locate(id)? else { continue };
            match other.read_verified(at.record) {
                Ok(record) => found.extend(record.chunk(at.ordinal).filter(|chunk| chunk.id() == *id)),
                Err(Error::Damaged { .. }) => {} // this one does not have the right bytes either
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}
