//! What an update would take from where, found without taking it.

use std::collections::HashSet;

use consign_store::restore::{Amount, Assembly, Survey};

use crate::support::{Room, noise, put, tree};

const LARGE: u64 = 900_000;

fn amount(files: u64, bytes: u64) -> Amount {
    Amount { files, bytes }
}

/// Installs a version and surveys the next one, with `patched` made by patches, after `change` was done to the installed files.
fn survey(patched: &[&str], change: impl FnOnce(&Room)) -> Survey {
    let room = Room::new();
    let source = room.path("source");
    put(&source, "stays.txt", b"stays");
    put(&source, "moves.txt", &noise(1, 9_000));
    put(&source, "large.bin", &noise(2, 900_000));
    let (old, _) = room.publish(&source);
    room.install(old.manifest, false, &[]).unwrap();
    std::fs::rename(source.join("moves.txt"), source.join("moved.txt")).unwrap();
    put(&source, "new.txt", &noise(3, 7_000));
    put(&source, "twin.txt", &noise(3, 7_000));
    let mut large = noise(2, 900_000);
    large[450_000] ^= 1;
    put(&source, "large.bin", &large);
    let (_, manifest) = room.publish(&source);
    change(&room);
    let numbers: HashSet<u32> = patched.iter().map(|path| manifest.find(path).unwrap()).collect();
    let target = room.target(true);
    let seed = room.seed(&target.dest, old.manifest);
    let assembly = Assembly::open(&target, manifest).unwrap();
    room.add_recipes(&assembly);
    let before = tree(&target.dest);
    let found = assembly.survey(Some((&seed, &target.work)), &numbers, &[]).unwrap();
    assert_eq!(tree(&target.dest), before, "a survey changed something");
    assert!(!assembly.is_resumed(), "a survey staged something");
    found
}

#[test]
fn each_byte_is_of_one_kind() {
    let found = survey(&[], |_| {});
    assert_eq!(found.kept, amount(1, 5));
    assert_eq!(found.patched, Amount::default());
    // The chunk that changed, of a file whose other chunks are here; content that is new twice comes once.
    assert_eq!((found.local.files, found.records.files), (2, 2));
    assert!((7_001..7_000 + 2 * 256 * 1024).contains(&found.records.bytes), "{found:?}");
    assert_eq!(found.local.bytes + found.records.bytes, 9_000 + LARGE + 14_000);
}

#[test]
fn what_patches_make_is_neither_local_nor_missing() {
    let found = survey(&["large.bin", "new.txt", "twin.txt"], |_| {});
    assert_eq!(found.patched, amount(3, LARGE + 14_000));
    assert_eq!((found.kept, found.local, found.records), (amount(1, 5), amount(1, 9_000), Amount::default()));
    assert!(found.missing.is_empty());
}

#[test]
fn a_file_that_was_changed_in_place_is_not_kept() {
    let found = survey(&[], |room| put(&room.target(true).dest, "stays.txt", b"stayz"));
    assert_eq!(found.kept, Amount::default());
}
