//! Damaged packs and runs: found, named, never served, never a panic; the index is built again from the packs.

use std::fs;
use std::path::{Path, PathBuf};

use consign_store::Error;
use consign_store::chunk::ChunkKind;
use consign_store::store::{RecordAt, Store};

use crate::store::{SMALL, assert_has, large, pack_files};
use crate::support::{append, chunk, copy_dir, names_in};

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn sealed_store(dir: &Path) -> (RecordAt, PathBuf) {
    let store = Store::open(dir).unwrap();
    let at = append(&store, 1, 2);
    append(&store, 3, 2);
    store.seal().unwrap();
    (at, store.pack_path(0).unwrap())
}

#[test]
fn a_flipped_bit_is_found_by_reading_the_chunk_and_names_the_pack() {
    for seal in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let at = append(&store, 1, 2);
        append(&store, 3, 2);
        if seal {
            store.seal().unwrap();
        }
        drop(store);
        let path = pack_files(dir.path()).remove(0);
        flip(&path, at.offset as usize + 1500);
        let store = Store::open(dir.path()).unwrap();
        let error = store.read_chunk(&chunk(1, 1000).id(), ChunkKind::Content).unwrap_err();
        assert!(matches!(&error, Error::Damaged { what, .. } if what.contains(path.to_str().unwrap())), "{error}");
        assert_has(&store, 3..5);
    }
}

#[test]
fn a_damaged_header_is_found_by_reading_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let (at, path) = sealed_store(dir.path());
    flip(&path, at.offset as usize + 70);
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(store.read_record(at), Err(Error::Damaged { .. })));
    assert!(matches!(store.read_header(at), Err(Error::Damaged { .. })));
    assert_has(&store, 3..5);
}

#[test]
fn places_that_do_not_exist_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 1, 1);
    for seal in [false, true] {
        if seal {
            store.seal().unwrap();
        }
        for (pack, offset) in [(0, 0), (0, 33), (0, 1000), (0, u32::MAX), (9, 32)] {
            assert!(matches!(store.read_record(RecordAt { pack, offset }), Err(Error::Damaged { .. })), "{pack} {offset}");
        }
    }
}

#[test]
fn a_sealed_pack_that_is_cut_short_while_mapped_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (at, path) = sealed_store(dir.path());
    let store = Store::open(dir.path()).unwrap();
    assert_has(&store, 1..3);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert!(matches!(store.read_record(at), Err(Error::Damaged { .. })));
    assert!(matches!(store.read_chunk(&chunk(3, 1000).id(), ChunkKind::Content), Err(Error::Damaged { .. })));
}

/// Every byte of the footer: the index is built again from the records instead, and nothing is lost.
#[test]
fn a_damaged_footer_is_replaced_by_reading_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let (_, path) = sealed_store(dir.path());
    let len = fs::metadata(&path).unwrap().len();
    let len = usize::try_from(len).unwrap();
    fs::remove_file(dir.path().join("index/0.run")).unwrap();
    for at in (len - 96 - 4 * 42..len).chain([usize::MAX]) {
        let copy = copy_dir(dir.path());
        let path = copy.path().join("packs").join(path.file_name().unwrap());
        if at == usize::MAX {
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len as u64 - 1).unwrap();
        } else {
            flip(&path, at);
        }
        match Store::open(copy.path()) {
            Ok(store) => assert_has(&store, 1..5),
            Err(error) => assert!(matches!(error, Error::TooNew { .. }), "byte {at}: {error}"),
        }
    }
}

#[test]
fn every_damaged_byte_of_a_pack_header_is_refused_with_the_pack_named() {
    let dir = tempfile::tempdir().unwrap();
    let (_, path) = sealed_store(dir.path());
    for at in 0..32 {
        flip(&path, at);
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. } | Error::TooNew { .. }), "byte {at}: {error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        flip(&path, at);
    }
    let twin = path.with_file_name(format!("{}.pack", "0".repeat(64)));
    fs::copy(&path, &twin).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::Damaged { .. })), "two packs of one number");
}

/// Every byte of a run but its entries is covered by the checksum: damaged, it is built again from the packs.
#[test]
fn damaged_shortened_and_deleted_runs_are_built_again() {
    let dir = tempfile::tempdir().unwrap();
    sealed_store(dir.path());
    let run = dir.path().join("index/0.run");
    let good = fs::read(&run).unwrap();
    let entries_at = good.len() - 4 * 42;
    let damaged = (0..entries_at).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    });
    let shortened = [0, 1, 63, 64, good.len() - 1].map(|len| good[..len].to_vec());
    for bytes in damaged.chain(shortened).chain([[&good[..], b"x"].concat()]) {
        let copy = copy_dir(dir.path());
        fs::write(copy.path().join("index/0.run"), bytes).unwrap();
        assert_has(&Store::open_read_only(copy.path()).unwrap(), 1..5);
        let store = Store::open(copy.path()).unwrap();
        assert_has(&store, 1..5);
        assert_eq!(store.stats().unwrap().chunks, 4);
        drop(store);
        assert_has(&Store::open(copy.path()).unwrap(), 1..5);
        assert_eq!(names_in(&copy.path().join("index")).len(), 1);
    }
}

#[test]
fn a_wrong_entry_of_a_run_never_gives_other_bytes() {
    let dir = tempfile::tempdir().unwrap();
    sealed_store(dir.path());
    let run = dir.path().join("index/0.run");
    let len = fs::metadata(&run).unwrap().len();
    let entries_at = usize::try_from(len).unwrap() - 4 * 42;
    for at in entries_at..entries_at + 4 * 42 {
        flip(&run, at);
        let store = Store::open_read_only(dir.path()).unwrap();
        for seed in 1..5 {
            let want = chunk(seed, 1000);
            if let Ok(got) = store.read_chunk(&want.id(), ChunkKind::Content) {
                assert_eq!(got.bytes(), want.bytes());
            }
        }
        flip(&run, at);
    }
}

#[test]
fn any_part_of_the_index_may_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    drop(large(dir.path()));
    let runs = names_in(&dir.path().join("index"));
    for lost in 0..=runs.len() {
        let copy = copy_dir(dir.path());
        for run in
            runs.iter().skip(if lost == runs.len() { 0 } else { lost }).take(if lost == runs.len() { usize::MAX } else { 1 })
        {
            fs::remove_file(copy.path().join("index").join(run)).unwrap();
        }
        let store = Store::open_with(copy.path(), SMALL).unwrap();
        assert_has(&store, 1..201);
        let stats = store.stats().unwrap();
        assert_eq!((stats.chunks, stats.records, stats.raw_bytes), (200, 40, 200_000));
    }
}

#[test]
fn a_pack_taken_away_costs_its_own_chunks_only() {
    let dir = tempfile::tempdir().unwrap();
    drop(large(dir.path()));
    let gone = pack_files(dir.path()).into_iter().find(|path| !path.to_str().unwrap().contains("open-")).unwrap();
    fs::remove_file(gone).unwrap();
    let store = Store::open_with(dir.path(), SMALL).unwrap();
    let left = (1..201).filter(|&seed| store.read_chunk(&chunk(seed, 1000).id(), ChunkKind::Content).is_ok()).count();
    assert_eq!(left as u64, store.stats().unwrap().chunks);
    assert!((180..200).contains(&left), "{left}");
}

#[test]
fn the_whole_index_folder_may_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    drop(large(dir.path()));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    assert_has(&Store::open_read_only(dir.path()).unwrap(), 1..201);
    assert!(!dir.path().join("index").exists(), "who only reads writes nothing");
    assert_has(&Store::open_with(dir.path(), SMALL).unwrap(), 1..201);
}
