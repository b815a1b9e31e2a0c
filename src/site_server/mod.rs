//! The site server: follows the hub, fetches and verifies what is assigned, and serves its site's agents, also while the hub is away.
//!
//! Level-triggered: an event, a reconnect or the slow poll makes `follow` fetch the signed site state; what is assigned and not ready is
//! worked off by `replicate`; each change is reported to the hub and told to agents. There is no record of what is ready: at each start
//! every version is looked up in the store, and what is all there is ready.
//!
//! What never happens here: a version is served before each of its chunks was verified and is durable; content, rights or servers are
//! believed that the hub has not signed; a state that has expired is used.

mod codebases;
mod control;
mod error;
mod folder;
mod follow;
mod known;
mod link;
mod metadata;
mod offer;
mod relay;
mod replicate;
mod report;
mod rights;
mod room;
mod run;
mod serve;
mod upkeep;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use consign_store::{ManifestId, Store};
use tokio::sync::watch;

use crate::domain::{CodebaseState, Millis, PackageId};
use crate::net::event_stream::Feed;
use crate::net::member::Member;
use crate::net::meter::Meter;
use crate::net::rate::Rate;
use crate::net::upkeep::Upkeep;
use crate::policy::Prefer;

pub use control::status;
pub use error::{Error, Result};
pub use folder::{RUN_FILE, RunInfo};
pub use run::{RunOptions, run};
pub use view::{CodebaseRow, HubView, StatusView};

/// What agents are told of.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// A package's version or its codebase's state.
    Package(PackageId),
    /// Servers or rights.
    Everything,
}

/// What every part of a running site server shares.
#[derive(Debug)]
struct Core {
    folder: folder::Folder,
    member: Member,
    /// How agents reach it, `host:port`.
    address: String,
    /// What it spares where it can choose.
    prefer: Prefer,
    /// How fast content arrives from the hub.
    rate: Rate,
    store: Store,
    metadata: metadata::Metadata,
    known: watch::Sender<Option<Arc<known::Known>>>,
    codebases: codebases::Codebases,
    link: link::Link,
    relay: relay::Relay,
    feed: Feed<Change>,
    /// What looks after the store.
    upkeep: Arc<Upkeep>,
    /// Most bytes that it may keep, where there is a bound.
    quota_bytes: Option<u64>,
    /// What agents have.
    installed: room::Installed,
    /// Counts what comes from the hub.
    meter: Arc<Meter>,
    /// Content bytes sent to agents.
    served_bytes: AtomicU64,
    /// Why the release metadata could not be brought up to date, if so.
    metadata_problem: std::sync::Mutex<Option<String>>,
    /// Tells blocking work that the process stops.
    stopping: AtomicBool,
    started: Millis,
}

impl Core {
    /// What the hub has said last.
    fn known(&self) -> Option<Arc<known::Known>> {
        self.known.borrow().clone()
    }

    /// Sets the state of a version and tells those who may read it; false if it is no longer assigned.
    fn set(&self, manifest: &ManifestId, state: CodebaseState) -> bool {
        let assigned = self.codebases.set(manifest, state);
        self.announce(manifest);
        assigned
    }

    /// Ends the work on a version, see [`codebases::Codebases::end`].
    fn end(&self, manifest: &ManifestId, failure: Option<String>) {
        self.codebases.end(manifest, failure, crate::net::clock::now());
        self.announce(manifest);
    }

    fn announce(&self, manifest: &ManifestId) {
        for package in self.codebases.packages_of(manifest) {
            self.feed.publish(Change::Package(package));
        }
    }

    /// A number that differs from machine to machine, to spread what many do at once.
    fn seed(member: &Member) -> u64 {
        let (high, low) = member.id().0.as_u64_pair();
        high ^ low
    }
}

#[cfg(test)]
mod tests;
