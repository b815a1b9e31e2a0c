//! Interrupted installs go on with what is really there.

use std::fs;
use std::os::unix::fs::FileExt;

use consign_store::restore::Assembly;

use crate::support::{Room, assert_same, distinct_bytes, noise, put, sample, tree};

#[test]
fn dropped_after_any_number_of_records_it_fetches_nothing_twice() {
    let room = Room::new();
    let source = room.path("source");
    sample(&source);
    let (done, manifest) = room.publish(&source);
    let table = room.table(&manifest);
    let mut fetched = 0;
    let mut rounds = 0;
    loop {
        let mut assembly = Assembly::open(&room.target(false), room.manifest(done.manifest)).unwrap();
        if rounds == 0 {
            assert!(room.add_recipes(&assembly) > 0);
        } else {
            assert_eq!(room.add_recipes(&assembly), 0, "pages are kept over a restart");
        }
        let distinct: u64 = {
            assembly.take_local(&[]).unwrap();
            assembly.missing_bytes()
        };
        if distinct == 0 {
            let tally = assembly.finish().unwrap();
            assert_eq!(tally.resumed_bytes, tally.bytes);
            break;
        }
        fetched += room.fill(&assembly, &table, 1);
        rounds += 1;
        assert!(!room.path("dest").exists());
    }
    assert!(rounds > 2);
    assert_eq!(fetched, distinct_bytes(&table), "each distinct chunk once");
    assert_same(&source, &room.path("dest"));
}

#[test]
fn staged_bytes_are_believed_only_after_they_are_hashed() {
    let room = Room::new();
    let source = room.path("source");
    put(&source, "small", &noise(1, 9_000));
    put(&source, "other", &noise(2, 9_000));
    put(&source, "big", &noise(3, 4_000_000));
    put(&source, "long", &noise(4, 9_000));
    let (done, manifest) = room.publish(&source);
    let table = room.table(&manifest);
    let mut assembly = Assembly::open(&room.target(false), manifest).unwrap();
    room.add_recipes(&assembly);
    assembly.take_local(&[]).unwrap();
    room.fill(&assembly, &table, usize::MAX);
    drop(assembly);

    let staged = room.path(".dest.consign-staging/tree");
    let file = fs::OpenOptions::new().write(true).open(staged.join("big")).unwrap();
    file.write_all_at(b"flipped", 2_000_000).unwrap();
    fs::write(staged.join("small"), b"torn").unwrap();
    fs::remove_file(staged.join("other")).unwrap();
    fs::write(staged.join("long"), [noise(4, 9_000), vec![0]].concat()).unwrap();

    let mut assembly = Assembly::open(&room.target(false), room.manifest(done.manifest)).unwrap();
    assembly.take_local(&[]).unwrap();
    let missing = assembly.missing_bytes();
    assert!((27_000 + 16_384..=27_000 + 262_144).contains(&missing), "one chunk of big and three small files: {missing}");
    room.fill(&assembly, &table, usize::MAX);
    assembly.finish().unwrap();
    assert_same(&source, &room.path("dest"));
}

#[test]
fn staging_of_another_version_is_removed() {
    let room = Room::new();
    put(&room.path("one"), "only-in-one", &noise(1, 9_000));
    put(&room.path("two"), "only-in-two", &noise(2, 9_000));
    let (first, manifest) = room.publish(&room.path("one"));
    let (second, _) = room.publish(&room.path("two"));
    let table = room.table(&manifest);
    let mut assembly = Assembly::open(&room.target(false), room.manifest(first.manifest)).unwrap();
    assembly.take_local(&[]).unwrap();
    room.fill(&assembly, &table, usize::MAX);
    drop(assembly);
    let tally = room.install(second.manifest, false, &[]).unwrap();
    assert_eq!(tally.resumed_bytes, 0);
    assert_eq!(tree(&room.path("dest")), tree(&room.path("two")));
}

#[test]
fn damaged_pages_are_asked_for_again() {
    let room = Room::new();
    put(&room.path("source"), "big", &noise(3, 4_000_000));
    let (done, manifest) = room.publish(&room.path("source"));
    let assembly = Assembly::open(&room.target(false), manifest).unwrap();
    room.add_recipes(&assembly);
    drop(assembly);
    let pages = fs::read_dir(room.path("work")).unwrap().map(|item| item.unwrap().path());
    let pages = pages.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("pages-")).unwrap();
    let mut bytes = fs::read(&pages).unwrap();
    bytes[100] ^= 1;
    fs::write(&pages, &bytes).unwrap();
    let assembly = Assembly::open(&room.target(false), room.manifest(done.manifest)).unwrap();
    assert_eq!(assembly.missing_recipes(), vec![0..1]);
    drop(assembly);
    fs::write(&pages, &bytes[..bytes.len() - 10]).unwrap();
    room.install(done.manifest, false, &[]).unwrap();
    assert_same(&room.path("source"), &room.path("dest"));
}
