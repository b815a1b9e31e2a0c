//! Who is told of changes: event streams, and who holds one now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::Response;
use tokio::sync::watch;

use crate::domain::MachineId;
use crate::net::event_stream::{self, Feed};
use crate::protocol::events::Event;

/// Changes that a slow listener may be behind before it is told to read everything again.
const QUEUE_MAX: usize = 64;

/// The hub's event streams.
pub(super) struct Announce {
    feed: Feed<u64>,
    revisions: watch::Receiver<u64>,
    connected: Arc<Mutex<HashMap<MachineId, usize>>>,
}

impl Announce {
    /// Follows `revisions`, which change only after a commit.
    pub fn new(revisions: watch::Receiver<u64>) -> Self {
        Self { feed: Feed::new(QUEUE_MAX), revisions, connected: Arc::default() }
    }

    /// Tells every listener of each new revision, until the catalog closes.
    pub async fn run(&self) {
        let mut revisions = self.revisions.clone();
        while revisions.changed().await.is_ok() {
            let revision = *revisions.borrow_and_update();
            self.feed.publish(revision);
        }
    }

    /// Ends all streams.
    pub fn close(&self) {
        self.feed.close();
    }

    /// Answers `machine` with its stream.
    pub fn stream(&self, machine: MachineId) -> Response {
        let here = Connected::new(machine, Arc::clone(&self.connected));
        let revisions = self.revisions.clone();
        event_stream::respond(
            self.feed.subscribe(),
            move || *revisions.borrow(),
            move |revision| {
                // The guard lives as long as the stream does.
                let _ = &here;
                Some(Event::State { revision })
            },
        )
    }

    /// Says whether `machine` has an open stream.
    pub fn is_connected(&self, machine: MachineId) -> bool {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&machine)
    }
}

/// Counts a machine as connected while it exists.
struct Connected {
    machine: MachineId,
    all: Arc<Mutex<HashMap<MachineId, usize>>>,
}

impl Connected {
    fn new(machine: MachineId, all: Arc<Mutex<HashMap<MachineId, usize>>>) -> Self {
        *all.lock().unwrap_or_else(PoisonError::into_inner).entry(machine).or_default() += 1;
        Self { machine, all }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.machine) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.machine);
            }
        }
    }
}
