//! The hub: catalog, hashing, signing, policy.
//!
//! A `Hub` is the state that its listeners, its refresh workers and its timers share. What they decide is in the catalog; what they
//! announce follows a commit, never precedes it.

mod admin;
mod announce;
mod enrolment;
mod error;
mod fleet;
mod folder;
mod memory;
mod mend;
mod refreshes;
mod releases;
mod rights;
mod run;
mod signing;
mod upkeep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use consign_store::Store;
use consign_store::ingest::Progress;
use tokio::sync::Notify;

use crate::catalog::Catalog;
use crate::domain::{Millis, PackageId};
use crate::net::upkeep::Upkeep;
use crate::protocol::upkeep::DamagedVersion;

pub use error::{Error, Result};
pub use folder::{InitOptions, init};
pub use run::{RunOptions, run};

/// What every part of a running hub shares.
pub(crate) struct Hub {
    /// Its folder.
    folder: folder::Folder,
    /// What it knows.
    catalog: Catalog,
    /// What it stores.
    store: Store,
    /// What it signs with.
    signing: signing::Signing,
    /// Whom it tells.
    announce: announce::Announce,
    /// Refreshes that run now, by package.
    running: Mutex<HashMap<PackageId, Arc<Progress>>>,
    /// Threads of a refresh; one a core when 0.
    hash_threads: usize,
    /// What looks after the store.
    upkeep: Arc<Upkeep>,
    /// Versions that cannot be served whole.
    damaged: Mutex<Vec<DamagedVersion>>,
    /// What was tried to mend them.
    mends: mend::Mends,
    /// Wakes the refresh workers.
    refresh_queued: Notify,
    /// Where it listens.
    addresses: folder::Addresses,
    /// Since when it runs.
    started: Millis,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("folder", &self.folder).finish_non_exhaustive()
    }
}
