//! The one writer: a thread that owns the writing connection and works off a bounded queue.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// Most writes that may stand in the queue; further callers wait for a place.
const QUEUE_MAX: usize = 256;
/// Longest wait for a place in the queue.
const PLACE_WAIT_SECS_MAX: u64 = 30;

/// Why a piece of work got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// No place became free in time.
    Busy,
    /// The thread ended or the work panicked.
    Stopped,
}

/// Whether the connection is still fit for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    GoOn,
    Stop,
}

type Work = Box<dyn FnOnce(&mut Connection) -> Fate + Send>;

/// What waits for the writer, the running write included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriterQueue {
    /// How many writes.
    pub depth: u64,
    /// For how long the oldest has waited.
    pub oldest: Option<Duration>,
}

pub(super) struct Writer {
    jobs: mpsc::Sender<Work>,
    line: Arc<Line>,
}

impl Writer {
    /// Starts the thread; it ends when the writer is dropped and its queue is worked off.
    pub(super) fn start(mut connection: Connection) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Work>(QUEUE_MAX);
        thread::Builder::new().name("catalog-writer".into()).spawn(move || {
            while let Some(work) = queue.blocking_recv() {
                let fate = catch_unwind(AssertUnwindSafe(|| work(&mut connection))).unwrap_or_else(|_| {
                    tracing::error!("a write to the catalog panicked and was rolled back");
                    Fate::GoOn
                });
                if fate == Fate::Stop || !connection.is_autocommit() {
                    tracing::error!("the catalog takes no more writes until it is opened again");
                    break;
                }
            }
        })?;
        Ok(Self { jobs, line: Arc::default() })
    }

    /// Runs `work` on the thread, after all that was queued before it. Work that is queued is done even if the caller goes away.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> (T, Fate) + Send + 'static,
    ) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        let ticket = Ticket::take(&self.line);
        let work: Work = Box::new(move |connection| {
            let (value, fate) = work(connection);
            drop(ticket);
            // The caller may have gone away: the write stands all the same.
            let _ = answer.send(value);
            fate
        });
        let place = tokio::time::timeout(Duration::from_secs(PLACE_WAIT_SECS_MAX), self.jobs.reserve()).await;
        place.map_err(|_| Refused::Busy)?.map_err(|_| Refused::Stopped)?.send(work);
        answered.await.map_err(|_| Refused::Stopped)
    }

    /// Waits until the thread has ended.
    pub(super) async fn ended(&self) {
        self.jobs.closed().await;
    }

    pub(super) fn queue(&self) -> WriterQueue {
        let waiting = self.line.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        WriterQueue {
            depth: waiting.since.len() as u64,
            oldest: waiting.since.first_key_value().map(|(_, since)| since.elapsed()),
        }
    }
}

#[derive(Default)]
struct Line {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// A place in the line, given up when the work is done or dropped.
struct Ticket {
    line: Arc<Line>,
    number: u64,
}

impl Ticket {
    fn take(line: &Arc<Line>) -> Self {
        let mut waiting = line.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next += 1;
        waiting.since.insert(number, Instant::now());
        Self { line: Arc::clone(line), number }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.line.waiting.lock().unwrap_or_else(PoisonError::into_inner).since.remove(&self.number);
    }
}
