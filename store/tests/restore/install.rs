//! First installs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use consign_store::Error;
use consign_store::restore::{Assembly, get, installed, recover};

use crate::support::{Room, assert_same, distinct_bytes, noise, put, sample, tree};

#[test]
fn get_restores_every_kind_of_entry() {
    let room = Room::new();
    let source = room.path("source");
    sample(&source);
    let (done, _) = room.publish(&source);
    let got = get(&room.store, done.manifest, &room.path("dest"), None, 2).unwrap();
    assert_same(&source, &room.path("dest"));
    assert_eq!((got.files, got.bytes), (done.files, done.bytes));
    assert_eq!(got.from_store_bytes, got.bytes);
    let left: Vec<_> = fs::read_dir(room.dir.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("consign-")), "{left:?}");
}

#[test]
fn get_restores_a_real_package() {
    let corpus = std::env::var_os("CONSIGN_CORPUS").map(PathBuf::from);
    let corpus = corpus.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/corpus"));
    let (old, new) = (corpus.join("typescript-5.6.2"), corpus.join("typescript-5.6.3"));
    let room = Room::new();
    let (old, new) = if old.is_dir() && new.is_dir() {
        (old, new)
    } else {
        sample(&room.path("old"));
        sample(&room.path("new"));
        put(&room.path("new"), "lib/more.dat", &noise(77, 400_000));
        (room.path("old"), room.path("new"))
    };
    let (first, _) = room.publish(&old);
    let (second, _) = room.publish(&new);
    get(&room.store, first.manifest, &room.path("a"), None, 0).unwrap();
    assert_same(&old, &room.path("a"));
    let got = get(&room.store, second.manifest, &room.path("b"), Some(&old), 0).unwrap();
    assert_same(&new, &room.path("b"));
    assert_eq!(got.from_seed_bytes + got.from_store_bytes, got.bytes);
    assert!(got.from_seed_bytes > got.bytes / 2, "{got:?}");
}

#[test]
fn an_empty_folder_is_a_destination_and_a_version_without_entries_too() {
    let room = Room::new();
    fs::create_dir(room.path("nothing")).unwrap();
    fs::create_dir(room.path("dest")).unwrap();
    let (done, _) = room.publish(&room.path("nothing"));
    get(&room.store, done.manifest, &room.path("dest"), None, 1).unwrap();
    assert!(tree(&room.path("dest")).is_empty());
}

#[test]
fn what_is_in_the_way_is_refused_and_left_alone() {
    let room = Room::new();
    put(&room.path("source"), "file", b"new");
    let (done, _) = room.publish(&room.path("source"));
    put(&room.path("full"), "mine", b"mine");
    fs::write(room.path("file"), b"mine").unwrap();
    symlink(room.path("full"), room.path("link")).unwrap();
    for (name, why) in [("full", "not empty"), ("file", "not a folder"), ("link", "symbolic link"), ("full/../..", "")] {
        let refused = get(&room.store, done.manifest, &room.path(name), None, 1);
        match refused {
            Err(Error::Refused { why: said, .. }) => assert!(said.contains(why), "{name}: {said}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(matches!(get(&room.store, done.manifest, Path::new("/"), None, 1), Err(Error::Refused { .. })));
    assert_eq!(fs::read(room.path("full/mine")).unwrap(), b"mine");
    assert_eq!(fs::read(room.path("file")).unwrap(), b"mine");
    let hidden = fs::read_dir(room.dir.path())
        .unwrap()
        .filter(|item| item.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn two_at_once_on_one_destination_are_refused() {
    let room = Room::new();
    put(&room.path("source"), "file", b"new");
    let (done, manifest) = room.publish(&room.path("source"));
    let first = Assembly::open(&room.target(false), manifest).unwrap();
    let second = Assembly::open(&room.target(false), room.manifest(done.manifest));
    assert!(matches!(second, Err(Error::Locked(_))), "{second:?}");
    assert!(matches!(recover(&room.target(false)), Err(Error::Locked(_))));
    drop(first);
    room.install(done.manifest, false, &[]).unwrap();
    assert_eq!(installed(&room.path("work")), Some(done.manifest));
}

#[test]
fn nothing_appears_before_everything_is_there() {
    let room = Room::new();
    sample(&room.path("source"));
    let (done, _) = room.publish(&room.path("source"));
    let mut assembly = Assembly::open(&room.target(false), room.manifest(done.manifest)).unwrap();
    assert!(matches!(assembly.take_local(&[]), Err(Error::NoChunk(_))), "recipes are missing");
    room.add_recipes(&assembly);
    assembly.take_local(&[]).unwrap();
    assert_eq!(assembly.missing_bytes(), distinct_bytes(&room.table(assembly.manifest())));
    assert!(assembly.missing_bytes() < assembly.tally().bytes - 3_000_000, "repeated content counts once");
    let unfinished = assembly.finish().unwrap_err().to_string();
    assert!(unfinished.contains("still missing"), "{unfinished}");
    assert!(!room.path("dest").exists());
    assert_eq!(installed(&room.path("work")), None);
}

#[test]
fn a_version_killed_between_rename_and_note_counts_as_installed() {
    let room = Room::new();
    sample(&room.path("source"));
    let (done, _) = room.publish(&room.path("source"));
    room.install(done.manifest, false, &[]).unwrap();
    // As a kill right after the rename leaves it.
    fs::remove_file(room.path("work/installed")).unwrap();
    fs::create_dir(room.path(".dest.consign-staging")).unwrap();
    fs::write(room.path(".dest.consign-staging/marker"), format!("install {}\n", done.manifest)).unwrap();
    assert_eq!(recover(&room.target(false)).unwrap(), Some(done.manifest));
    assert!(!room.path(".dest.consign-staging").exists());
    let tally = room.install(done.manifest, false, &[]).unwrap();
    assert_eq!(tally.kept_bytes, tally.bytes);
    assert_same(&room.path("source"), &room.path("dest"));
}
