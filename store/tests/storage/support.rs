//! What the tests share: generated content and golden files.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use consign_store::chunk::record::encode;
use consign_store::chunk::{ChunkKind, VerifiedChunk};
use consign_store::store::{RecordAt, Store};
use tempfile::TempDir;

/// Bytes of a xorshift generator: incompressible, the same everywhere.
pub fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// A chunk of noise.
pub fn chunk(seed: u64, len: usize) -> VerifiedChunk {
    VerifiedChunk::hash(ChunkKind::Content, noise(seed, len))
}

/// A record of `count` chunks of noise of 1,000 bytes; the seeds start at `first`.
pub fn record(first: u64, count: u64) -> Bytes {
    let chunks: Vec<_> = (first..first + count).map(|seed| chunk(seed, 1000)).collect();
    encode(ChunkKind::Content, &chunks, 3).unwrap()
}

/// Compares `bytes` with the golden file `name`; with `CONSIGN_BLESS` set it writes the file instead.
pub fn assert_golden(name: &str, bytes: &[u8]) {
    let path = golden(name);
    if std::env::var_os("CONSIGN_BLESS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let there = std::fs::read(&path).unwrap();
    assert!(there == bytes, "{name} changed: a format is fixed by its version; add a version instead");
}

/// The path of the golden file `name`.
pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Appends `record(first, count)`.
pub fn append(store: &Store, first: u64, count: u64) -> RecordAt {
    store.append_encoded(record(first, count)).unwrap()
}

/// Returns the names in a folder and those below it, sorted.
pub fn names_in(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(names_in(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")));
        }
        names.push(name);
    }
    names.sort();
    names
}

/// Copies a folder as it is now: what a killed process would leave.
pub fn copy_dir(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in names_in(from) {
        let (source, target) = (from.join(&name), to.path().join(&name));
        if source.is_dir() {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(source, target).unwrap();
        }
    }
    to
}
