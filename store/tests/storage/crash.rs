//! What a killed process or a power cut leaves is opened again: synced records are all there, a torn tail is gone.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

use consign_store::Error;
use consign_store::chunk::ChunkKind;
use consign_store::store::Store;

use crate::record::forged;
use crate::store::{SMALL, assert_has};
use crate::support::{append, chunk, copy_dir, names_in, noise, record};

#[test]
fn a_killed_process_loses_nothing_that_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), SMALL).unwrap();
    for first in (0..120).step_by(3) {
        append(&store, first, 3);
        let killed = copy_dir(dir.path());
        let reopened = Store::open_with(killed.path(), SMALL).unwrap();
        assert_has(&reopened, 0..first + 3);
        assert_eq!(reopened.stats().unwrap(), store.stats().unwrap());
        append(&reopened, 1000, 2);
        assert_has(&reopened, 1000..1002);
    }
}

#[test]
fn every_torn_tail_is_cut_and_appended_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 1, 2);
    store.sync().unwrap();
    let torn = record(10, 2);
    let lengths = (1..200).chain((200..torn.len()).step_by(97));
    for len in lengths {
        let killed = copy_dir(dir.path());
        let pack = killed.path().join("packs/open-0.pack");
        OpenOptions::new().append(true).open(&pack).unwrap().write_all(&torn[..len]).unwrap();
        let whole = fs::metadata(dir.path().join("packs/open-0.pack")).unwrap().len();
        assert_has(&Store::open_read_only(killed.path()).unwrap(), 1..3);
        assert_eq!(fs::metadata(&pack).unwrap().len(), whole + len as u64, "a reader cuts nothing");
        let reopened = Store::open(killed.path()).unwrap();
        assert_eq!(fs::metadata(&pack).unwrap().len(), whole, "{len} bytes of a record");
        assert!(!reopened.contains(&chunk(10, 1000).id()).unwrap());
        append(&reopened, 20, 2);
        assert_has(&reopened, 1..3);
        assert_has(&reopened, 20..22);
    }
}

#[test]
fn garbage_and_zeros_behind_the_tail_are_cut() {
    for garbage in [noise(5, 3_000_000).to_vec(), vec![0; 100_000], b"xCNRC".repeat(1000)] {
        let dir = tempfile::tempdir().unwrap();
        append(&Store::open(dir.path()).unwrap(), 1, 2);
        let pack = dir.path().join("packs/open-0.pack");
        let whole = fs::metadata(&pack).unwrap().len();
        OpenOptions::new().append(true).open(&pack).unwrap().write_all(&garbage).unwrap();
        assert_has(&Store::open(dir.path()).unwrap(), 1..3);
        assert_eq!(fs::metadata(&pack).unwrap().len(), whole);
    }
}

/// The front of a record lies in a sector that was written, the rest in one that was not: zeros, as the file was longer already.
#[test]
fn a_record_of_which_only_the_front_was_written_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    append(&Store::open(dir.path()).unwrap(), 1, 2);
    let torn = record(10, 2);
    for written in 1..=64 {
        let killed = copy_dir(dir.path());
        let pack = killed.path().join("packs/open-0.pack");
        let whole = fs::metadata(&pack).unwrap().len();
        let front = [&torn[..written], &vec![0; torn.len() - written]].concat();
        OpenOptions::new().append(true).open(&pack).unwrap().write_all(&front).unwrap();
        assert_has(&Store::open(killed.path()).unwrap(), 1..3);
        assert_eq!(fs::metadata(&pack).unwrap().len(), whole, "{written} bytes of a record");
    }
}

/// A flipped bit in what says which program wrote a record costs that record, as any other does.
#[test]
fn a_record_whose_version_is_damaged_is_damaged_and_not_newer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let places = [append(&store, 1, 2), append(&store, 3, 2), append(&store, 5, 2)];
    for (at, bit) in (4..12).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let killed = copy_dir(dir.path());
        // Nothing tells what lies in the pack but the pack.
        fs::remove_dir_all(killed.path().join("index")).unwrap();
        let pack = killed.path().join("packs/open-0.pack");
        let mut bytes = fs::read(&pack).unwrap();
        bytes[places[1].offset as usize + at] ^= 1 << bit;
        fs::write(&pack, bytes).unwrap();
        let reopened = Store::open(killed.path()).unwrap_or_else(|error| panic!("bit {bit} of byte {at}: {error}"));
        assert_has(&reopened, 1..3);
        assert_has(&reopened, 5..7);
        assert!(!reopened.contains(&chunk(3, 1000).id()).unwrap(), "bit {bit} of byte {at}");
    }
}

/// What a newer program appended is no garbage: it is refused, not cut off.
#[test]
fn a_record_of_a_newer_version_is_not_taken_for_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    append(&Store::open(dir.path()).unwrap(), 1, 2);
    let pack = dir.path().join("packs/open-0.pack");
    let newer = forged(&record(3, 1), 4, &[2]);
    OpenOptions::new().append(true).open(&pack).unwrap().write_all(&newer).unwrap();
    let before = fs::read(&pack).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::TooNew { what, .. } if what.contains(pack.to_str().unwrap())), "{error}");
    assert_eq!(fs::read(&pack).unwrap(), before);
}

/// Blocks written out of order: the middle never reached the disk.
#[test]
fn a_hole_in_the_tail_costs_only_what_it_hit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let places = [append(&store, 1, 2), append(&store, 3, 2), append(&store, 5, 2)];
    for (from, len) in [(0, 40), (0, 2136), (100, 10), (200, 1000)] {
        let killed = copy_dir(dir.path());
        let mut pack = OpenOptions::new().write(true).open(killed.path().join("packs/open-0.pack")).unwrap();
        pack.seek(SeekFrom::Start(u64::from(places[1].offset) + from)).unwrap();
        pack.write_all(&vec![0; len]).unwrap();
        let reopened = Store::open(killed.path()).unwrap();
        assert_has(&reopened, 1..3);
        assert_has(&reopened, 5..7);
        assert!(!reopened.contains(&chunk(3, 1000).id()).unwrap());
        append(&reopened, 3, 2);
        reopened.seal().unwrap();
        assert_has(&reopened, 1..7);
    }
}

#[test]
fn a_pack_whose_creation_or_sealing_was_cut_off_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 1, 2);
    let before = copy_dir(dir.path());
    store.seal().unwrap();
    let sealed = fs::read(store.pack_path(0).unwrap()).unwrap();
    let open = before.path().join("packs/open-0.pack");
    let whole = fs::metadata(&open).unwrap().len();
    fs::write(&open, &sealed).unwrap();
    fs::write(before.path().join("packs/open-7.pack"), &sealed[..20]).unwrap();
    fs::write(before.path().join("packs/open-8.pack"), [0; 32]).unwrap();
    let reopened = Store::open(before.path()).unwrap();
    assert_has(&reopened, 1..3);
    assert_eq!(fs::metadata(&open).unwrap().len(), whole, "the footer of the unfinished sealing is cut");
    assert_eq!(names_in(&before.path().join("packs")), ["open-0.pack"]);
}

/// Runs that were merged but not yet unlinked, and temporary files, are removed and counted once.
#[test]
fn a_merge_that_was_cut_off_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    append(&Store::open(dir.path()).unwrap(), 1, 2);
    let old_run = fs::read(dir.path().join("index/0.run")).unwrap();
    append(&Store::open(dir.path()).unwrap(), 3, 2);
    assert_eq!(names_in(&dir.path().join("index")), ["1.run"]);
    fs::write(dir.path().join("index/0.run"), old_run).unwrap();
    for folder in ["", "packs", "index"] {
        fs::write(dir.path().join(folder).join(".tmp-5-5"), b"half").unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.stats().unwrap().chunks, 4);
    assert_has(&store, 1..5);
    let names = names_in(dir.path());
    assert_eq!(names, ["consign-store", "index", "index/1.run", "lock", "packs", "packs/open-0.pack"]);
    assert!(store.read_chunk(&chunk(9, 1000).id(), ChunkKind::Content).is_err());
}
