//! Content that is already on the machine.

use std::fs;
use std::os::unix::fs::symlink;

use consign_store::restore::get;

use crate::support::{Room, assert_same, noise, put, sample};

#[test]
fn a_seed_under_other_names_saves_all_its_bytes() {
    let room = Room::new();
    sample(&room.path("old"));
    let (old, _) = room.publish(&room.path("old"));
    fs::create_dir(room.path("new")).unwrap();
    fs::copy(room.path("old/lib/big.dat"), room.path("new/renamed.dat")).unwrap();
    let mut longer = noise(5, 100_000);
    longer.extend_from_slice(&fs::read(room.path("old/lib/repeated.bin")).unwrap());
    put(&room.path("new"), "shifted.bin", &longer);
    let (new, _) = room.publish(&room.path("new"));
    let seed = room.seed(&room.path("old"), old.manifest);
    let tally = room.install(new.manifest, false, &[seed]).unwrap();
    assert_same(&room.path("new"), &room.path("dest"));
    assert!(tally.seed_bytes >= 4_000_000, "{tally:?}");
    assert!(tally.record_bytes <= 100_000 + 2 * 262_144, "{tally:?}");
    assert_eq!(tally.seed_bytes + tally.record_bytes, tally.bytes);
}

#[test]
fn recipes_of_unchanged_files_come_from_the_seed() {
    let room = Room::new();
    sample(&room.path("old"));
    let (old, _) = room.publish(&room.path("old"));
    let seed = room.seed(&room.path("old"), old.manifest);
    let assembly = consign_store::restore::Assembly::open(&room.target(false), room.manifest(old.manifest)).unwrap();
    assert!(!assembly.missing_recipes().is_empty());
    assembly.learn_recipes(std::slice::from_ref(&seed)).unwrap();
    assert_eq!(assembly.missing_recipes(), vec![]);
}

#[test]
fn bad_seeds_are_left_out() {
    let room = Room::new();
    sample(&room.path("source"));
    sample(&room.path("changed"));
    let (done, _) = room.publish(&room.path("source"));
    // Same manifest, but the folder is not what it says any more.
    fs::write(room.path("changed/lib/big.dat"), noise(9, 3_000_000)).unwrap();
    fs::remove_file(room.path("changed/lib/repeated.bin")).unwrap();
    fs::remove_file(room.path("changed/bin/tool")).unwrap();
    fs::create_dir(room.path("changed/bin/tool")).unwrap();
    fs::remove_file(room.path("changed/lib/deep/er/a.js")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        room.path("changed/lib/deep/er/a.js"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::remove_file(room.path("changed/readme.txt")).unwrap();
    symlink("/etc/passwd", room.path("changed/readme.txt")).unwrap();
    let seeds = [room.seed(&room.path("changed"), done.manifest), room.seed(&room.path("absent"), done.manifest)];
    let tally = room.install(done.manifest, false, &seeds).unwrap();
    assert_same(&room.path("source"), &room.path("dest"));
    assert!(tally.seed_bytes >= 6_000_000, "the copy of big.dat is still good: {tally:?}");
    assert!(tally.record_bytes >= 700_000, "{tally:?}");
}

#[test]
fn a_seed_folder_that_is_not_there_is_an_error_of_get() {
    let room = Room::new();
    put(&room.path("source"), "file", b"x");
    let (done, _) = room.publish(&room.path("source"));
    assert!(get(&room.store, done.manifest, &room.path("dest"), Some(&room.path("typo")), 1).is_err());
    assert!(!room.path("dest").exists());
    get(&room.store, done.manifest, &room.path("dest"), None, 1).unwrap();
}
