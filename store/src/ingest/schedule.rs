//! What the workers do next: one lock over all work that is waiting, being done, or done and not yet taken back.
//!
//! Reading is numbered in layout order and its pieces are taken back in that order; records are numbered as they are filled and appended in
//! that order. So the result does not depend on who did what when.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::fill::Run;
use super::read::{Piece, SMALL_BYTES_MAX, Source, segments_of};
use super::segment::{CHUNK_HELD_BYTES, SEGMENT_BYTES, SEGMENT_READ_BYTES_MAX};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::spill::Words;

/// Most bytes held between being read and being appended; the piece that everything waits for may pass it.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;
/// Most files of one read task.
const BATCH_FILES_MAX: usize = 4096;

/// Something for a worker to do.
pub(super) enum Task {
    /// Encode a record.
    Encode(u64, Run),
    /// Read small files: places in the order of reading.
    Small(u64, Range<usize>),
    /// Read a segment of a large file: item and number of the segment.
    Segment(u64, u32, u64),
}

/// An encoded record on its way into the store.
pub(super) struct Encoded {
    /// The record, in parts.
    pub record: Vec<Bytes>,
    pub ids: Vec<ChunkId>,
    /// Bytes that were held for its chunks until it is appended.
    pub held_bytes: usize,
}

/// Something for the appender to do.
pub(super) enum Event {
    /// The next piece in layout order.
    Piece(Piece),
    /// The next record.
    Append(Encoded),
    /// Everything has been read and taken back.
    AllRead,
    /// Everything has been appended, too.
    AllAppended,
}

#[derive(Default)]
struct State {
    /// How much of the order has been handed out, and how many segments of the file that comes then.
    handed: usize,
    segments: u64,
    /// Number of the next read task; of the one whose piece is taken back next.
    next_read: u64,
    head: u64,
    /// Pieces not yet taken back.
    pieces: BTreeMap<u64, Piece>,
    encode: VecDeque<(u64, Run)>,
    encoded: BTreeMap<u64, Encoded>,
    /// Number of the next record; of the next to be appended.
    next_record: u64,
    append: u64,
    in_flight: usize,
    stop: bool,
    failed: Option<Error>,
}

/// The work of one reading of files; see the module.
pub(super) struct Schedule<'a> {
    source: &'a Source<'a>,
    /// Item numbers in layout order.
    order: &'a Words<1>,
    state: Mutex<State>,
    for_workers: Condvar,
    for_appender: Condvar,
}

impl<'a> Schedule<'a> {
    /// Plans reading the files `order`.
    pub fn new(source: &'a Source<'a>, order: &'a Words<1>) -> Self {
        let (for_workers, for_appender) = (Condvar::new(), Condvar::new());
        Self { source, order, state: Mutex::default(), for_workers, for_appender }
    }

    /// About how many tasks there are at least: more workers would have nothing to do.
    pub fn tasks_min(&self) -> usize {
        let bytes: u64 = self.order.from(0).map(|[item]| self.source.size(item)).sum();
        let by_bytes = usize::try_from(bytes / SMALL_BYTES_MAX).unwrap_or(usize::MAX);
        by_bytes.max(self.order.len() / BATCH_FILES_MAX).saturating_add(1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panics stops everything by its guard; the state itself is never left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do; `None` when there will be nothing more.
    pub fn task(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.stop {
                return None;
            }
            if let Some((number, run)) = state.encode.pop_front() {
                return Some(Task::Encode(number, run));
            }
            if let Some(task) = self.read_task(&mut state) {
                return Some(task);
            }
            state = self.for_workers.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the next read task if the limit allows it.
    fn read_task(&self, state: &mut State) -> Option<Task> {
        let [first] = self.order.get(state.handed)?;
        let number = state.next_read;
        let size = self.source.size(first);
        let task = if size > SMALL_BYTES_MAX {
            Task::Segment(number, first, state.segments)
        } else {
            Task::Small(number, state.handed..self.batch_end(state.handed))
        };
        let reserve = self.reserved(&task);
        if !state.may_read(number, reserve) {
            return None;
        }
        state.in_flight += reserve;
        state.next_read += 1;
        match &task {
            Task::Small(_, range) => state.handed = range.end,
            _ if state.segments + 1 < segments_of(size) => state.segments += 1,
            _ => (state.handed, state.segments) = (state.handed + 1, 0),
        }
        Some(task)
    }

    /// Finds the end of the small files that are read together from place `start` on.
    fn batch_end(&self, start: usize) -> usize {
        let mut bytes = 0;
        let fits = |[item]: &[u32; 1]| {
            bytes += self.source.size(*item);
            bytes <= SMALL_BYTES_MAX
        };
        start + self.order.from(start).take(BATCH_FILES_MAX).take_while(fits).count()
    }

    /// The bytes that a read task has reserved.
    fn reserved(&self, task: &Task) -> usize {
        let bytes = match task {
            Task::Encode(..) => 0,
            Task::Small(_, range) => {
                let items = self.order.from(range.start).take(range.len());
                items.map(|[item]| self.source.size(item) + CHUNK_HELD_BYTES as u64).sum()
            }
            Task::Segment(_, item, segment) => self.source.size(*item) - segment * SEGMENT_BYTES as u64,
        };
        usize::try_from(bytes).unwrap_or(usize::MAX).min(SEGMENT_READ_BYTES_MAX)
    }

    /// Delivers what a read task brought.
    pub fn read(&self, task: &Task, number: u64, piece: Piece) {
        let mut state = self.lock();
        state.in_flight = state.in_flight + piece.held_bytes() - self.reserved(task);
        state.pieces.insert(number, piece);
        drop(state);
        self.for_appender.notify_one();
        self.for_workers.notify_one();
    }

    /// Hands a run to the workers to be encoded.
    pub fn encode(&self, run: Run) {
        let mut state = self.lock();
        let number = state.next_record;
        state.next_record += 1;
        state.encode.push_back((number, run));
        drop(state);
        self.for_workers.notify_one();
    }

    /// Delivers an encoded record.
    pub fn encoded(&self, number: u64, encoded: Encoded) {
        self.lock().encoded.insert(number, encoded);
        self.for_appender.notify_one();
    }

    /// Says that `bytes` are held that no read task brought.
    pub fn hold(&self, bytes: usize) {
        self.lock().in_flight += bytes;
    }

    /// Says that `bytes` are held no longer.
    pub fn release(&self, bytes: usize) {
        self.lock().in_flight -= bytes;
        self.for_workers.notify_all();
    }

    /// Waits for the appender's next thing to do.
    pub fn event(&self, all_read: bool) -> Result<Event> {
        let mut state = self.lock();
        loop {
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            let append = state.append;
            if let Some(encoded) = state.encoded.remove(&append) {
                state.append += 1;
                return Ok(Event::Append(encoded));
            }
            let head = state.head;
            if let Some(piece) = state.pieces.remove(&head) {
                state.head += 1;
                drop(state);
                // Those behind the head may be allowed now, or the head again.
                self.for_workers.notify_all();
                return Ok(Event::Piece(piece));
            }
            let read = state.handed == self.order.len() && state.head == state.next_read;
            if read && !all_read {
                return Ok(Event::AllRead);
            }
            if read && state.append == state.next_record {
                return Ok(Event::AllAppended);
            }
            state = self.for_appender.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Stops all workers, for `failure` if there is one; the first failure is the one that counts.
    pub fn stop(&self, failure: Option<Error>) {
        let mut state = self.lock();
        state.stop = true;
        if state.failed.is_none() {
            state.failed = failure;
        }
        drop(state);
        self.for_workers.notify_all();
        self.for_appender.notify_all();
    }
}

impl State {
    /// Says whether read task `number` may bring `bytes` more. The task that everything waits for always may: else those behind it could fill
    /// the limit and nothing would go on.
    fn may_read(&self, number: u64, bytes: usize) -> bool {
        self.in_flight + bytes <= IN_FLIGHT_BYTES_MAX || number == self.head
    }
}
