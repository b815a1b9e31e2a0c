//! One request for records: split as they arrive, decoded and taken on blocking threads, so that network and processors overlap.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use consign_store::chunk::ChunkKind;
use consign_store::chunk::record::{RecordSplitter, VerifiedRecord};
use consign_store::cores;
use tokio::sync::mpsc::{self, Receiver};

use super::Sink;
use crate::net::blocking::{self, Work};
use crate::net::client::{BodyStream, Client};
use crate::net::error::{Error, Result};
use crate::protocol::fleet::RANGES_TYPE;
use crate::protocol::ranges::encode;

/// Most workers; each holds one decoded record.
const WORKERS_MAX: usize = 8;

/// What is asked for.
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    pub(super) kind: ChunkKind,
    pub(super) ranges: &'a [Range<u32>],
    /// More chunks than this cannot be an answer.
    pub(super) chunks_max: u64,
}

/// Sends `request` and gives the verified records of its answer to `sink`; `arrived` learns of each piece of the body.
pub(super) async fn fetch(
    client: &Client,
    request: &Request<'_>,
    sink: &Sink,
    arrived: &mut (dyn FnMut(u64) + Send),
) -> Result<()> {
    let mut body = client.post_stream(request.path, RANGES_TYPE, encode(request.ranges).into()).await?;
    let mut crew = Crew::new(request, sink);
    let received = receive(&mut body, &mut crew, arrived).await;
    // A worker's failure is the cause, what the receiving side saw of it the effect.
    match crew.finish().await? {
        Some(Fault::Sink(error)) => Err(Error::Store(error)),
        Some(Fault::Record(why)) => Err(body.lied(why)),
        None => received,
    }
}

async fn receive(body: &mut BodyStream, crew: &mut Crew, arrived: &mut (dyn FnMut(u64) + Send)) -> Result<()> {
    let mut splitter = RecordSplitter::default();
    while let Some(data) = body.chunk().await? {
        arrived(data.len() as u64);
        splitter.push(&data);
        while let Some(record) = splitter.next_record().map_err(|error| body.lied(error.to_string()))? {
            if !crew.give(record).await {
                return Err(body.cut("given up"));
            }
        }
    }
    if splitter.pending() == 0 { Ok(()) } else { Err(body.cut("it ended within a record")) }
}

/// Why a worker gave up.
enum Fault {
    Record(String),
    Sink(consign_store::Error),
}

/// Worker threads that verify records; they start as there is work for them, and stop when this is dropped.
struct Crew {
    job: Arc<Job>,
    queue: Option<mpsc::Sender<Bytes>>,
    workers: Vec<Work<()>>,
    workers_max: usize,
}

struct Job {
    queue: Mutex<Receiver<Bytes>>,
    stop: AtomicBool,
    fault: Mutex<Option<Fault>>,
    kind: ChunkKind,
    chunks_left: AtomicU64,
    sink: Sink,
}

impl Crew {
    fn new(request: &Request<'_>, sink: &Sink) -> Self {
        let workers_max = cores().min(WORKERS_MAX);
        let (sender, receiver) = mpsc::channel(workers_max);
        let job = Job {
            queue: Mutex::new(receiver),
            stop: AtomicBool::new(false),
            fault: Mutex::default(),
            kind: request.kind,
            chunks_left: AtomicU64::new(request.chunks_max),
            sink: Arc::clone(sink),
        };
        Self { job: Arc::new(job), queue: Some(sender), workers: Vec::new(), workers_max }
    }

    /// Hands a record to the workers; false when they have given up.
    async fn give(&mut self, record: Bytes) -> bool {
        if self.workers.len() < self.workers_max {
            let job = Arc::clone(&self.job);
            self.workers.push(blocking::start("taking records", move || job.work()));
        }
        let Some(queue) = &self.queue else { return false };
        queue.send(record).await.is_ok() && !self.job.stop.load(Ordering::Relaxed)
    }

    async fn finish(mut self) -> Result<Option<Fault>> {
        self.queue = None;
        for worker in self.workers.drain(..) {
            worker.join().await?;
        }
        Ok(self.job.fault.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.job.stop.store(true, Ordering::Relaxed);
    }
}

impl Job {
    fn work(&self) {
        while let Some(record) = self.next() {
            if let Err(fault) = self.take(record) {
                self.stop.store(true, Ordering::Relaxed);
                self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
            }
        }
    }

    /// Waits for the next record; after a stop the queue is emptied unseen, so that nobody waits for room in it.
    fn next(&self) -> Option<Bytes> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let record = queue.blocking_recv()?;
            if !self.stop.load(Ordering::Relaxed) {
                return Some(record);
            }
        }
    }

    fn take(&self, encoded: Bytes) -> Result<(), Fault> {
        let record = VerifiedRecord::decode(encoded).map_err(|error| Fault::Record(error.to_string()))?;
        let header = record.header();
        if header.kind != self.kind {
            return Err(Fault::Record("a record of another kind than was asked for".to_owned()));
        }
        let count = header.chunks.len() as u64;
        if self.chunks_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count)).is_err() {
            return Err(Fault::Record("more chunks than were asked for".to_owned()));
        }
        (self.sink)(record).map_err(Fault::Sink)
    }
}
