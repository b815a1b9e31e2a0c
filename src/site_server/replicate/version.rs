//! Making one version ready: manifest, recipes, chunks, each only as far as the store lacks it, each verified before it is stored.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consign_store::Store;
use consign_store::chunk::record::VerifiedRecord;
use consign_store::delta::Front;
use consign_store::manifest::{ChunkTable, ManifestFile};
use consign_store::upkeep::is_whole;
use tokio::time::{Instant, interval_at};

use super::missing::{self, Batch};
use super::patches::{Shared, changed_bytes};
use super::shared::Versions;
use crate::domain::CodebaseState;
use crate::net::data_plane::DataPlane;
use crate::net::fetch::{self, Fetched, Sink};
use crate::net::{Client, blocking};
use crate::site_server::Core;
use crate::site_server::codebases::Assigned;
use crate::site_server::error::{Error, Result};
use crate::trust::tuf::TargetInfo;

/// Fetched bytes after which the store is synced: what a power cut can cost.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(500);

/// The work on one version.
pub(super) struct Job {
    pub core: Arc<Core>,
    pub plane: Arc<DataPlane>,
    pub assigned: Assigned,
}

impl Job {
    /// Fetches what is missing; on return the version is whole, verified and durable.
    ///
    /// # Errors
    /// The version is not signed as assigned, the hub failed or sent wrong content, or I/O. What has arrived stays.
    pub async fn run(&self) -> Result<()> {
        // Until it is ready: the state names it, but garbage collection counts only what is ready as whole.
        let _lease = self.core.store.lease();
        let Assigned { package, name, info, manifest: id, .. } = &self.assigned;
        let target = self.core.metadata.target(*package, name, info, id)?;
        let client = self.core.link.client();
        let manifest = self.manifest(&client, &target).await?;
        self.reserve_changes(&manifest).await?;
        let shared = self.patches(&client, &manifest).await?;
        self.recipes(&client, &manifest).await?;
        let table = Arc::clone(&self.plane.versions().open(*id).await?.table);
        self.chunks(&client, (&manifest, &table), shared).await?;
        let base = self.base().await.map(|base| base.id());
        if let Some(base) = base {
            self.plane.prepare_manifest(base, *id).await;
        }
        self.set(CodebaseState::Verifying)?;
        self.verify(&client, manifest, table).await?;
        // What came of patches and was not applied: until here another attempt would have gone on with it.
        let _ = std::fs::remove_dir_all(self.patches_folder(*id));
        if let Some(base) = base {
            self.plane.prepare(base, *id).await;
        }
        Ok(())
    }

    /// Takes the manifest from here or from the hub; on return it is in the store, and is what the metadata signs.
    async fn manifest(&self, client: &Client, target: &TargetInfo) -> Result<Arc<ManifestFile>> {
        let id = target.manifest;
        let path = self.core.folder.tables().join(format!("{}.manifest", id.to_hex()));
        let (store, place) = (self.core.store.clone(), path.clone());
        let here = blocking::run("looking for a manifest", move || {
            ManifestFile::open(&place, id).or_else(|_| ManifestFile::extract(&store, id, &place))
        });
        let manifest = if let Ok(manifest) = here.await? {
            manifest
        } else {
            self.set(CodebaseState::Fetching { done_bytes: 0, total_bytes: self.assigned.info.bytes })?;
            let base = self.base().await;
            fetch::fetch_manifest(client, id, target.length, base, &path).await?.0
        };
        let (store, sha256) = (self.core.store.clone(), target.sha256);
        let inserted = blocking::run("storing a manifest", move || {
            if manifest.sha256() != sha256 {
                return Ok(None);
            }
            manifest.insert(&store).map(|()| Some(Arc::new(manifest)))
        });
        let why = "another SHA-256 is signed for its manifest";
        inserted.await??.ok_or_else(|| Error::Unsigned {
            package: self.assigned.name.clone(),
            version: self.assigned.info.version,
            why,
        })
    }

    /// The manifest of an older version that the hub has too: then it need send only what differs.
    pub(super) async fn base(&self) -> Option<Arc<ManifestFile>> {
        let id = self.core.codebases.base_of(self.assigned.package, self.assigned.info.version)?;
        // Without it the answer is only longer.
        self.plane.versions().open(id).await.ok().map(|version| Arc::clone(&version.manifest))
    }

    /// Makes sure of room before patches are taken: they make about what changed since the version that they build on. Without such a
    /// version there are none, and room is looked for when it is known what is missing.
    async fn reserve_changes(&self, manifest: &Arc<ManifestFile>) -> Result<()> {
        let Some(base) = self.base().await.filter(|base| base.id() != manifest.id()) else { return Ok(()) };
        let (core, id) = (Arc::clone(&self.core), manifest.id());
        if blocking::run("looking for what is here", move || is_whole(&core.store, id)).await?? {
            return Ok(());
        }
        self.core.reserve(&self.plane, &self.assigned, changed_bytes(&base, manifest).await?).await
    }

    async fn recipes(&self, client: &Client, manifest: &Arc<ManifestFile>) -> Result<()> {
        let ranges = self.missing_recipes(manifest).await?;
        if ranges.is_empty() {
            return Ok(());
        }
        self.set(CodebaseState::Fetching { done_bytes: 0, total_bytes: self.assigned.info.bytes })?;
        let store = self.core.store.clone();
        let sink: Sink = Arc::new(move |record| {
            let mut pages = record.header().chunks.iter();
            let new = pages.try_fold(false, |new, page| Ok::<_, consign_store::Error>(new || !store.contains(&page.id)?))?;
            if new { store.append(&record).map(drop) } else { Ok(()) }
        });
        fetch::fetch_recipes(client, manifest, &ranges, sink, &AtomicU64::new(0)).await.end?;
        let left = count(&self.missing_recipes(manifest).await?);
        complete(client, left, "recipes")
    }

    async fn missing_recipes(&self, manifest: &Arc<ManifestFile>) -> Result<Vec<Range<u32>>> {
        let (core, manifest) = (Arc::clone(&self.core), Arc::clone(manifest));
        let look = move || missing::recipes(&core.store, &manifest, &core.stopping);
        Ok(blocking::run("looking for recipes", look).await??)
    }

    /// Fetches the chunks that are missing, but for what the patches `shared` make meanwhile.
    async fn chunks(
        &self,
        client: &Client,
        (manifest, table): (&Arc<ManifestFile>, &Arc<ChunkTable>),
        shared: Vec<Shared>,
    ) -> Result<()> {
        let (core, lines) = (Arc::clone(&self.core), Arc::clone(table));
        let survey = blocking::run("looking for chunks", move || missing::survey(&core.store, &lines, &core.stopping)).await??;
        if survey.missing_chunks == 0 {
            return Ok(());
        }
        let missing_bytes = self.assigned.info.bytes.saturating_sub(survey.here_bytes);
        self.core.reserve(&self.plane, &self.assigned, missing_bytes).await?;
        let intake = Arc::new(Intake::new(self.core.store.clone(), survey.here_bytes));
        self.tell(&intake)?;
        if let Some(base) = self.base().await.filter(|_| !shared.is_empty()) {
            let versions = Versions { base, target: Arc::clone(manifest), table: Arc::clone(table) };
            let fronted = self.fronts(&versions, shared).await?;
            let fronts: Vec<_> = fronted.iter().map(|(_, front)| Arc::clone(front)).collect();
            let (mut by_patches, mut by_records, begun) = (0, 0, Instant::now());
            let making = self.make_fronts(client, &versions, fronted, &intake, &mut by_patches);
            let fetching = async {
                let fetched = self.fetch_behind(client, table, &fronts, &intake, &mut by_records).await;
                // Where that failed, the patches go no further.
                (fetched.inspect_err(|_| fronts.iter().for_each(|front| front.give_up())), begun.elapsed())
            };
            let (made, (fetched, elapsed)) = tokio::join!(making, fetching);
            // The link carried both.
            self.core.rate.saw(by_patches + by_records, elapsed);
            made.and(fetched)?;
        }
        let (mut wire_bytes, begun) = (0, Instant::now());
        let fetched = self.fetch_behind(client, table, &[], &intake, &mut wire_bytes).await;
        self.core.rate.saw(wire_bytes, begun.elapsed());
        fetched
    }

    /// Fetches what is behind the fronts, and then half of what is left to them, again and again, until that is little.
    async fn fetch_behind(
        &self,
        client: &Client,
        table: &Arc<ChunkTable>,
        fronts: &[Arc<Front>],
        intake: &Arc<Intake>,
        wire_bytes: &mut u64,
    ) -> Result<()> {
        let mut start = 0;
        loop {
            if let Some(batch) = self.next_batch(table, start, fronts).await? {
                start = batch.end;
                let fetched = self.fetch(client, batch, intake).await?;
                *wire_bytes += fetched.wire_bytes;
                fetched.end?;
            } else if self.hand_over(table, fronts).await? {
                start = 0;
            } else {
                return Ok(());
            }
        }
    }

    async fn next_batch(&self, table: &Arc<ChunkTable>, start: u32, fronts: &[Arc<Front>]) -> Result<Option<Batch>> {
        let (core, table, fronts) = (Arc::clone(&self.core), Arc::clone(table), fronts.to_vec());
        let look = move || missing::next_batch(&core.store, &table, (start, &fronts), &core.stopping);
        Ok(blocking::run("looking for chunks", look).await??)
    }

    /// Fetches a batch and tells how far it is; given up when the version is no longer assigned.
    async fn fetch(&self, client: &Client, batch: Batch, intake: &Arc<Intake>) -> Result<Fetched> {
        let Batch { ranges, ids, .. } = batch;
        let taking = Arc::clone(intake);
        let sink: Sink = Arc::new(move |record| taking.take(&record, |id| ids.contains(id)));
        let wire_bytes = AtomicU64::new(0);
        let mut fetching = pin!(fetch::fetch_chunks(client, self.assigned.manifest, &ranges, sink, &wire_bytes));
        let mut ticks = interval_at(Instant::now() + PROGRESS, PROGRESS);
        loop {
            tokio::select! {
                fetched = &mut fetching => return Ok(fetched),
                _ = ticks.tick() => self.tell(intake)?,
            }
        }
    }

    /// Looks up everything once more, and makes it durable.
    async fn verify(&self, client: &Client, manifest: Arc<ManifestFile>, table: Arc<ChunkTable>) -> Result<()> {
        let core = Arc::clone(&self.core);
        let (recipes, survey) = blocking::run("verifying a version", move || {
            let recipes = missing::recipes(&core.store, &manifest, &core.stopping)?;
            let survey = missing::survey(&core.store, &table, &core.stopping)?;
            core.store.sync()?;
            Ok::<_, consign_store::Error>((recipes, survey))
        })
        .await??;
        complete(client, count(&recipes), "recipes")?;
        complete(client, survey.missing_chunks, "chunks")
    }

    fn tell(&self, intake: &Intake) -> Result<()> {
        let total_bytes = self.assigned.info.bytes;
        let done_bytes = intake.done_bytes.load(Ordering::Relaxed).min(total_bytes);
        self.set(CodebaseState::Fetching { done_bytes, total_bytes })
    }

    pub(super) fn set(&self, state: CodebaseState) -> Result<()> {
        if self.core.set(&self.assigned.manifest, state) { Ok(()) } else { Err(Error::Dropped) }
    }
}

fn complete(client: &Client, left: u64, what: &'static str) -> Result<()> {
    if left == 0 { Ok(()) } else { Err(Error::Incomplete { server: client.server().to_owned(), count: left, what }) }
}

fn count(ranges: &[Range<u32>]) -> u64 {
    ranges.iter().map(|range| u64::from(range.end - range.start)).sum()
}

/// Where fetched chunks go.
pub(super) struct Intake {
    store: Store,
    pub(super) done_bytes: AtomicU64,
    unsynced_bytes: AtomicU64,
}

impl Intake {
    fn new(store: Store, here_bytes: u64) -> Self {
        Self { store, done_bytes: AtomicU64::new(here_bytes), unsynced_bytes: AtomicU64::new(0) }
    }

    /// Stores a record as it is if it holds anything that was asked for.
    fn take(&self, record: &VerifiedRecord, wanted: impl Fn(&consign_store::ChunkId) -> bool) -> consign_store::Result<()> {
        let lines = record.header().chunks.iter().filter(|line| wanted(&line.id));
        let bytes: u64 = lines.map(|line| u64::from(line.len)).sum();
        if bytes == 0 {
            return Ok(());
        }
        self.store.append(record)?;
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        let len = record.encoded().len() as u64;
        if self.unsynced_bytes.fetch_add(len, Ordering::Relaxed) + len >= UNSYNCED_BYTES_MAX {
            self.unsynced_bytes.store(0, Ordering::Relaxed);
            self.store.sync()?;
        }
        Ok(())
    }
}
