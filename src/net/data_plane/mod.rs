//! The data plane that hub and site servers share: manifests, recipes and chunks of the versions that the asking machine may read.
//!
//! A request names a manifest and ranges of ordinals in it, so no answer can carry anything else. What may not be read and what is not
//! there get the same answer.

mod answer;
pub mod leftovers;
pub mod patches;
mod ranges;
mod records;
mod versions;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use consign_store::manifest::ManifestFile;
use consign_store::manifest::encoded::{Against, encode_shared, held_bytes};
use consign_store::restore::WireStream;
use consign_store::{ManifestId, Store};
use serde::Deserialize;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::net::blocking;
use crate::net::peer::Peer;
use crate::net::problem::RawBody;
use crate::protocol::fleet::{BASE_HEADER, RECORDS_TYPE, VERSIONS_PATH, WireCost};
use crate::protocol::problem::Problem;
use crate::protocol::ranges::RANGES_BYTES_MAX;

pub use answer::manifest_wire_bytes;
pub use patches::{Pair, Patches, write_set};
use records::Steps;
pub use versions::{Version, Versions};

/// Media type of an encoded manifest.
const MANIFEST_TYPE: &str = "application/zstd";
/// When a machine that found the server busy should ask again, seconds.
const RETRY_AFTER_SECS: &str = "5";

/// An answer that may take a while and can be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who may read what; given by the role.
pub trait Access: Send + Sync {
    /// Says whether `peer` may read a package that has a version with `manifest`, and whether that version may be served from here.
    fn may_read<'a>(&'a self, peer: &'a Peer, manifest: ManifestId) -> BoxFuture<'a, bool>;

    /// Says whether `peer` may have the manifest itself: also of a version that is about to be served.
    fn may_list<'a>(&'a self, peer: &'a Peer, manifest: ManifestId) -> BoxFuture<'a, bool> {
        self.may_read(peer, manifest)
    }

    /// Learns that something of the version `manifest` could not be read here, or reached a machine wrong; says whether it is looked at now, and was not
    /// lately.
    fn doubted(&self, manifest: ManifestId) -> bool;
}

/// How much a data plane does at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Manifests being encoded and sent, one more for each MiB that an encoder holds, and answers being counted. Answers of records need no turn: their
    /// number is that of connections.
    pub streams_max: usize,
    /// How long a request waits for its turn, or for the first record of its answer.
    pub turn_wait: Duration,
    /// Bytes of patches that are kept.
    pub patch_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { streams_max: 64, turn_wait: Duration::from_secs(20), patch_bytes_max: 2 << 30 }
    }
}

/// A store, served.
pub struct DataPlane {
    store: Store,
    versions: Versions,
    patches: Arc<Patches>,
    access: Arc<dyn Access>,
    turns: Arc<Semaphore>,
    steps: Arc<Steps>,
    limits: Limits,
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane").field("store", &self.store).finish_non_exhaustive()
    }
}

impl DataPlane {
    /// Serves `store`; `tables_dir` (an existing folder) holds manifests, chunk tables and patches, which can be rebuilt at any time.
    #[must_use]
    pub fn new(store: Store, tables_dir: impl Into<PathBuf>, access: Arc<dyn Access>, limits: Limits) -> Self {
        let tables_dir = tables_dir.into();
        let patches = Patches::new(store.clone(), tables_dir.join("patches"), limits.patch_bytes_max);
        let versions = Versions::new(store.clone(), tables_dir);
        let turns = Arc::new(Semaphore::new(limits.streams_max));
        Self { store, versions, patches: Arc::new(patches), access, turns, steps: Arc::default(), limits }
    }

    /// Returns the opened versions, for whoever shares the tables.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Returns the patches between the versions of the store.
    #[must_use]
    pub fn patches(&self) -> &Arc<Patches> {
        &self.patches
    }

    /// Encodes beforehand, where it is short, the manifest of `target` for machines with version `base`, who ask for it as soon as they hear of it.
    pub async fn prepare_manifest(&self, base: ManifestId, target: ManifestId) {
        let (Ok(base), Ok(target)) = (self.versions.open(base).await, self.versions.open(target).await) else { return };
        let _ = blocking::run("encoding a manifest", move || target.encode_for(&base)).await;
    }

    /// Does beforehand, where it is little work, what machines with version `base` ask for as soon as `target` is announced: the patches between
    /// them, and what all of `target` costs. What goes wrong is told to whoever asks.
    pub async fn prepare(&self, base: ManifestId, target: ManifestId) {
        let (Ok(base), Ok(target)) = (self.versions.open(base).await, self.versions.open(target).await) else { return };
        if !self.patches.prepare(&(base, Arc::clone(&target))).await {
            return;
        }
        let store = self.store.clone();
        let _ = blocking::run("counting bytes", move || target.full_wire_bytes(&store)).await;
    }

    /// Begins to build the patches from version `base` to version `target`, if both are here; nobody waits for them.
    pub async fn build_ahead(&self, base: ManifestId, target: ManifestId) {
        let (Ok(base), Ok(target)) = (self.versions.open(base).await, self.versions.open(target).await) else { return };
        let _ = self.patches.ask_waiting(&(base, target), Duration::ZERO).await;
    }

    /// Opens the version that a request names, for its content.
    async fn version(&self, peer: &Peer, manifest: &str) -> Result<Arc<Version>, Problem> {
        let id: ManifestId = manifest.parse().map_err(|_| no_version())?;
        let allowed = self.access.may_read(peer, id).await;
        self.allowed(id, allowed).await
    }

    /// Opens the version that a request names, for its manifest.
    async fn listed(&self, peer: &Peer, manifest: &str) -> Result<Arc<Version>, Problem> {
        let id: ManifestId = manifest.parse().map_err(|_| no_version())?;
        let allowed = self.access.may_list(peer, id).await;
        self.allowed(id, allowed).await
    }

    async fn allowed(&self, id: ManifestId, allowed: bool) -> Result<Arc<Version>, Problem> {
        if !allowed {
            return Err(no_version());
        }
        self.versions.open(id).await.map_err(|error| match error {
            crate::net::Error::Store(consign_store::Error::NoChunk(_)) => no_version(),
            error => {
                let _ = self.access.doubted(id);
                tracing::error!(%error, version = %id, "cannot open a version");
                answer::unreadable()
            }
        })
    }

    /// Answers with `records` of a version; `what` names them in errors.
    async fn records(&self, manifest: ManifestId, records: WireStream, what: &'static str) -> Result<Response, Response> {
        let access = Arc::clone(&self.access);
        let broken = move || {
            let _ = access.doubted(manifest);
        };
        match timeout(self.limits.turn_wait, Arc::clone(&self.steps).body(records, what, broken)).await {
            Ok(Ok(body)) => Ok(stream_of(RECORDS_TYPE, body)),
            Ok(Err(error)) => {
                tracing::error!(what, %error, "an answer could not be begun");
                Err(answer::unreadable().into_response())
            }
            Err(_) => Err(busy()),
        }
    }

    /// Has what a version needs read again, its patches too, unless that was done lately.
    fn doubt(&self, id: ManifestId) {
        if self.access.doubted(id) {
            self.patches.check(id);
        }
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Response> {
        self.turn_holding(0).await
    }

    /// The manifest as it is sent to machines that have no other, of which a thousand may ask at once: encoded once. `None` if it cannot be put down.
    async fn whole_manifest(&self, version: &Arc<Version>) -> Result<Option<Bytes>, Response> {
        let make = || async {
            let turn = self.turn_of(held_bytes(&version.manifest, Against::Nothing)).await.map_err(drop)?;
            let (of, dir) = (Arc::clone(version), self.versions.dir().to_owned());
            let encode = move || {
                let made = encode_shared(&of.manifest, Against::Nothing, &dir);
                drop(turn);
                made
            };
            let made = blocking::run("encoding a manifest", encode).await.map_err(drop)?;
            made.map_err(|error| tracing::warn!(%error, "a manifest is encoded for each machine that asks"))
        };
        let found = timeout(self.limits.turn_wait, version.whole.get_or_try_init(make)).await;
        found.map(|found| found.ok().cloned()).map_err(|_| busy())
    }

    /// The next turn for who holds `bytes` meanwhile, whenever it comes.
    async fn turn_of(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        let turns = turns_of(bytes, self.limits.streams_max);
        Arc::clone(&self.turns).acquire_many_owned(turns).await
    }

    /// A turn for who holds `bytes` meanwhile.
    async fn turn_holding(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Response> {
        match timeout(self.limits.turn_wait, self.turn_of(bytes)).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(busy()),
        }
    }
}

/// How many turns of `most` somebody takes who holds `bytes`: one, and one for each MiB, so that all together hold no more than so many MiB.
fn turns_of(bytes: usize, most: usize) -> u32 {
    u32::try_from((1 + (bytes >> 20)).min(most)).unwrap_or(u32::MAX).max(1)
}

fn no_version() -> Problem {
    Problem::absent("this version does not exist here").hint("ask which version is current")
}

fn busy() -> Response {
    let problem = Problem::new(503, "busy", "this server is answering as many machines as it can").hint("ask again");
    ([(RETRY_AFTER, RETRY_AFTER_SECS)], problem).into_response()
}

/// Routes of the data plane, below [`VERSIONS_PATH`].
pub fn routes<S: Clone + Send + Sync + 'static>(plane: Arc<DataPlane>) -> Router<S> {
    Router::new()
        .route(&format!("{VERSIONS_PATH}/{{manifest}}/manifest"), get(manifest))
        .route(&format!("{VERSIONS_PATH}/{{manifest}}/recipes"), post(recipes))
        .route(&format!("{VERSIONS_PATH}/{{manifest}}/chunks"), post(chunks))
        .route(&format!("{VERSIONS_PATH}/{{manifest}}/cost"), get(full_cost).post(chunks_cost))
        .route(&format!("{VERSIONS_PATH}/{{manifest}}/doubts"), post(doubts))
        .merge(patches::routes())
        .layer(DefaultBodyLimit::max(RANGES_BYTES_MAX))
        .with_state(plane)
}

#[derive(Deserialize)]
struct BaseQuery {
    base: Option<String>,
    /// The receiver knows sections.
    #[serde(default)]
    sections: bool,
}

type Plane = State<Arc<DataPlane>>;

async fn manifest(
    plane: Plane,
    peer: Peer,
    Path(manifest): Path<String>,
    Query(query): Query<BaseQuery>,
) -> Result<Response, Response> {
    let version = plane.listed(&peer, &manifest).await.map_err(Problem::into_response)?;
    // A base that cannot be used, for whatever reason, only costs bytes.
    let base = match &query.base {
        Some(base) => plane.version(&peer, base).await.ok(),
        None => None,
    };
    let against = Against::of(base.as_ref().map(|base| &*base.manifest), &version.manifest, query.sections);
    let used = against.base().map(ManifestFile::id);
    let ready = match used {
        Some(base) => version.encoded_for(base),
        None => plane.whole_manifest(&version).await?,
    };
    let body = if let Some(encoded) = ready {
        encoded.into()
    } else {
        let turn = plane.turn_holding(held_bytes(&version.manifest, against)).await?;
        let make = move |outlet: &answer::Outlet| {
            let base = base.as_ref().map(|base| &*base.manifest);
            answer::manifest(&version, Against::of(base, &version.manifest, query.sections), outlet)
        };
        answer::stream("a manifest", turn, make).await.map_err(Problem::into_response)?
    };
    let mut response = stream_of(MANIFEST_TYPE, body);
    if let Some(id) = used.and_then(|id| id.to_string().parse().ok()) {
        response.headers_mut().insert(BASE_HEADER, id);
    }
    Ok(response)
}

async fn recipes(plane: Plane, peer: Peer, Path(manifest): Path<String>, RawBody(body): RawBody) -> Result<Response, Response> {
    let version = plane.version(&peer, &manifest).await.map_err(Problem::into_response)?;
    let ranges = ranges::parse(&body, "entries", version.manifest.totals().entries).map_err(Problem::into_response)?;
    let records = WireStream::recipes(plane.store.clone(), Arc::clone(&version.manifest), ranges);
    plane.records(version.manifest.id(), records, "recipes").await
}

async fn chunks(plane: Plane, peer: Peer, Path(manifest): Path<String>, RawBody(body): RawBody) -> Result<Response, Response> {
    let version = plane.version(&peer, &manifest).await.map_err(Problem::into_response)?;
    let ranges = ranges::parse(&body, "chunks", u64::from(version.table.len())).map_err(Problem::into_response)?;
    let records = WireStream::chunks(plane.store.clone(), Arc::clone(&version.table), ranges);
    plane.records(version.manifest.id(), records, "chunks").await
}

/// A machine got something wrong of a version: a reason to look, whoever is to blame.
async fn doubts(plane: Plane, peer: Peer, Path(manifest): Path<String>) -> Result<StatusCode, Problem> {
    let id: ManifestId = manifest.parse().map_err(|_| no_version())?;
    if !plane.access.may_list(&peer, id).await {
        return Err(no_version());
    }
    plane.doubt(id);
    Ok(StatusCode::ACCEPTED)
}

/// What the whole version costs a receiver that has nothing.
async fn full_cost(plane: Plane, peer: Peer, Path(manifest): Path<String>) -> Result<Json<WireCost>, Response> {
    let version = plane.version(&peer, &manifest).await.map_err(Problem::into_response)?;
    let store = plane.store.clone();
    count(&plane, move || version.full_wire_bytes(&store)).await
}

/// What the answer to the same request for chunks would be long.
async fn chunks_cost(
    plane: Plane,
    peer: Peer,
    Path(manifest): Path<String>,
    RawBody(body): RawBody,
) -> Result<Json<WireCost>, Response> {
    let version = plane.version(&peer, &manifest).await.map_err(Problem::into_response)?;
    let ranges = ranges::parse(&body, "chunks", u64::from(version.table.len())).map_err(Problem::into_response)?;
    let records = WireStream::chunks(plane.store.clone(), Arc::clone(&version.table), ranges);
    count(&plane, move || records.count()).await
}

async fn count(
    plane: &DataPlane,
    work: impl FnOnce() -> consign_store::Result<u64> + Send + 'static,
) -> Result<Json<WireCost>, Response> {
    let turn = plane.turn().await?;
    let counted = blocking::run("counting bytes", move || {
        let counted = work();
        drop(turn);
        counted
    });
    match counted.await {
        Ok(Ok(wire_bytes)) => Ok(Json(WireCost { wire_bytes })),
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot count what a version costs");
            Err(answer::unreadable().into_response())
        }
        Err(_) => Err(answer::unreadable().into_response()),
    }
}

fn stream_of(media_type: &'static str, body: Body) -> Response {
    ([(CONTENT_TYPE, media_type)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::turns_of;

    #[test]
    fn who_holds_much_takes_many_turns_but_never_more_than_there_are() {
        let most = 64;
        assert_eq!([0, 1 << 19, 1 << 20, 16 << 20].map(|bytes| turns_of(bytes, most)), [1, 1, 2, 17]);
        assert_eq!([64 << 20, usize::MAX].map(|bytes| turns_of(bytes, most)), [64, 64]);
        assert_eq!(turns_of(16 << 20, 0), 1, "where there are none, it waits");
    }
}
