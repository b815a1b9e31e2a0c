//! Collecting while others publish and read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use consign_store::upkeep::{GcOptions, GcReport, gc};

use crate::support::{Room, assert_whole, publish, version};

#[test]
fn publishing_reading_and_collecting_at_the_same_time_lose_nothing() {
    let room = Room::new();
    let store = &room.store;
    // What the catalog would be: the versions that are live now, by the seed of their content.
    let catalog = Mutex::new(Vec::new());
    let ends = AtomicBool::new(false);
    let total = Mutex::new(GcReport::default());
    std::thread::scope(|scope| {
        let publisher = |offset: u64| {
            let catalog = &catalog;
            move || {
                for round in 0..8 {
                    // Content comes back again and again, often just when it is condemned.
                    let seed = offset + round % 3;
                    let files = version(seed);
                    let lease = store.lease();
                    let id = publish(store, &files);
                    catalog.lock().unwrap().push((id, seed));
                    drop(lease);
                    assert_whole(store, id, &files);
                    catalog.lock().unwrap().retain(|(there, _)| *there != id);
                }
            }
        };
        let publishers = [scope.spawn(publisher(1)), scope.spawn(publisher(3))];
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                let live = || Ok(catalog.lock().unwrap().iter().map(|(id, _)| *id).collect());
                let report = gc(store, &GcOptions::new(0, 0), live).unwrap();
                let mut total = total.lock().unwrap();
                total.chunks_swept += report.chunks_swept;
                total.packs_unlinked += report.packs_unlinked;
                assert_eq!(report.chunks_missing, 0);
            }
        });
        for publisher in publishers {
            publisher.join().unwrap();
        }
        ends.store(true, Ordering::Relaxed);
    });
    let swept = total.into_inner().unwrap();
    assert!(swept.chunks_swept > 0, "{swept:?}");
    let files = version(77);
    let id = publish(store, &files);
    gc(store, &GcOptions::new(0, 0), || Ok(vec![id])).unwrap();
    let room = room.reopen();
    room.assert_whole(id, &files);
}
