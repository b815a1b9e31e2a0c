//! What the workers do next: one lock over all work that is waiting, being done, or done and not yet taken back.
//!
//! Reading is numbered in layout order and its pieces are taken back in that order; records are numbered as they are filled and appended in
//! that order. So the result does not depend on who did what when.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::fill::Run;
use super::read::{LargeFile, Piece, SEGMENT_BYTES, SMALL_BYTES_MAX, Source};
use crate::error::{Error, Result};
use crate::id::ChunkId;

/// Most raw bytes between being read and being appended; the piece that everything waits for may pass it.
const IN_FLIGHT_BYTES_MAX: usize = 48 << 20;
/// Most files of one read task.
const BATCH_FILES_MAX: usize = 4096;

/// Something for a worker to do.
pub(super) enum Task {
    /// Encode a record.
    Encode(u64, Run),
    /// Read small files: places in the order of reading.
    Small(u64, Range<usize>),
    /// Read the next segment of a large file.
    Large(u64, LargeFile),
}

/// An encoded record on its way into the store.
pub(super) struct Encoded {
    pub bytes: Bytes,
    pub ids: Vec<ChunkId>,
    pub raw_bytes: usize,
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
    /// How much of the order has been handed out.
    handed: usize,
    /// Number of the next read task; of the one whose pieces are taken back now.
    next_read: u64,
    head: u64,
    /// Large files between two segments.
    large: BTreeMap<u64, LargeFile>,
    /// Pieces not yet taken back, and whether their task has ended.
    pieces: BTreeMap<u64, (VecDeque<Piece>, bool)>,
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
    order: &'a [u32],
    state: Mutex<State>,
    for_workers: Condvar,
    for_appender: Condvar,
}

impl<'a> Schedule<'a> {
    /// Plans reading the files `order`.
    pub fn new(source: &'a Source<'a>, order: &'a [u32]) -> Self {
        let (for_workers, for_appender) = (Condvar::new(), Condvar::new());
        Self { source, order, state: Mutex::default(), for_workers, for_appender }
    }

    /// About how many tasks there are at least: more workers would have nothing to do.
    pub fn tasks_min(&self) -> usize {
        let bytes: u64 = self.order.iter().map(|&item| self.source.size(item)).sum();
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

    /// Takes the first read task that the limit allows.
    fn read_task(&self, state: &mut State) -> Option<Task> {
        if let Some((&number, _)) = state.large.first_key_value()
            && state.may_read(number, SEGMENT_BYTES)
        {
            state.in_flight += SEGMENT_BYTES;
            return state.large.remove(&number).map(|large| Task::Large(number, large));
        }
        let &first = self.order.get(state.handed)?;
        let number = state.next_read;
        let mut bytes = self.source.size(first);
        let (range, reserve) = if bytes > SMALL_BYTES_MAX {
            (state.handed..state.handed + 1, SEGMENT_BYTES)
        } else {
            let mut end = state.handed + 1;
            while end < self.order.len() && end - state.handed < BATCH_FILES_MAX {
                let more = self.source.size(self.order[end]);
                if bytes + more > SMALL_BYTES_MAX {
                    break;
                }
                bytes += more;
                end += 1;
            }
            (state.handed..end, usize::try_from(bytes).unwrap_or(SEGMENT_BYTES))
        };
        if !state.may_read(number, reserve) {
            return None;
        }
        state.in_flight += reserve;
        state.handed = range.end;
        state.next_read += 1;
        if bytes > SMALL_BYTES_MAX {
            Some(Task::Large(number, Source::begin_large(first)))
        } else {
            Some(Task::Small(number, range))
        }
    }

    /// Delivers what a read task brought that had reserved `reserved` bytes; `large` goes on if it is given.
    pub fn read(&self, number: u64, reserved: usize, piece: Piece, large: Option<LargeFile>) {
        let mut state = self.lock();
        state.in_flight = state.in_flight + piece.raw_bytes() - reserved;
        let (pieces, ended) = state.pieces.entry(number).or_default();
        pieces.push_back(piece);
        *ended = large.is_none();
        if let Some(large) = large {
            state.large.insert(number, large);
        }
        drop(state);
        self.for_appender.notify_one();
        self.for_workers.notify_one();
    }

    /// What a task that reads `range` has reserved.
    pub fn reserved(&self, range: &Range<usize>) -> usize {
        let bytes = self.order[range.clone()].iter().map(|&item| self.source.size(item)).sum::<u64>();
        usize::try_from(bytes).unwrap_or(SEGMENT_BYTES)
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

    /// Says that `bytes` raw bytes are held that no read task brought.
    pub fn hold(&self, bytes: usize) {
        self.lock().in_flight += bytes;
    }

    /// Says that `bytes` raw bytes are held no longer.
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
            if let Some(piece) = state.next_piece() {
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
    /// Says whether read task `number` may bring `bytes` more. The task that everything waits for always may, once what it brought before
    /// has been taken back: else the others could fill the limit and nothing would go on.
    fn may_read(&self, number: u64, bytes: usize) -> bool {
        let untaken = self.pieces.get(&number).is_some_and(|(pieces, _)| !pieces.is_empty());
        self.in_flight + bytes <= IN_FLIGHT_BYTES_MAX || (number == self.head && !untaken)
    }

    /// Takes the next piece in order, going on to the next task when one has ended.
    fn next_piece(&mut self) -> Option<Piece> {
        let (pieces, ended) = self.pieces.get_mut(&self.head)?;
        let piece = pieces.pop_front();
        if pieces.is_empty() && *ended {
            self.pieces.remove(&self.head);
            self.head += 1;
        }
        piece
    }
}
