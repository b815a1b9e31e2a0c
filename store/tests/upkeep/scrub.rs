//! Damage in every region of a pack is found, named, and healed from another store or by publishing again.

use std::fs;
use std::path::{Path, PathBuf};

use consign_store::chunk::{ChunkKind, VerifiedChunk};
use consign_store::store::Store;
use consign_store::upkeep::{ScrubReport, examine, from_store, is_whole, repair, scrub};
use consign_store::{Error, ManifestId};

use crate::support::{Files, Room, SMALL, assert_whole, collect_now, noise, publish, version};

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn all(store: &Store) -> ScrubReport {
    scrub(store, &mut |_| Ok(())).unwrap()
}

/// A store with one version in one sealed pack, and another with the same.
fn two(seal: bool) -> (Room, Room, ManifestId, Files, PathBuf) {
    let (room, other) = (Room::new(), Room::new());
    let mut files: Files = (0..6).map(|n| (format!("f{n}"), noise(n + 1, 9_000))).collect();
    files.insert("large".to_owned(), noise(50, 300_000));
    let id = room.publish(&files);
    assert_eq!(other.publish(&files), id);
    if seal {
        room.store.seal().unwrap();
    }
    let path = room.store.pack_path(0).unwrap();
    (room, other, id, files, path)
}

#[test]
fn an_undamaged_store_is_found_whole() {
    let (room, _, id, files, _) = two(true);
    room.publish(&version(3));
    let report = all(&room.store);
    let stats = room.store.stats().unwrap();
    assert_eq!((report.records, report.damaged.len(), report.damaged_packs.len(), report.corrected), (stats.records, 0, 0, 0));
    assert!(report.bytes > 1_000_000, "{report:?}");
    room.assert_whole(id, &files);
}

/// Header, chunk lines and payload of the first and the last record; pack header, footer lines, trailer.
#[test]
fn a_flipped_bit_in_each_region_is_found_named_and_healed() {
    for seal in [true, false] {
        let clean = two(seal);
        let len = fs::read(&clean.4).unwrap().len();
        let records = [0, 6, 32, 33, 50, 90, 100, 5_000, 60_000, 300_000];
        let frame: &[usize] = if seal { &[len - 1, len - 50, len - 96, len - 97, len - 300] } else { &[] };
        for &at in records.iter().chain(frame) {
            let (room, other, id, files, path) = two(seal);
            flip(&path, at);
            let report = all(&room.store);
            let what = format!("byte {at} of {len}, sealed {seal}: {report:?}");
            assert!(report.damaged.is_empty() != report.damaged_packs.is_empty(), "{what}");
            assert_eq!(report.damaged_packs.is_empty(), at >= 32 && !frame.contains(&at), "{what}");
            for chunk in &report.damaged {
                assert!(!room.store.contains(&chunk.id).unwrap(), "{what}");
                assert_eq!(chunk.at.record.pack, 0);
            }
            assert_eq!(room.store.damaged().unwrap().len(), report.damaged.len());
            let mut source = from_store(&other.store);
            let healed = repair(&room.store, &mut source).unwrap();
            assert_eq!((healed.repaired, healed.remaining.len()), (report.damaged.len() as u64, 0), "{what}");
            assert_eq!(healed.packs_rewritten, report.damaged_packs.len() as u64, "{what}");
            room.assert_whole(id, &files);
            let room = room.reopen();
            room.assert_whole(id, &files);
            assert_eq!(room.store.damaged().unwrap(), []);
        }
    }
}

#[test]
fn known_damage_outlives_the_process_and_the_loss_of_the_index() {
    let (room, other, id, files, path) = two(true);
    flip(&path, 5_000);
    let found = all(&room.store).damaged;
    assert!(!found.is_empty());
    let place = room.path("store");
    let Room { dir: _dir, store } = room;
    drop(store);
    for lose in [false, true] {
        if lose {
            fs::remove_dir_all(place.join("index")).unwrap();
            fs::create_dir(place.join("index")).unwrap();
        }
        let store = Store::open_with(&place, SMALL).unwrap();
        assert!(found.iter().all(|chunk| !store.contains(&chunk.id).unwrap()));
        assert_eq!(store.damaged().unwrap().len(), found.len());
        assert!(all(&store).damaged.is_empty(), "it is not found a second time");
        assert_eq!(store.damaged().unwrap().len(), found.len());
    }
    let store = Store::open_with(&place, SMALL).unwrap();
    repair(&store, &mut from_store(&other.store)).unwrap();
    drop(store);
    fs::remove_dir_all(place.join("index")).unwrap();
    fs::create_dir(place.join("index")).unwrap();
    let store = Store::open_with(&place, SMALL).unwrap();
    assert_whole(&store, id, &files);
}

#[test]
fn publishing_again_heals() {
    let (room, _, id, files, path) = two(true);
    flip(&path, 5_000);
    assert!(!all(&room.store).damaged.is_empty());
    assert!(matches!(collect_now(&room.store, &[id]), Ok(_) | Err(Error::Refused { .. })));
    assert_eq!(publish(&room.store, &files), id);
    assert_eq!(room.store.damaged().unwrap(), []);
    room.assert_whole(id, &files);
}

#[test]
fn what_the_source_lacks_remains() {
    let (room, _, _, _, path) = two(true);
    flip(&path, 5_000);
    let found = all(&room.store).damaged;
    let empty = Room::new();
    let report = repair(&room.store, &mut from_store(&empty.store)).unwrap();
    assert_eq!((report.repaired, report.remaining.len()), (0, found.len()));
    assert_eq!(report.remaining.len(), room.store.damaged().unwrap().len());
}

#[test]
fn a_stopped_scrub_goes_on_where_it_was() {
    let room = Room::new();
    room.publish(&version(1));
    room.publish(&version(2));
    let records = room.store.stats().unwrap().records;
    let mut left = 3;
    let stopped = scrub(&room.store, &mut |_| {
        left -= 1;
        if left == 0 { Err(Error::Cancelled) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(Error::Cancelled)));
    let room = room.reopen();
    assert_eq!(all(&room.store).records, records - 3);
    assert_eq!(all(&room.store).records, records, "and then from the start again");
}

/// Entries of a run have no checksum: a wrong one is found by its record.
#[test]
fn wrong_entries_of_the_index_are_corrected() {
    for at in [3, 31, 32, 36, 40] {
        let (room, _, id, files, _) = two(true);
        let place = room.path("store");
        let Room { dir: _dir, store } = room;
        drop(store);
        let run = fs::read_dir(place.join("index")).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
        let len = usize::try_from(fs::metadata(&run).unwrap().len()).unwrap();
        flip(&run, len - 42 + at);
        let store = Store::open_with(&place, SMALL).unwrap();
        assert_eq!(all(&store).corrected, 1, "byte {at}");
        assert_eq!(all(&store).corrected, 0, "byte {at}");
        assert_whole(&store, id, &files);
    }
}

#[test]
fn a_copy_in_another_pack_heals_without_a_source() {
    let (room, other, id, files, path) = two(true);
    // The records of the other store, appended as they are: nothing of them is entered, all is there already.
    for chunk in [files["f1"].clone(), files["f4"].clone()] {
        let id = VerifiedChunk::hash(ChunkKind::Content, chunk.into()).id();
        let at = other.store.locate(&id).unwrap().unwrap();
        room.store.append(&other.store.read_verified(at.record).unwrap()).unwrap();
    }
    flip(&path, 5_000);
    assert!(!all(&room.store).damaged.is_empty());
    assert_eq!(room.store.damaged().unwrap(), []);
    room.assert_whole(id, &files);
}

/// Evidence of damage in something live is not swept away.
#[test]
fn a_pack_with_live_damage_stays_until_it_is_healed() {
    let (room, other) = (Room::new(), Room::new());
    let many = version(1);
    room.publish(&many);
    let few: Files = many.into_iter().filter(|(name, _)| name.starts_with("small")).collect();
    let id = room.publish(&few);
    other.publish(&few);
    let hit = VerifiedChunk::hash(ChunkKind::Content, few["small-3"].clone().into()).id();
    let at = room.store.locate(&hit).unwrap().unwrap().record;
    let end = at.offset as usize + room.store.read_record(at).unwrap().len();
    flip(&room.store.pack_path(at.pack).unwrap(), end - 10);
    assert!(!all(&room.store).damaged.is_empty());
    let damaged = room.store.damaged().unwrap();
    for _ in 0..2 {
        collect_now(&room.store, &[id]).unwrap();
        assert_eq!(room.store.damaged().unwrap(), damaged);
        assert!(room.store.pack_path(at.pack).is_some());
    }
    let healed = repair(&room.store, &mut from_store(&other.store)).unwrap();
    assert!(healed.repaired >= 12 && !healed.remaining.is_empty(), "what is dead is not in the other store: {healed:?}");
    collect_now(&room.store, &[id]).unwrap();
    room.assert_whole(id, &few);
    assert!(room.store.pack_path(at.pack).is_none(), "nothing live is found in it any more");
    assert_eq!(room.store.damaged().unwrap(), [], "and so the damage is gone, too");
}

#[test]
fn what_a_version_needs_is_read_again_and_nothing_else() {
    let (room, _, first, _, path) = two(true);
    let second = room.publish(&version(7));
    room.store.seal().unwrap();
    let other = room.store.pack_path(1).unwrap();
    // A scrub that was stopped goes on where it was, whatever is examined meanwhile.
    let mut left = 3;
    let stop = scrub(&room.store, &mut |_| {
        left -= 1;
        if left == 0 { Err(Error::Cancelled) } else { Ok(()) }
    });
    assert!(matches!(stop, Err(Error::Cancelled)), "{stop:?}");
    let place = fs::read(room.store.dir().join("upkeep/scrub")).unwrap();
    flip(&path, 5_000);
    flip(&other, 5_000);
    let look = |id: ManifestId| examine(&room.store, id, &mut |_| Ok(())).unwrap();
    let found = look(second);
    assert!(!found.damaged.is_empty() && found.damaged.iter().all(|chunk| chunk.at.record.pack == 1), "{found:?}");
    assert!(is_whole(&room.store, first).unwrap() && !is_whole(&room.store, second).unwrap());
    let found = look(first);
    assert!(!found.damaged.is_empty() && found.damaged.iter().all(|chunk| chunk.at.record.pack == 0), "{found:?}");
    assert_eq!(fs::read(room.store.dir().join("upkeep/scrub")).unwrap(), place);
    assert_eq!(look(ManifestId::from(consign_store::FileDigest([7; 32]))), ScrubReport::default(), "an unknown version");
}

#[test]
fn a_version_whose_manifest_is_damaged_is_read_again_too() {
    let (room, _, id, _, path) = two(true);
    let top = consign_store::ChunkId::from(consign_store::FileDigest::from(id));
    let at = room.store.locate(&top).unwrap().unwrap();
    flip(&path, usize::try_from(at.record.offset).unwrap() + 60);
    let found = examine(&room.store, id, &mut |_| Ok(())).unwrap();
    assert!(found.damaged.iter().any(|chunk| chunk.id == top), "{found:?}");
    assert!(!is_whole(&room.store, id).unwrap());
}
