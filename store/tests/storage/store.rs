//! The store in ordinary life: append, find, read, reopen, seal, count, share between threads.

use std::fs;
use std::path::{Path, PathBuf};

use consign_store::chunk::ChunkKind;
use consign_store::chunk::record::VerifiedRecord;
use consign_store::store::{Limits, Stats, Store};
use consign_store::{ChunkId, Error};

use crate::support::{append, chunk, copy_dir, names_in, record};

/// Limits so small that a few records fill a pack and the index spills.
pub const SMALL: Limits = Limits { pack_bytes_max: 20_000, memory_entries_max: 16 };

pub fn assert_has(store: &Store, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let want = chunk(seed, 1000);
        let got = store.read_chunk(&want.id(), ChunkKind::Content).unwrap();
        assert_eq!(got.bytes(), want.bytes(), "chunk {seed}");
    }
}

#[test]
fn what_is_appended_is_found_at_once_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let encoded = record(1, 3);
    let at = store.append(&VerifiedRecord::decode(encoded.clone()).unwrap()).unwrap();
    assert_eq!(store.read_record(at).unwrap(), encoded);
    assert_eq!(store.read_header(at).unwrap().chunks.len(), 3);
    assert_has(&store, 1..4);
    assert_eq!(store.locate(&chunk(3, 1000).id()).unwrap().unwrap().ordinal, 2);
    store.sync().unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_has(&store, 1..4);
    assert_eq!(store.append_encoded(record(4, 1)).unwrap().pack, at.pack, "the open pack goes on");
    assert_eq!(store.read_record(at).unwrap(), encoded, "a place stays good");
}

#[test]
fn absent_chunks_and_wrong_kinds_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 1, 1);
    let absent = ChunkId([7; 32]);
    assert!(!store.contains(&absent).unwrap());
    assert!(matches!(store.read_chunk(&absent, ChunkKind::Content), Err(Error::NoChunk(id)) if id == absent));
    assert!(matches!(store.read_chunk(&chunk(1, 1000).id(), ChunkKind::RecipePage), Err(Error::Damaged { .. })));
}

#[test]
fn what_is_no_record_is_not_appended() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let encoded = record(1, 1);
    assert!(store.append_encoded(encoded.slice(..encoded.len() - 1)).is_err());
    assert!(store.append_encoded([&encoded[..], b"x"].concat().into()).is_err());
    assert_eq!(store.stats().unwrap(), Stats::default());
}

#[test]
fn the_first_writer_of_a_chunk_wins() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), SMALL).unwrap();
    let first = append(&store, 1, 2);
    append(&store, 10, 30);
    let again = append(&store, 2, 3);
    assert_eq!(store.locate(&chunk(2, 1000).id()).unwrap().unwrap().record, first);
    assert_eq!(store.locate(&chunk(3, 1000).id()).unwrap().unwrap().record, again);
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    fs::create_dir(dir.path().join("index")).unwrap();
    let rebuilt = Store::open_with(dir.path(), SMALL).unwrap();
    assert_eq!(rebuilt.locate(&chunk(2, 1000).id()).unwrap().unwrap().record, first);
    assert_eq!(rebuilt.stats().unwrap().chunks, 2 + 30 + 2);
}

/// Appends 40 records of 5 chunks in many packs and runs.
pub fn large(dir: &Path) -> Store {
    let store = Store::open_with(dir, SMALL).unwrap();
    for first in (1..201).step_by(5) {
        append(&store, first, 5);
    }
    store.sync().unwrap();
    store
}

#[test]
fn packs_are_sealed_and_runs_merged() {
    let dir = tempfile::tempdir().unwrap();
    let store = large(dir.path());
    assert_has(&store, 1..201);
    let stats = store.stats().unwrap();
    assert_eq!((stats.records, stats.chunks, stats.raw_bytes), (40, 200, 200_000));
    assert!(stats.packs >= 10, "{stats:?}");
    let on_disk: u64 = pack_files(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(stats.stored_bytes, on_disk);
    drop(store);
    let runs = names_in(&dir.path().join("index"));
    assert!((1..=8).contains(&runs.len()), "{runs:?}");
    assert_eq!(pack_files(dir.path()).iter().filter(|path| is_open(path)).count(), 1);
    let reopened = Store::open_with(dir.path(), SMALL).unwrap();
    assert_eq!(reopened.stats().unwrap(), stats);
    assert_has(&reopened, 1..201);
}

#[test]
fn sealing_by_hand_starts_another_pack() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.seal().unwrap();
    let first = append(&store, 1, 2);
    let before = store.read_record(first).unwrap();
    store.seal().unwrap();
    assert!(!is_open(&store.pack_path(first.pack).unwrap()));
    assert_eq!(store.read_record(first).unwrap(), before);
    assert_ne!(append(&store, 3, 1).pack, first.pack);
    assert_has(&store, 1..4);
}

#[test]
fn read_only_takes_no_lock_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = large(dir.path());
    append(&store, 300, 1);
    let before = names_in(dir.path());
    let reader = Store::open_read_only(dir.path()).unwrap();
    assert_has(&reader, 1..201);
    assert_has(&reader, 300..301);
    assert!(matches!(reader.append_encoded(record(1, 1)), Err(Error::Refused { .. })));
    assert!(matches!(reader.seal(), Err(Error::Refused { .. })));
    reader.sync().unwrap();
    drop(reader);
    assert_eq!(names_in(dir.path()), before);
}

#[test]
fn two_openers_are_refused_and_a_clone_is_not_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::Locked(path)) if path == dir.path()));
    let clone = store.clone();
    drop(store);
    assert!(matches!(Store::open(dir.path()), Err(Error::Locked(_))));
    drop(clone);
    Store::open(dir.path()).unwrap();
}

#[test]
fn folders_that_are_something_else_are_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), b"dear").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("letter.txt"), "{error}");
    assert_eq!(names_in(dir.path()), ["letter.txt"]);
    assert!(matches!(Store::open_read_only(dir.path()), Err(Error::Refused { .. })));
    assert!(matches!(Store::open_read_only(&dir.path().join("absent")), Err(Error::Refused { .. })));
    assert!(matches!(Store::open(&dir.path().join("letter.txt")), Err(Error::Io { .. })));
}

#[test]
fn creation_that_was_cut_off_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("packs")).unwrap();
    fs::write(dir.path().join("lock"), b"").unwrap();
    fs::write(dir.path().join(".tmp-1-1"), b"half").unwrap();
    append(&Store::open(dir.path()).unwrap(), 1, 1);
}

#[test]
fn marker_is_golden_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let path = dir.path().join("consign-store");
    let marker = fs::read(&path).unwrap();
    crate::support::assert_golden("marker-v1.bin", &marker);
    for at in 0..marker.len() {
        let mut damaged = marker.clone();
        damaged[at] ^= 4;
        fs::write(&path, damaged).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::Damaged { .. } | Error::TooNew { .. })), "byte {at}");
    }
    fs::write(&path, &marker[..20]).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::Damaged { .. })));
}

#[test]
fn threads_append_sync_and_read_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), SMALL).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..25 {
                    // Neighbours write some chunks of each other, too.
                    let first = thread * 50 + round * 2;
                    append(store, first, 4);
                    if round % 5 == 0 {
                        store.sync().unwrap();
                    }
                    assert_has(store, first..first + 4);
                }
            });
        }
    });
    store.sync().unwrap();
    let crashed = copy_dir(dir.path());
    assert_has(&store, 0..202);
    assert_eq!(store.stats().unwrap().chunks, 202);
    let other = Store::open_with(crashed.path(), SMALL).unwrap();
    assert_has(&other, 0..202);
    assert_eq!(other.stats().unwrap().chunks, 202);
}

pub fn pack_files(dir: &Path) -> Vec<PathBuf> {
    names_in(&dir.join("packs")).into_iter().map(|name| dir.join("packs").join(name)).collect()
}

fn is_open(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("open-")
}
