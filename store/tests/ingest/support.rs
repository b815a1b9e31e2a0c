//! What the tests of ingest share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use consign_store::chunk::ChunkKind;
use consign_store::ingest::{Ingested, Options, Progress, ingest};
use consign_store::manifest::{EntryKind, ManifestFile, Platforms, recipe};
use consign_store::{FileDigest, ManifestId, Result, Store};
use tempfile::TempDir;

/// A source folder, a store and a place for other files.
pub struct Bench {
    pub dir: TempDir,
    pub store: Store,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("folder");
        fs::create_dir(dir.path().join("source")).expect("source");
        let store = Store::open(&dir.path().join("store")).expect("store");
        Self { dir, store }
    }

    pub fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("stat-cache")
    }

    /// Writes a source file, and the folders above it.
    pub fn write(&self, path: &str, content: &[u8]) {
        let at = self.source().join(path);
        fs::create_dir_all(at.parent().expect("a folder")).expect("folders");
        fs::write(at, content).expect("written");
    }

    pub fn ingest(&self) -> Result<Ingested> {
        ingest(&self.store, &self.source(), &options())
    }

    /// Ingests with the stat cache, as if a minute had passed.
    pub fn refresh(&self) -> Ingested {
        self.refresh_with(|_| {})
    }

    pub fn refresh_with(&self, change: impl FnOnce(&mut Options)) -> Ingested {
        let mut options = Options { stat_cache: Some(self.cache()), now_unix_nanos: now() + 60_000_000_000, ..options() };
        change(&mut options);
        ingest(&self.store, &self.source(), &options).expect("refreshed")
    }

    pub fn manifest(&self, id: ManifestId) -> ManifestFile {
        ManifestFile::extract(&self.store, id, &self.dir.path().join("manifest")).expect("extracted")
    }

    /// Checks that manifest `id` says what the source folder holds, byte by byte.
    pub fn assert_holds_source(&self, id: ManifestId) {
        let manifest = self.manifest(id);
        let mut found = Vec::new();
        list(&self.source(), "", &mut found);
        let paths: Vec<_> = manifest.entries().map(|entry| entry.path.as_str().to_owned()).collect();
        let mut sorted = paths.clone();
        sorted.sort();
        found.sort();
        assert_eq!(sorted, found);
        for entry in manifest.entries() {
            let at = self.source().join(entry.path.as_str());
            match entry.kind {
                EntryKind::File { size, digest, chunks } => {
                    assert_eq!(
                        self.content(digest, size, chunks),
                        fs::read(&at).expect("source file"),
                        "{}",
                        entry.path.as_str()
                    );
                }
                EntryKind::Folder => assert!(at.is_dir() && !at.is_symlink()),
                EntryKind::Symlink { target } => assert_eq!(fs::read_link(&at).expect("link"), Path::new(target.as_str())),
            }
        }
    }

    /// Reads a file's content out of the store.
    pub fn content(&self, digest: FileDigest, size: u64, chunks: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut page = |id| self.store.read_chunk(&id, ChunkKind::RecipePage).map(|page| page.bytes().clone());
        recipe::walk(digest, size, chunks, &mut page, &mut |line| {
            let chunk = self.store.read_chunk(&line.id, ChunkKind::Content)?;
            assert_eq!(chunk.bytes().len(), line.len as usize);
            out.extend_from_slice(chunk.bytes());
            Ok(())
        })
        .expect("content");
        out
    }
}

pub fn options() -> Options {
    Options {
        workers: 3,
        platforms: Platforms::default(),
        stat_cache: None,
        verify: false,
        now_unix_nanos: now(),
        progress: Arc::new(Progress::default()),
    }
}

pub fn now() -> i128 {
    i128::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()).expect("small")
}

/// Bytes that do not compress and differ by `seed`, the same on every machine.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn list(folder: &Path, path: &str, out: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("folder") {
        let entry = entry.expect("entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        out.push(path.clone());
        if entry.file_type().expect("type").is_dir() {
            list(&entry.path(), &path, out);
        }
    }
}
