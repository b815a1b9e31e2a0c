//! Golden bytes of packs and runs: a change of a format needs a new version.

use std::fs;

use consign_store::store::Store;

use crate::support::{append, assert_golden, names_in};

#[test]
fn open_and_sealed_pack_and_run_are_golden() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 1, 2);
    append(&store, 2, 2);
    assert_golden("pack-open-v1.bin", &fs::read(dir.path().join("packs/open-0.pack")).unwrap());
    store.seal().unwrap();
    let sealed = names_in(&dir.path().join("packs"));
    assert_eq!(
        sealed,
        ["3a2452693b1ef43cbc50780620e7cf2f9261acd044c7847b1786aa821b09d0f9.pack"],
        "the name is part of the format"
    );
    assert_golden("pack-sealed-v1.bin", &fs::read(dir.path().join("packs").join(&sealed[0])).unwrap());
    assert_golden("index-v1.run", &fs::read(dir.path().join("index/0.run")).unwrap());
}

#[test]
fn folder_is_as_the_formats_say() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    append(&store, 1, 1);
    drop(store);
    let names = names_in(dir.path());
    assert_eq!(names, ["consign-store", "index", "index/0.run", "lock", "packs", "packs/open-0.pack"]);
}
