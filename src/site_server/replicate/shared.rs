//! Patches and records at the same time: what takes longer to make than to fetch is made from the front and fetched from the back, until both meet.

use std::collections::VecDeque;
use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use consign_store::delta::{self, Front};
use consign_store::error::At as _;
use consign_store::manifest::{ChunkTable, Layout, ManifestFile};

use super::patches::{Applying, Shared, scratch_beside, settle};
use super::version::{Intake, Job};
use crate::net::Client;
use crate::net::blocking;
use crate::net::fetch::{Arriving, fetch_patch};
use crate::site_server::error::Result;

/// A patch, and what is left to it.
pub(super) type Fronted = (Shared, Arc<Front>);

/// The versions that patches lead from and to, the latter with its chunks.
pub(super) struct Versions {
    pub(super) base: Arc<ManifestFile>,
    pub(super) target: Arc<ManifestFile>,
    pub(super) table: Arc<ChunkTable>,
}

impl Job {
    /// Leaves to each patch of `shared` its part of what the store lacks.
    ///
    /// # Errors
    /// The process is stopping.
    pub(super) async fn fronts(&self, versions: &Versions, shared: Vec<Shared>) -> Result<Vec<Fronted>> {
        let (store, target, table) = (self.core.store.clone(), Arc::clone(&versions.target), Arc::clone(&versions.table));
        let share_out = move || {
            let all: Vec<_> = shared.iter().map(|shared| shared.share.clone()).collect();
            let layout = Layout::of(&target)?;
            let fronts = delta::fronts_of(&all, (&layout, &table), &|ordinal| lacking_at(&store, &table, ordinal));
            let fronted = shared.into_iter().zip(fronts);
            Ok::<_, consign_store::Error>(fronted.filter_map(|(shared, front)| Some((shared, Arc::new(front?)))).collect())
        };
        Ok(blocking::run("sharing out what is missing", share_out).await??)
    }

    /// Takes something of what is left to `fronts`, as [`delta::hand_over`] does; false if nothing was taken.
    ///
    /// # Errors
    /// The process is stopping.
    pub(super) async fn hand_over(&self, table: &Arc<ChunkTable>, fronts: &[Arc<Front>]) -> Result<bool> {
        if fronts.is_empty() {
            return Ok(false);
        }
        let (store, table, fronts) = (self.core.store.clone(), Arc::clone(table), fronts.to_vec());
        let look = move || delta::hand_over(&fronts, &|ordinal| lacking_at(&store, &table, ordinal));
        Ok(blocking::run("sharing out what is missing", look).await?)
    }

    /// Fetches patches and applies them as they arrive, as far as something is left to them.
    ///
    /// # Errors
    /// This machine's disk; a patch that cannot be had or used is no error.
    pub(super) async fn make_fronts(
        &self,
        client: &Client,
        versions: &Versions,
        fronted: Vec<Fronted>,
        intake: &Arc<Intake>,
        wire_bytes: &mut u64,
    ) -> Result<()> {
        let mut crew = VecDeque::new();
        let begun = self.begin_fronts(client, versions, fronted, intake, (&mut crew, wire_bytes)).await;
        let mut ended = Ok(());
        // Whatever came of that: nobody is left at work.
        for work in crew {
            ended = ended.and(settle(work).await);
        }
        begun.and(ended)
    }

    async fn begin_fronts(
        &self,
        client: &Client,
        versions: &Versions,
        fronted: Vec<Fronted>,
        intake: &Arc<Intake>,
        (crew, wire_bytes): (&mut VecDeque<Applying>, &mut u64),
    ) -> Result<()> {
        let folder = self.patches_folder(versions.target.id());
        std::fs::create_dir_all(&folder).at("create folder", &folder)?;
        for (Shared { digest, len, share }, front) in fronted {
            if front.is_done() {
                continue;
            }
            if crew.len() >= delta::apply_threads()
                && let Some(oldest) = crew.pop_front()
            {
                settle(oldest).await?;
            }
            let path = folder.join(digest.to_hex());
            let (arriving, reader) = Arriving::begin(&path)?;
            let (mut bytes, scratch, making) = (BufReader::new(reader), path.clone(), Arc::clone(&front));
            let (base, table) = (Arc::clone(&versions.base), Arc::clone(&versions.table));
            let (store, intake) = (self.core.store.clone(), Arc::clone(intake));
            crew.push_back(blocking::start("applying a patch", move || {
                let progress = |bytes| {
                    intake.done_bytes.fetch_add(bytes, Ordering::Relaxed);
                };
                let (what, mut scratch) = ((&share.scope, &*making), || scratch_beside(&scratch));
                delta::take_front_into_store(&store, &mut bytes, (&base, &table), what, &mut scratch, &progress)
            }));
            // What it does not make any more need not come.
            let mut arrived = |len| {
                arriving.arrived(len);
                !front.is_done()
            };
            let pair = (versions.base.id(), versions.target.id());
            let fetched = fetch_patch(client, pair.0, pair.1, (digest, len), &path, &mut arrived).await;
            *wire_bytes += fetched.wire_bytes;
            match fetched.end {
                Ok(()) => {}
                Err(crate::net::Error::Store(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "a patch cannot be had; fetching records instead");
                    front.give_up();
                }
            }
        }
        Ok(())
    }
}

/// How many bytes the chunk at `ordinal` has if the store lacks it.
fn lacking_at(store: &consign_store::Store, table: &ChunkTable, ordinal: u32) -> u64 {
    table.line(ordinal).filter(|line| !store.contains(&line.id).unwrap_or(false)).map_or(0, |line| line.len.into())
}
