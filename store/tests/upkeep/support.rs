//! What the tests of upkeep share: a store of small packs, versions made of generated files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_store::ingest::{Options, Progress, ingest};
use consign_store::manifest::Platforms;
use consign_store::restore;
use consign_store::store::{Limits, Store};
use consign_store::upkeep::{GcOptions, GcReport, gc};
use consign_store::{ManifestId, Result};
use tempfile::TempDir;

/// Packs of a few records, an index that spills at once.
pub const SMALL: Limits = Limits { pack_bytes_max: 600_000, memory_entries_max: 16 };

/// A folder with a store in it.
pub struct Room {
    pub dir: TempDir,
    pub store: Store,
}

/// A version as it was published: its files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

impl Room {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_with(&dir.path().join("store"), SMALL).unwrap();
        Self { dir, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn reopen(self) -> Self {
        let Self { dir, store } = self;
        drop(store);
        let store = Store::open_with(&dir.path().join("store"), SMALL).unwrap();
        Self { dir, store }
    }

    pub fn publish(&self, files: &Files) -> ManifestId {
        publish(&self.store, files)
    }

    pub fn assert_whole(&self, version: ManifestId, files: &Files) {
        assert_whole(&self.store, version, files);
    }

    pub fn stored(&self) -> u64 {
        self.store.stats().unwrap().stored_bytes
    }
}

pub fn publish(store: &Store, files: &Files) -> ManifestId {
    let source = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(source.path().join(name), content).unwrap();
    }
    let options = Options {
        workers: 1,
        platforms: Platforms::default(),
        stat_cache: None,
        verify: false,
        now_unix_nanos: 0,
        progress: Arc::new(Progress::default()),
    };
    ingest(store, source.path(), &options).unwrap().manifest
}

/// Restores a version and compares every byte.
pub fn assert_whole(store: &Store, version: ManifestId, files: &Files) {
    let room = tempfile::tempdir().unwrap();
    let dest = room.path().join("dest");
    restore::get(store, version, &dest, None, 1).unwrap();
    assert_eq!(files_in(&dest), *files);
}

fn files_in(dir: &Path) -> Files {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// Collects at `now_millis` with a grace of 1,000 ms what `live` does not need.
pub fn collect(store: &Store, now_millis: i64, live: &[ManifestId]) -> GcReport {
    gc(store, &GcOptions::new(now_millis, 1000), || Ok(live.to_vec())).unwrap()
}

/// Collects without grace.
pub fn collect_now(store: &Store, live: &[ManifestId]) -> Result<GcReport> {
    gc(store, &GcOptions::new(0, 0), || Ok(live.to_vec()))
}

/// Bytes of a xorshift generator: incompressible, the same everywhere.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Some small files and one of several chunks, all content of this seed alone.
pub fn version(seed: u64) -> Files {
    let mut files: Files = (0..12).map(|n| (format!("small-{n}"), noise(seed * 100 + n, 9_000))).collect();
    files.insert("large".to_owned(), noise(seed * 100 + 50, 900_000));
    files
}

/// Two versions that share half of their files, mixed in their records.
pub fn mixed(a: u64, b: u64) -> Files {
    let mut files = version(a);
    for (name, content) in version(b) {
        files.insert(format!("{name}-too"), content);
    }
    files
}
