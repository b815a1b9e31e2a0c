//! Answers of records: what lies in memory is handed on as it lies, for the rest a blocking thread takes one step at a time.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use consign_store::cores;
use consign_store::restore::WireStream;
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::blocking;
use crate::net::error::{Error, Result};

/// Steps at once for each processor: half of them may be waiting for a disk.
const STEPS_A_CORE: usize = 2;
/// Most steps at once: each takes a thread, and a few decoded records of memory.
const STEPS_MAX: usize = 8;
/// KiB of records that were made for one answer each and wait for sockets, together.
const MADE_KIB_MAX: u32 = 16 << 10;

/// Bytes that an answer of several records sends before the others have their turn.
const TURN_BYTES: usize = 256 << 10;

/// What the answers of records share. An answer holds neither a thread nor content while its receiver is slow, but for what was made for it alone.
#[derive(Debug)]
pub(super) struct Steps {
    turns: Arc<Semaphore>,
    /// In KiB; what was made holds its part until it is sent.
    room: Arc<Semaphore>,
}

impl Default for Steps {
    fn default() -> Self {
        let steps = cores().saturating_mul(STEPS_A_CORE).min(STEPS_MAX);
        Self { turns: Arc::new(Semaphore::new(steps)), room: Arc::new(Semaphore::new(MADE_KIB_MAX as usize)) }
    }
}

/// Bytes that were made for one answer.
struct Made {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Made {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Steps {
    /// Makes a body of `records`; `what` names them in errors.
    ///
    /// A later record that cannot be had fails the body, and with it the connection: a cut answer never looks like a complete one. `broken` is called where a record
    /// cannot be had.
    ///
    /// # Errors
    /// The first record cannot be had.
    pub(super) async fn body(
        self: Arc<Self>,
        records: WireStream,
        what: &'static str,
        broken: impl Fn() + Send + 'static,
    ) -> Result<Body> {
        let (first, records) = self.next(records, what).await.inspect_err(|_| broken())?;
        let Some(first) = first else { return Ok(Body::empty()) };
        if records.is_over() {
            return Ok(Body::from(first));
        }
        Ok(Body::from_stream(unfold(Some((self, first, records, broken)), move |state| async move {
            let (steps, mut left, records, broken) = state?;
            // A fast receiver takes megabytes before its socket is full; others are waiting.
            tokio::task::yield_now().await;
            if !left.is_empty() {
                let part = left.split_to(left.len().min(TURN_BYTES));
                return Some((Ok(part), Some((steps, left, records, broken))));
            }
            match steps.next(records, what).await {
                Ok((Some(mut record), records)) => {
                    let part = record.split_to(record.len().min(TURN_BYTES));
                    Some((Ok(part), Some((steps, record, records, broken))))
                }
                Ok((None, _)) => None,
                Err(error) => {
                    broken();
                    tracing::error!(what, %error, "an answer could not be completed");
                    Some((Err(io::Error::other("the answer could not be completed")), None))
                }
            }
        })))
    }

    /// Takes the next record.
    async fn next(&self, mut records: WireStream, what: &'static str) -> Result<(Option<Bytes>, WireStream)> {
        if let Some(record) = records.next_now() {
            return Ok((Some(record), records));
        }
        if records.is_over() {
            return Ok((None, records));
        }
        let turn = acquire(&self.turns, 1, what).await?;
        // Whoever gives up the answer does not end the step, which keeps its turn.
        let (record, records, turn) = blocking::run(what, move || (records.next_record(), records, turn)).await?;
        let record = match record? {
            Some(record) if record.is_made => {
                let kib = u32::try_from(record.bytes.len().div_ceil(1024)).unwrap_or(u32::MAX).min(MADE_KIB_MAX);
                // The turn is kept meanwhile, so that what waits for room is bounded too.
                let room = acquire(&self.room, kib, what).await?;
                Some(Bytes::from_owner(Made { bytes: record.bytes, _room: room }))
            }
            other => other.map(|record| record.bytes),
        };
        drop(turn);
        Ok((record, records))
    }
}

async fn acquire(of: &Arc<Semaphore>, count: u32, what: &'static str) -> Result<OwnedSemaphorePermit> {
    // Nobody closes them.
    Arc::clone(of).acquire_many_owned(count).await.map_err(|_| Error::Stopped(what))
}
