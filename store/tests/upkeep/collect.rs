//! What is collected and what is not: grace, leases, look-ups, poor and small packs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use consign_store::chunk::record::encode;
use consign_store::chunk::{ChunkKind, VerifiedChunk};
use consign_store::manifest::ManifestFile;
use consign_store::store::Store;
use consign_store::upkeep::{GcOptions, GcReport, Live, gc, gc_paced, is_whole};
use consign_store::{Error, FileDigest, ManifestId};

use crate::support::{Files, Room, SMALL, collect, collect_now, mixed, noise, publish, version};

fn pack_names(store: &Path) -> BTreeSet<String> {
    fs::read_dir(store.join("packs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_no_version_needs_goes_and_the_rest_stays() {
    let room = Room::new();
    let (a, b) = (version(1), mixed(2, 3));
    let (first, second) = (room.publish(&a), room.publish(&b));
    let before = room.stored();
    let report = collect_now(&room.store, &[second]).unwrap();
    assert!(report.freed_bytes > 800_000, "{report:?}");
    assert!(report.chunks_swept > 12 && report.packs_unlinked > 0, "{report:?}");
    assert!(before - room.stored() >= report.freed_bytes - 1000, "{report:?}");
    room.assert_whole(second, &b);
    assert!(!room.store.contains(&VerifiedChunk::hash(ChunkKind::Content, a["small-1"].clone().into()).id()).unwrap());
    let stats = room.store.stats().unwrap();
    let room = room.reopen();
    assert_eq!(room.store.stats().unwrap(), stats);
    room.assert_whole(second, &b);
    assert!(!room.store.contains(&FileDigest::from(first).into()).unwrap());
    let again = room.publish(&a);
    assert_eq!(again, first);
    room.assert_whole(first, &a);
}

#[test]
fn a_second_run_finds_nothing_more_to_do() {
    let room = Room::new();
    room.publish(&version(1));
    let kept = room.publish(&version(2));
    collect_now(&room.store, &[kept]).unwrap();
    let packs = pack_names(&room.path("store"));
    let again = collect_now(&room.store, &[kept]).unwrap();
    assert_eq!(again, GcReport::default());
    assert_eq!(pack_names(&room.path("store")), packs);
}

#[test]
fn without_any_version_the_store_becomes_empty() {
    let room = Room::new();
    room.publish(&version(1));
    collect_now(&room.store, &[]).unwrap();
    assert_eq!(pack_names(&room.path("store")), BTreeSet::new());
    let stats = room.store.stats().unwrap();
    assert_eq!((stats.chunks, stats.records, stats.raw_bytes, stats.packs), (0, 0, 0, 0));
    let room = room.reopen();
    let files = version(4);
    let published = room.publish(&files);
    room.assert_whole(published, &files);
}

#[test]
fn a_dry_run_changes_nothing_and_tells_what_the_real_one_does() {
    let room = Room::new();
    let files = mixed(2, 3);
    room.publish(&version(1));
    let kept = room.publish(&files);
    let dropped: Files = files.iter().filter(|(name, _)| !name.contains("large")).map(|(n, c)| (n.clone(), c.clone())).collect();
    let less = room.publish(&dropped);
    for live in [vec![kept], vec![less]] {
        let before = (pack_names(&room.path("store")), room.store.stats().unwrap());
        let options = GcOptions { dry_run: true, ..GcOptions::new(0, 0) };
        let told = gc(&room.store, &options, || Ok(live.clone())).unwrap();
        assert_eq!((pack_names(&room.path("store")), room.store.stats().unwrap()), before);
        let done = collect_now(&room.store, &live).unwrap();
        assert_eq!(told, done);
        assert!(done.freed_bytes > 100_000, "{done:?}");
    }
    room.assert_whole(less, &dropped);
}

#[test]
fn condemned_chunks_wait_for_their_grace_period_across_processes() {
    let room = Room::new();
    room.publish(&version(1));
    let files = version(2);
    let kept = room.publish(&files);
    let first = collect(&room.store, 5000, &[kept]);
    assert_eq!(first.freed_bytes, 0);
    assert!(first.chunks_waiting > 12, "{first:?}");
    let room = room.reopen();
    assert_eq!(collect(&room.store, 5999, &[kept]).freed_bytes, 0);
    let room = room.reopen();
    let last = collect(&room.store, 6000, &[kept]);
    assert!(last.freed_bytes > 800_000 && last.chunks_waiting == 0, "{last:?}");
    room.assert_whole(kept, &files);
}

#[test]
fn a_version_published_again_during_the_grace_period_survives() {
    let room = Room::new();
    let (a, b) = (version(1), version(2));
    let (first, kept) = (room.publish(&a), room.publish(&b));
    collect(&room.store, 0, &[kept]);
    // The publish is over, its lease too, but the collector was told the versions of before.
    assert_eq!(room.publish(&a), first);
    assert_eq!(collect(&room.store, 2000, &[kept]).freed_bytes, 0);
    room.assert_whole(first, &a);
    // Looked up at 2,000 at the latest: condemned anew from then on.
    assert_eq!(collect(&room.store, 2500, &[kept]).freed_bytes, 0);
    assert_eq!(collect(&room.store, 3000, &[first, kept]).chunks_waiting, 0);
    room.assert_whole(first, &a);
}

/// A record as it came over the wire may hold condemned chunks beside new ones.
#[test]
fn an_appended_record_saves_the_condemned_chunks_in_it() {
    let room = Room::new();
    let chunks: Vec<_> = (1..40).map(|seed| VerifiedChunk::hash(ChunkKind::Content, noise(seed, 20_000).into())).collect();
    for pair in chunks.chunks(2) {
        room.store.append_encoded(encode(ChunkKind::Content, pair, 3).unwrap()).unwrap();
    }
    let kept = room.publish(&version(7));
    collect(&room.store, 0, &[kept]);
    room.store.append_encoded(encode(ChunkKind::Content, &[chunks[0].clone(), chunks[38].clone()], 3).unwrap()).unwrap();
    collect(&room.store, 5000, &[kept]);
    for (at, chunk) in chunks.iter().enumerate() {
        let there = room.store.read_chunk(&chunk.id(), ChunkKind::Content);
        assert_eq!(there.is_ok(), at == 0 || at == 38, "chunk {at}");
    }
}

#[test]
fn a_lease_protects_what_its_holder_looked_up_or_appended_before() {
    let room = Room::new();
    let a = version(1);
    let lease = room.store.lease();
    let first = room.publish(&a);
    let kept = room.publish(&version(2));
    for _ in 0..3 {
        let report = collect_now(&room.store, &[kept]).unwrap();
        assert_eq!((report.freed_bytes, report.chunks_swept), (0, 0));
    }
    room.assert_whole(first, &a);
    drop(lease);
    assert!(collect_now(&room.store, &[kept]).unwrap().freed_bytes > 0);
}

#[test]
fn a_lease_begun_and_ended_while_the_versions_are_listed_protects_too() {
    let room = Room::new();
    let a = version(1);
    let kept = room.publish(&version(2));
    let mut published = None;
    let report = gc(&room.store, &GcOptions::new(0, 0), || {
        let listed = vec![kept];
        published = Some(room.publish(&a));
        Ok(listed)
    });
    assert_eq!(report.unwrap().freed_bytes, 0);
    room.assert_whole(published.unwrap(), &a);
}

/// The place of a chunk stays readable for who held a lease when it was located.
#[test]
fn what_was_located_under_a_lease_is_read_after_the_file_is_gone() {
    let room = Room::new();
    let chunks: Vec<_> = (1..60).map(|seed| VerifiedChunk::hash(ChunkKind::Content, noise(seed, 20_000).into())).collect();
    for chunk in &chunks {
        room.store.append_encoded(encode(ChunkKind::Content, std::slice::from_ref(chunk), 3).unwrap()).unwrap();
    }
    collect(&room.store, 0, &[]);
    let reader = Store::open_read_only(&room.path("store")).unwrap();
    let places: Vec<_> = chunks.iter().map(|chunk| reader.locate(&chunk.id()).unwrap().unwrap()).collect();
    let lease = room.store.lease();
    let report = collect(&room.store, 5000, &[]);
    assert_eq!(report.chunks_swept, 59, "{report:?}");
    for (chunk, at) in chunks.iter().zip(&places) {
        for store in [&room.store, &reader] {
            let record = store.read_verified(at.record).unwrap();
            assert_eq!(record.chunk(at.ordinal).unwrap().bytes(), chunk.bytes());
        }
    }
    drop(lease);
    assert!(room.store.read_record(places[30].record).is_err(), "and then its space is free");
}

#[test]
fn small_packs_are_merged_once() {
    let room = Room::new();
    let mut published = Vec::new();
    for seed in 1..8 {
        let files = Files::from([("file".to_owned(), noise(seed, 3_000))]);
        published.push((room.publish(&files), files));
        room.store.seal().unwrap();
    }
    let live: Vec<_> = published.iter().map(|(id, _)| *id).collect();
    assert_eq!(room.store.stats().unwrap().packs, 7);
    let report = collect(&room.store, 0, &live);
    assert_eq!((report.packs_rewritten, room.store.stats().unwrap().packs), (7, 1));
    assert_eq!(collect(&room.store, 0, &live), GcReport::default());
    let room = room.reopen();
    for (id, files) in &published {
        room.assert_whole(*id, files);
    }
}

/// What is moved goes to a pack of its own; later runs and processes go on with both.
#[test]
fn there_are_never_more_open_packs_than_takers() {
    let mut room = Room::new();
    let kept = mixed(1, 2);
    let live = room.publish(&kept);
    let open = |room: &Room| pack_names(&room.path("store")).iter().filter(|name| name.starts_with("open-")).count();
    let mut both = 0;
    for round in 0..6 {
        // Some of it lies in one pack with something new that stays.
        let few: Files = [("garbage".to_owned(), noise(round + 900, 300_000))].into();
        room.publish(&few);
        let more: Files = [("more".to_owned(), noise(round + 50, 20_000))].into();
        let another = room.publish(&more);
        let report = collect_now(&room.store, &[live, another]).unwrap();
        assert!(report.freed_bytes > 0, "{report:?}");
        room.publish(&Files::from([("new".to_owned(), noise(round + 70, 9_000))]));
        both += usize::from(open(&room) == 2);
        assert!(open(&room) <= 2, "{:?}", pack_names(&room.path("store")));
        room.assert_whole(another, &more);
        if round % 2 == 1 {
            room = room.reopen();
        }
        room.assert_whole(live, &kept);
    }
    assert!(both > 0, "what is moved never had a pack of its own");
}

#[test]
fn no_more_is_copied_than_allowed() {
    let room = Room::new();
    let files = mixed(1, 2);
    room.publish(&files);
    let few: Files = files.into_iter().filter(|(name, _)| name.starts_with("small")).collect();
    let kept = room.publish(&few);
    let options = GcOptions { rewrite_bytes_max: 0, ..GcOptions::new(0, 0) };
    let report = gc(&room.store, &options, || Ok(vec![kept])).unwrap();
    assert_eq!(report.copied_bytes, 0);
    assert!(report.chunks_waiting > 0, "{report:?}");
    assert!(collect_now(&room.store, &[kept]).unwrap().packs_rewritten > 0);
    room.assert_whole(kept, &few);
}

#[test]
fn a_version_that_is_not_there_stops_the_collection() {
    let room = Room::new();
    let files = version(1);
    let there = room.publish(&files);
    let absent = ManifestId([9; 32]);
    let error = collect_now(&room.store, &[absent]).unwrap_err();
    assert!(
        matches!(&error, Error::Refused { path, why } if *path == absent.to_string() && why.contains("nothing was collected"))
    );
    room.assert_whole(there, &files);
}

#[test]
fn a_store_opened_for_reading_is_not_collected() {
    let room = Room::new();
    let reader = Store::open_read_only(&room.path("store")).unwrap();
    assert!(matches!(collect_now(&reader, &[]), Err(Error::Refused { .. })));
}

/// The index lost after a collection: what the packs hold is found again, and dead rows lead nowhere wrong.
#[test]
fn the_index_is_built_again_after_a_collection() {
    let room = Room::new();
    let files = mixed(1, 2);
    room.publish(&files);
    let few: Files = files.into_iter().filter(|(name, _)| name.starts_with("small")).collect();
    let kept = room.publish(&few);
    collect_now(&room.store, &[kept]).unwrap();
    let stats = room.store.stats().unwrap();
    let store = room.path("store");
    let Room { dir: _dir, store: open } = room;
    drop(open);
    fs::remove_dir_all(store.join("index")).unwrap();
    fs::create_dir(store.join("index")).unwrap();
    let store = Store::open_with(&store, SMALL).unwrap();
    crate::support::assert_whole(&store, kept, &few);
    assert_eq!(store.stats().unwrap(), stats);
    publish(&store, &version(9));
}

#[test]
fn of_a_version_that_is_still_arriving_stays_what_is_there() {
    let other = Room::new();
    let files = mixed(2, 3);
    let arriving = other.publish(&files);
    let room = Room::new();
    // What has arrived: the manifest and some of the files.
    let manifest = ManifestFile::extract(&other.store, arriving, &room.path("manifest")).unwrap();
    manifest.insert(&room.store).unwrap();
    let some: Files = files.clone().into_iter().filter(|(name, _)| name != "large").collect();
    let part = room.publish(&some);
    room.publish(&version(9));
    let live = Live { whole: Vec::new(), partial: vec![arriving] };
    let run = |live: Live| gc_paced(&room.store, &GcOptions::new(0, 0), &mut |_| Ok(()), || Ok(live));
    assert!(run(Live { whole: vec![arriving], partial: Vec::new() }).is_err(), "a recipe of a whole version is missing");
    let report = run(live).unwrap();
    assert!(report.chunks_swept > 0 && report.chunks_missing > 0, "{report:?}");
    let again = room.publish(&some);
    assert_eq!(again, part);
    let stored = room.stored();
    assert!(!is_whole(&room.store, arriving).unwrap());
    let taken = other.store.stats().unwrap().stored_bytes;
    assert_eq!(room.publish(&files), arriving);
    assert!(room.stored() - stored < taken * 3 / 4, "what had arrived was stored again");
    assert!(is_whole(&room.store, arriving).unwrap());
    room.assert_whole(arriving, &files);
}

#[test]
fn a_run_that_is_stopped_leaves_a_valid_store_and_the_next_goes_on() {
    let room = Room::new();
    let files = mixed(2, 3);
    room.publish(&version(1));
    let kept = room.publish(&files);
    for stop_at in 0..40 {
        let mut calls = 0;
        let mut pace = |_| {
            calls += 1;
            if calls > stop_at { Err(Error::Cancelled) } else { Ok(()) }
        };
        let live = Live { whole: vec![kept], partial: Vec::new() };
        let done = gc_paced(&room.store, &GcOptions::new(0, 0), &mut pace, || Ok(live));
        room.assert_whole(kept, &files);
        if done.is_ok() {
            assert!(stop_at > 0, "it never paused");
            break;
        }
    }
    let room = room.reopen();
    room.assert_whole(kept, &files);
    assert_eq!(collect_now(&room.store, &[kept]).unwrap().chunks_waiting, 0);
}
