//! Collections in a process of their own, killed at any moment.

use std::process::{Command, Stdio};
use std::time::Duration;

use consign_store::ManifestId;
use consign_store::store::Store;

use crate::support::{Room, SMALL, assert_whole, collect_now, mixed, noise, publish, version};

const STORE: &str = "CONSIGN_TEST_UPKEEP_STORE";
const KEEP: &str = "CONSIGN_TEST_UPKEEP_KEEP";

/// Not a test of its own: what the killed process does.
#[test]
fn child() {
    let (Some(store), Ok(keep)) = (std::env::var_os(STORE), std::env::var(KEEP)) else { return };
    let keep: Vec<ManifestId> = keep.split(',').map(|id| id.parse().unwrap()).collect();
    let store = Store::open_with(store.as_ref(), SMALL).unwrap();
    collect_now(&store, &keep).unwrap();
}

#[test]
fn a_killed_collection_leaves_a_valid_store_and_is_finished_by_the_next() {
    let room = Room::new();
    let (kept, mut files) = (mixed(1, 2), Vec::new());
    let mut state = 1_u64;
    let live = room.publish(&kept);
    let place = room.path("store");
    let Room { dir: _dir, store } = room;
    drop(store);
    let mut finished = 0;
    for round in 0..16 {
        {
            let store = Store::open_with(&place, SMALL).unwrap();
            // Garbage that lies among what is kept: some of it in the same packs.
            files.push(publish(&store, &version(100 + round)));
            let mut few = kept.clone();
            few.insert("more".to_owned(), noise(round + 1000, 50_000));
            publish(&store, &few);
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::child"])
            .env(STORE, &place)
            .env(KEEP, live.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((state >> 33) % 60_000));
        let _ = child.kill();
        finished += u32::from(child.wait().unwrap().success());
        let store = Store::open_with(&place, SMALL).unwrap();
        assert_whole(&store, live, &kept);
        // Whatever is left of the others can be published again.
        let again = version(100 + round);
        assert_whole(&store, publish(&store, &again), &again);
    }
    let store = Store::open_with(&place, SMALL).unwrap();
    let report = collect_now(&store, &[live]).unwrap();
    assert!(report.chunks_swept > 0, "{report:?}, finished {finished}");
    assert_whole(&store, live, &kept);
    assert_eq!(collect_now(&store, &[live]).unwrap().freed_bytes, 0);
}
