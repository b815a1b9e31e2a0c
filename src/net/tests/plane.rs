//! The data plane and fetching from it.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use consign_store::chunk::record::VerifiedRecord;
use consign_store::ingest::{Options, Progress, ingest};
use consign_store::manifest::{ManifestFile, Platforms};
use consign_store::{ChunkId, ManifestId, Store};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use super::fixture::{Authority, SHORT, Served, client, read_all, serve, tls, within};
use crate::net::client::Client;
use crate::net::data_plane::{Access, BoxFuture, DataPlane, Limits, routes};
use crate::net::error::Error;
use crate::net::fetch::{Sink, ask_patches, chunks_cost, fetch_chunks, fetch_manifest, fetch_recipes, full_cost};
use crate::net::listener;
use crate::net::peer::Peer;
use crate::protocol::fleet::{RANGES_TYPE, VERSIONS_PATH};
use crate::protocol::patches::PatchAnswer;
use crate::protocol::ranges::{RANGES_BYTES_MAX, encode};

/// The manifests of versions that everybody may read, the one of which everybody may have only that, and those that were doubted.
#[derive(Default)]
pub(super) struct Rights(pub(super) Mutex<HashSet<ManifestId>>, Mutex<Option<ManifestId>>, Mutex<Vec<ManifestId>>);

impl Access for Rights {
    fn may_read<'a>(&'a self, _peer: &'a Peer, manifest: ManifestId) -> BoxFuture<'a, bool> {
        Box::pin(async move { self.0.lock().unwrap().contains(&manifest) })
    }

    fn may_list<'a>(&'a self, peer: &'a Peer, manifest: ManifestId) -> BoxFuture<'a, bool> {
        Box::pin(async move { *self.1.lock().unwrap() == Some(manifest) || self.may_read(peer, manifest).await })
    }

    fn doubted(&self, manifest: ManifestId) -> bool {
        self.2.lock().unwrap().push(manifest);
        true
    }
}

/// Two versions of a folder, served.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) authority: Authority,
    pub(super) rights: Arc<Rights>,
    pub(super) plane: Arc<DataPlane>,
    served: Served,
    pub(super) old: (ManifestId, u64),
    pub(super) new: (ManifestId, u64),
    /// A third one, of which a file resembles the one before.
    pub(super) newest: ManifestId,
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(super) fn one(range: Range<u32>) -> [Range<u32>; 1] {
    [range]
}

fn put(store: &Store, source: &Path) -> (ManifestId, u64) {
    let options = Options {
        workers: 2,
        platforms: Platforms::default(),
        stat_cache: None,
        verify: true,
        now_unix_nanos: 0,
        progress: Arc::new(Progress::default()),
    };
    let ingested = ingest(store, source, &options).unwrap();
    (ingested.manifest, ingested.manifest_len)
}

pub(super) async fn world(limits: Limits) -> World {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir_all(source.join("lib")).unwrap();
    std::fs::create_dir(dir.path().join("tables")).unwrap();
    for number in 0..300_u16 {
        std::fs::write(source.join(format!("lib/{number}.txt")), noise(number.into(), 100 + usize::from(number))).unwrap();
    }
    std::fs::write(source.join("big.bin"), noise(1000, 3_000_000)).unwrap();
    std::fs::write(source.join("twin.bin"), noise(1000, 3_000_000)).unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let old = put(&store, &source);
    std::fs::write(source.join("lib/7.txt"), b"changed").unwrap();
    let new = put(&store, &source);
    let mut resembling = noise(299, 399);
    resembling[50] ^= 1;
    std::fs::write(source.join("lib/299.txt"), resembling).unwrap();
    let newest = put(&store, &source).0;
    let rights = Arc::new(Rights::default());
    rights.0.lock().unwrap().extend([old.0, new.0, newest]);
    let plane = Arc::new(DataPlane::new(store, dir.path().join("tables"), Arc::clone(&rights) as Arc<dyn Access>, limits));
    let authority = Authority::new();
    let served = serve(&authority, Router::new().merge(routes(Arc::clone(&plane))), listener::Limits::default()).await;
    World { dir, authority, rights, plane, served, old, new, newest }
}

impl World {
    pub(super) fn client(&self) -> Client {
        client(&self.authority, self.served.address, None)
    }

    /// What was doubted so far.
    pub(super) fn doubted(&self) -> Vec<ManifestId> {
        self.rights.2.lock().unwrap().clone()
    }

    /// The patches that are kept.
    pub(super) fn patch_files(&self) -> impl Iterator<Item = PathBuf> {
        let entries = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let sets = entries(self.dir.path().join("tables/patches"));
        sets.flat_map(entries).filter(|file| file.file_name().is_some_and(|name| name != "set.json"))
    }

    pub(super) fn place(&self) -> PathBuf {
        let folder = self.dir.path().join("receiver");
        std::fs::create_dir_all(&folder).unwrap();
        folder.join("manifest")
    }

    pub(super) async fn ids(&self) -> HashSet<ChunkId> {
        let table = Arc::clone(&self.plane.versions().open(self.new.0).await.unwrap().table);
        (0..table.len()).map(|ordinal| table.line(ordinal).unwrap().id).collect()
    }

    pub(super) async fn count(&self) -> u32 {
        self.plane.versions().open(self.new.0).await.unwrap().table.len()
    }

    pub(super) async fn manifest(&self) -> Arc<ManifestFile> {
        Arc::clone(&self.plane.versions().open(self.new.0).await.unwrap().manifest)
    }

    /// The true answer to a request for all chunks.
    pub(super) async fn truth(&self) -> Vec<u8> {
        let (path, ranges) = (format!("{VERSIONS_PATH}/{}/chunks", self.new.0), encode(&one(0..self.count().await)));
        let body = self.client().post_stream(&path, RANGES_TYPE, ranges.into()).await.unwrap();
        body.collect(100 << 20).await.unwrap().to_vec()
    }
}

/// A sink that remembers which chunks came.
pub(super) fn collector() -> (Sink, Arc<Mutex<HashSet<ChunkId>>>) {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let sink_seen = Arc::clone(&seen);
    let sink: Sink = Arc::new(move |record: VerifiedRecord| {
        sink_seen.lock().unwrap().extend(record.header().chunks.iter().map(|line| line.id));
        Ok(())
    });
    (sink, seen)
}

#[tokio::test]
async fn a_version_arrives_whole() {
    let world = world(Limits::default()).await;
    let client = world.client();
    let (manifest, wire) = within(fetch_manifest(&client, world.new.0, world.new.1, None, &world.place())).await.unwrap();
    assert_eq!(manifest.bytes(), world.manifest().await.bytes());
    let progress = AtomicU64::new(0);
    let (sink, pages) = collector();
    let entries = manifest.totals().entries.try_into().unwrap();
    let fetched = within(fetch_recipes(&client, &manifest, &one(0..entries), sink, &progress)).await;
    fetched.end.unwrap();
    assert_eq!(pages.lock().unwrap().len(), 1, "the twins share their recipe");
    let (sink, seen) = collector();
    let chunks = within(fetch_chunks(&client, manifest.id(), &one(0..world.count().await), sink, &progress)).await;
    chunks.end.unwrap();
    let ids = world.ids().await;
    assert_eq!(seen.lock().unwrap().clone(), ids);
    assert_eq!(progress.load(Ordering::SeqCst), fetched.wire_bytes + chunks.wire_bytes);
    assert_eq!(client.meter().read().wire_bytes, wire + fetched.wire_bytes + chunks.wire_bytes);
    let (sink, some) = collector();
    within(fetch_chunks(&client, manifest.id(), &[3..5, 9..10], sink, &progress)).await.end.unwrap();
    assert!(some.lock().unwrap().len() <= 3, "an answer carries nothing that was not asked for");
}

#[tokio::test]
async fn a_small_update_costs_a_small_manifest() {
    let world = world(Limits::default()).await;
    let client = world.client();
    let (old, whole) = within(fetch_manifest(&client, world.old.0, world.old.1, None, &world.place())).await.unwrap();
    let old = Arc::new(old);
    let (new, delta) =
        within(fetch_manifest(&client, world.new.0, world.new.1, Some(Arc::clone(&old)), &world.place())).await.unwrap();
    assert_eq!(new.id(), world.new.0);
    assert!(delta * 20 < whole, "{delta} of {whole} bytes");
    // Whoever may not read the base gets the manifest without it.
    world.rights.0.lock().unwrap().remove(&world.old.0);
    let (_, again) = within(fetch_manifest(&client, world.new.0, world.new.1, Some(old), &world.place())).await.unwrap();
    assert!(again > whole / 2, "{again} of {whole} bytes");
}

#[tokio::test]
async fn what_content_costs_is_told_to_the_byte_before_it_is_fetched() {
    let world = world(Limits::default()).await;
    let (client, manifest) = (world.client(), world.manifest().await);
    let some: Vec<Range<u32>> = (0..world.count().await / 3).map(|n| 3 * n..3 * n + 1).collect();
    let told = chunks_cost(&client, world.new.0, &some).await.unwrap();
    let fetched = fetch_chunks(&client, world.new.0, &some, collector().0, &AtomicU64::new(0)).await;
    assert_eq!((told, told > 0), (fetched.wire_bytes, true));
    let entries = one(0..u32::try_from(manifest.totals().entries).unwrap());
    let recipes = fetch_recipes(&client, &manifest, &entries, collector().0, &AtomicU64::new(0)).await.wire_bytes;
    // Each distinct chunk once, as a receiver asks.
    let table = Arc::clone(&world.plane.versions().open(world.new.0).await.unwrap().table);
    let mut seen = HashSet::new();
    let distinct: Vec<_> = (0..table.len()).filter(|n| seen.insert(table.line(*n).unwrap().id)).map(|n| n..n + 1).collect();
    let chunks = fetch_chunks(&client, world.new.0, &distinct, collector().0, &AtomicU64::new(0)).await.wire_bytes;
    assert_eq!(full_cost(&client, world.new.0).await.unwrap(), recipes + chunks);
    let beyond = one(0..world.count().await + 1);
    assert!(chunks_cost(&client, world.new.0, &beyond).await.is_err());
}

/// No worker can be started here: the program is a test.
#[tokio::test]
async fn a_small_set_of_patches_is_there_before_anybody_asks_and_costs_no_worker() {
    let world = world(Limits::default()).await;
    let (old, new) = (world.old.0, world.newest);
    world.plane.prepare(old, new).await;
    let answer = ask_patches(&world.client(), old, new, Duration::ZERO).await.unwrap();
    assert!(matches!(&answer, PatchAnswer::Ready { set } if set.len() == 1), "{answer:?}");
}

#[tokio::test]
async fn a_manifest_that_was_encoded_ahead_is_the_one_that_is_encoded_for_whoever_asks() {
    let world = world(Limits::default()).await;
    let (old, new) = (world.plane.versions().open(world.old.0).await.unwrap(), world.new.0);
    let (dir, client) = (tempfile::tempdir().unwrap(), world.client());
    let mut costs = Vec::new();
    for prepared in [false, true] {
        if prepared {
            world.plane.prepare_manifest(world.old.0, new).await;
        }
        let len = world.plane.versions().open(new).await.unwrap().manifest.bytes().len() as u64;
        // Whoever has another base, or none, gets what that takes.
        for base in [Some(Arc::clone(&old.manifest)), None] {
            let (fetched, cost) = fetch_manifest(&client, new, len, base, &dir.path().join("manifest")).await.unwrap();
            assert_eq!(fetched.id(), new);
            costs.push(cost);
        }
    }
    assert_eq!(costs[..2], costs[2..]);
}

#[tokio::test]
async fn a_manifest_is_encoded_once_for_all_that_have_no_other() {
    let world = world(Limits::default()).await;
    let (new, len) = world.new;
    let (dir, client, version) = (tempfile::tempdir().unwrap(), world.client(), world.plane.versions().open(new).await.unwrap());
    assert!(version.whole.get().is_none());
    let fetches = (0..8).map(|number| {
        let (client, place) = (client.clone(), dir.path().join(number.to_string()));
        tokio::spawn(async move { fetch_manifest(&client, new, len, None, &place).await.unwrap().0.id() })
    });
    for fetch in fetches.collect::<Vec<_>>() {
        assert_eq!(fetch.await.unwrap(), new);
    }
    let kept = version.whole.get().unwrap().as_ptr();
    let (manifest, cost) = fetch_manifest(&client, new, len, None, &dir.path().join("again")).await.unwrap();
    assert_eq!((manifest.id(), cost > 0), (new, true));
    assert_eq!(version.whole.get().unwrap().as_ptr(), kept);
    // Nothing lies there for others to find.
    let left = std::fs::read_dir(world.plane.versions().dir()).unwrap().flatten();
    assert!(left.map(|file| file.file_name()).all(|name| !name.to_string_lossy().contains("unnamed")));
}

#[tokio::test]
async fn of_a_version_that_is_about_to_be_ready_only_the_manifest_is_served() {
    let world = world(Limits::default()).await;
    let (new, len) = world.new;
    world.rights.0.lock().unwrap().remove(&new);
    *world.rights.1.lock().unwrap() = Some(new);
    let (dir, client) = (tempfile::tempdir().unwrap(), world.client());
    let (manifest, _) = fetch_manifest(&client, new, len, None, &dir.path().join("manifest")).await.unwrap();
    assert_eq!(manifest.id(), new);
    let sink: Sink = Arc::new(|_| panic!("content came"));
    let fetched = fetch_chunks(&client, new, &one(0..1), sink, &AtomicU64::new(0)).await;
    let absent = |error: Error| error.problem().map(|problem| problem.status) == Some(404);
    assert!(absent(fetched.end.unwrap_err()));
    assert!(absent(full_cost(&client, new).await.unwrap_err()));
    assert!(absent(ask_patches(&client, world.old.0, new, Duration::ZERO).await.unwrap_err()));
}

#[tokio::test]
async fn forbidden_and_absent_are_the_same_bytes() {
    let world = world(Limits::default()).await;
    world.rights.0.lock().unwrap().remove(&world.old.0);
    let absent = ManifestId([7; 32]);
    world.rights.0.lock().unwrap().insert(absent);
    for (method, what) in [("GET", "manifest"), ("POST", "recipes"), ("POST", "chunks"), ("GET", "cost"), ("POST", "cost")] {
        let mut answers = Vec::new();
        for id in [world.old.0.to_string(), absent.to_string(), ManifestId([9; 32]).to_string(), "nonsense".to_owned()] {
            let mut stream = tls(&world.authority, world.served.address).await;
            let head = format!(
                "{method} {VERSIONS_PATH}/{id}/{what} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let answer = String::from_utf8(read_all(&mut stream).await).unwrap();
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
            let request_id = answer.lines().find_map(|line| line.strip_prefix("consign-request-id: ")).unwrap().to_owned();
            let answer = answer.replace(&request_id, "").lines().filter(|line| !line.starts_with("date: ")).collect::<String>();
            answers.push(answer);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
}

#[tokio::test]
async fn bad_ranges_are_refused_by_name() {
    let world = world(Limits::default()).await;
    let (client, count) = (world.client(), world.count().await);
    for (what, body, status, code) in [
        ("chunks", encode(&one(0..count + 1)), 422, "ranges_out_of_bounds"),
        ("recipes", encode(&one(5..u32::MAX)), 422, "ranges_out_of_bounds"),
        ("chunks", vec![0x80], 422, "malformed_ranges"),
        ("recipes", vec![1, 0], 422, "malformed_ranges"),
        ("chunks", vec![1; RANGES_BYTES_MAX + 1], 413, "body_too_large"),
    ] {
        let path = format!("{VERSIONS_PATH}/{}/{what}", world.new.0);
        let refused = within(client.post_stream(&path, RANGES_TYPE, body.into())).await.unwrap_err();
        let problem = refused.problem().unwrap();
        assert_eq!((problem.status, problem.code.as_str()), (status, code), "{refused}");
    }
    let path = format!("{VERSIONS_PATH}/{}/chunks", world.new.0);
    assert_eq!(within(client.post_stream(&path, RANGES_TYPE, Bytes::new())).await.unwrap().collect(10).await.unwrap(), "");
}

#[tokio::test]
async fn a_busy_server_says_when_to_ask_again() {
    let world = world(Limits { streams_max: 0, turn_wait: SHORT, ..Limits::default() }).await;
    let busy = within(world.client().get_stream(&format!("{VERSIONS_PATH}/{}/manifest", world.new.0))).await.unwrap_err();
    let Error::Problem { problem, retry_after: Some(_), .. } = &busy else { panic!("{busy:?}") };
    assert_eq!(problem.code, "busy");
    assert!(busy.is_temporary());
}
