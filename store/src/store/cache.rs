//! The records that were decoded last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use super::RecordAt;
use crate::chunk::record::VerifiedRecord;

/// Most decoded records kept.
const RECORDS_CACHED_MAX: usize = 8;

/// A small cache of decoded records, the one used last in front.
#[derive(Default)]
pub(super) struct RecordCache {
    records: Mutex<VecDeque<(RecordAt, Arc<VerifiedRecord>)>>,
}

impl RecordCache {
    /// Returns the record at `at` if it is here.
    pub(super) fn get(&self, at: RecordAt) -> Option<Arc<VerifiedRecord>> {
        let mut records = self.lock();
        let place = records.iter().position(|(there, _)| *there == at)?;
        let entry = records.remove(place)?;
        let record = Arc::clone(&entry.1);
        records.push_front(entry);
        Some(record)
    }

    /// Keeps the record at `at`, and no longer the one that was not used for the longest time.
    pub(super) fn put(&self, at: RecordAt, record: &Arc<VerifiedRecord>) {
        let mut records = self.lock();
        records.retain(|(there, _)| *there != at);
        records.truncate(RECORDS_CACHED_MAX - 1);
        records.push_front((at, Arc::clone(record)));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(RecordAt, Arc<VerifiedRecord>)>> {
        self.records.lock().expect("nothing panics while it uses the cache")
    }
}
