//! Updates of archives by patches that see through them.

use std::fs;
use std::path::Path;

use consign_store::ManifestId;
use consign_store::delta::{BuiltPatch, build_set, changed_bytes, work_bytes};
use consign_store::restore::{Assembly, Tally};

use crate::support::{Room, assert_same, noise, put};

const ARCHIVES: [&str; 5] = ["python.zip", "java.jar", "debian.deb", "node.tgz", "gzip-6.tar.gz"];

fn publish(room: &Room, version: &str) -> ManifestId {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/archives");
    for name in ARCHIVES {
        put(&room.path(version), name, &fs::read(golden.join(format!("{name}.{version}"))).unwrap());
    }
    put(&room.path(version), "version", version.as_bytes());
    put(&room.path(version), "same", &noise(1, 5000));
    room.publish(&room.path(version)).0.manifest
}

/// Publishes both versions, installs the old one, and builds the patches to the new one.
fn prepared(room: &Room) -> (ManifestId, ManifestId, Vec<BuiltPatch>) {
    let (old, new) = (publish(room, "old"), publish(room, "new"));
    room.install(old, false, &[]).unwrap();
    fs::create_dir(room.path("patches")).unwrap();
    let set = build_set(&room.store, &room.manifest(old), &room.manifest(new), &room.path("patches")).unwrap();
    (old, new, set)
}

/// Updates the installed version by patches first and records then.
fn update(room: &Room, (old, new): (ManifestId, ManifestId), set: &[BuiltPatch]) -> (Vec<consign_store::Result<u64>>, Tally) {
    let seed = room.seed(&room.path("dest"), old);
    let mut assembly = Assembly::open(&room.target(true), room.manifest(new)).unwrap();
    let mut apply = |patch: &BuiltPatch| {
        let mut file = fs::File::open(room.path("patches").join(patch.digest.to_hex())).unwrap();
        assembly.take_patch(&mut file, &patch.scope, &seed)
    };
    let made = set.iter().map(&mut apply).collect();
    assembly.learn_recipes(std::slice::from_ref(&seed)).unwrap();
    room.add_recipes(&assembly);
    assembly.take_local(std::slice::from_ref(&seed)).unwrap();
    let table = room.table(assembly.manifest());
    room.fill(&assembly, &table, usize::MAX);
    (made, assembly.finish().unwrap())
}

#[test]
fn archives_are_updated_by_small_patches() {
    let room = Room::new();
    let (old, new, set) = prepared(&room);
    let bytes: u64 = set.iter().map(|patch| patch.len).sum();
    assert!(bytes < 3000, "{bytes} bytes of patches for {} archives", ARCHIVES.len());
    let (made, tally) = update(&room, (old, new), &set);
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    assert!(tally.patch_bytes > 30_000, "{tally:?}");
    assert_same(&room.path("new"), &room.path("dest"));
    let hidden = fs::read_dir(room.dir.path()).unwrap().filter(|item| {
        let name = item.as_ref().unwrap().file_name();
        name.to_string_lossy().contains("consign-staging")
    });
    assert_eq!(hidden.count(), 0, "nothing is left behind");
}

#[test]
fn an_installed_archive_that_was_changed_costs_its_patch_only() {
    let room = Room::new();
    let (old, new, set) = prepared(&room);
    let path = room.path("dest/node.tgz");
    let mut archive = fs::read(&path).unwrap();
    let middle = archive.len() / 2;
    archive[middle..middle + 200].fill(0);
    fs::remove_file(&path).unwrap();
    fs::write(&path, archive).unwrap();
    let (made, _) = update(&room, (old, new), &set);
    assert!(made.iter().any(Result::is_err), "{made:?}");
    assert_same(&room.path("new"), &room.path("dest"));
}

#[test]
fn an_archive_is_more_work_than_its_bytes_tell() {
    let room = Room::new();
    let work = |content: &[u8]| {
        let [old, new] = [1, 2].map(|seed| {
            let source = room.path(&format!("source-{}-{seed}", content.len()));
            put(&source, "file", &[content, &noise(seed, 400_000)[..]].concat());
            room.manifest(room.publish(&source).0.manifest)
        });
        assert_eq!(changed_bytes(&old, &new).unwrap(), content.len() as u64 + 400_000);
        work_bytes(&room.store, &old, &new).unwrap()
    };
    assert_eq!(work(b"plain"), 400_005);
    assert_eq!(work(b"PK\x03\x04"), 4 * 400_004);
    assert_eq!(work(&[0x1f, 0x8b, 8]), 4 * 400_003);
    assert_eq!(work(b"!<arch>\ndebian-binary\xfd7zXZ\0"), 10 * 400_027);
}
