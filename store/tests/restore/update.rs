//! Updates of an installed tree.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use consign_store::Error;
use consign_store::restore::installed;

use crate::support::{Node, Room, assert_same, mode, noise, put, sample, tree};

/// Changes the sample in every way an update can.
pub fn change(root: &Path) {
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    put(root, "readme.txt", b"hello again\n");
    put(root, "added/new.txt", b"new");
    put(root, "closed/second", b"y");
    mode(root, "closed", 0o555);
    fs::remove_file(root.join("lib/big-copy.dat")).unwrap();
    fs::remove_dir_all(root.join("data/03")).unwrap();
    mode(root, "bin/tool", 0o700);
    mode(root, "lib", 0o750);
    let mut big = fs::read(root.join("lib/big.dat")).unwrap();
    big[1_500_000] ^= 1;
    fs::write(root.join("lib/big.dat"), big).unwrap();
    // A file becomes a folder, a folder a file, a link a file, a file a link, a folder a link.
    fs::remove_file(root.join("data/00/0.json")).unwrap();
    put(root, "data/00/0.json/inner", b"inner");
    fs::remove_dir_all(root.join("data/01")).unwrap();
    put(root, "data/01", b"now a file");
    fs::remove_file(root.join("bin/readme")).unwrap();
    put(root, "bin/readme", b"now a file");
    fs::remove_file(root.join("data/02/2.json")).unwrap();
    symlink("9.json", root.join("data/02/2.json")).unwrap();
    fs::remove_dir_all(root.join("data/04")).unwrap();
    symlink("05", root.join("data/04")).unwrap();
    fs::remove_file(root.join("shortcut")).unwrap();
    symlink("lib", root.join("shortcut")).unwrap();
}

struct Pair {
    room: Room,
    old: consign_store::ManifestId,
    new: consign_store::ManifestId,
}

fn pair() -> Pair {
    let room = Room::new();
    sample(&room.path("old"));
    sample(&room.path("new"));
    change(&room.path("new"));
    let old = room.publish(&room.path("old")).0.manifest;
    let new = room.publish(&room.path("new")).0.manifest;
    room.install(old, false, &[]).unwrap();
    assert_same(&room.path("old"), &room.path("dest"));
    Pair { room, old, new }
}

#[test]
fn every_change_arrives_and_the_rest_is_not_touched() {
    let Pair { room, old, new } = pair();
    let before = fs::metadata(room.path("dest/lib/repeated.bin")).unwrap();
    let seed = room.seed(&room.path("dest"), old);
    let tally = room.install(new, true, &[seed]).unwrap();
    assert_same(&room.path("new"), &room.path("dest"));
    let after = fs::metadata(room.path("dest/lib/repeated.bin")).unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    assert_eq!(tally.kept_bytes + tally.seed_bytes + tally.record_bytes, tally.bytes);
    assert!(tally.record_bytes <= 262_144 + 100, "only what changed is fetched: {tally:?}");
    assert_eq!(installed(&room.path("work")), Some(new));
    // And back again, from the other side.
    let seed = room.seed(&room.path("dest"), new);
    room.install(old, true, &[seed]).unwrap();
    assert_same(&room.path("old"), &room.path("dest"));
}

#[test]
fn an_update_without_a_change_stages_nothing() {
    let Pair { room, old, .. } = pair();
    let seed = room.seed(&room.path("dest"), old);
    let tally = room.install(old, true, &[seed]).unwrap();
    assert_eq!(tally.kept_bytes, tally.bytes);
}

#[test]
fn modified_installed_files_are_healed() {
    let Pair { room, old, .. } = pair();
    let dest = room.path("dest");
    let mut big = fs::read(dest.join("lib/big.dat")).unwrap();
    big[5] ^= 1;
    fs::write(dest.join("lib/big.dat"), big).unwrap();
    fs::remove_file(dest.join("readme.txt")).unwrap();
    fs::remove_file(dest.join("bin/tool")).unwrap();
    symlink("/etc/passwd", dest.join("bin/tool")).unwrap();
    fs::remove_file(dest.join("bin/readme")).unwrap();
    mode(&dest, "lib/repeated.bin", 0o4755);
    fs::write(dest.join("empty"), b"not empty").unwrap();
    // A folder turned into a link to a look-alike elsewhere is put right, and the look-alike left alone.
    fs::rename(dest.join("lib/deep"), room.path("elsewhere")).unwrap();
    symlink(room.path("elsewhere"), dest.join("lib/deep")).unwrap();
    let seed = room.seed(&dest, old);
    room.install(old, true, &[seed]).unwrap();
    assert_same(&room.path("old"), &dest);
    assert_eq!(fs::metadata(dest.join("lib/repeated.bin")).unwrap().mode() & 0o7777, 0o555);
    assert_eq!(fs::read(room.path("elsewhere/er/a.js")).unwrap(), noise(2, 5_000));
}

#[test]
fn a_change_that_keeps_size_and_time_is_healed() {
    let Pair { room, old, .. } = pair();
    let file = room.path("dest/lib/deep/er/a.js");
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, noise(99, 5_000)).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    let seed = room.seed(&room.path("dest"), old);
    room.install(old, true, &[seed]).unwrap();
    assert_same(&room.path("old"), &room.path("dest"));
}

#[test]
fn what_the_user_added_stays() {
    let Pair { room, old, new } = pair();
    put(&room.path("dest"), "data/03/mine", b"mine");
    put(&room.path("dest"), "notes/mine", b"mine");
    let seed = room.seed(&room.path("dest"), old);
    room.install(new, true, &[seed]).unwrap();
    let dest = tree(&room.path("dest"));
    assert!(matches!(&dest[Path::new("data/03/mine")], Node::File(_, bytes) if bytes == b"mine"));
    assert!(matches!(&dest[Path::new("notes/mine")], Node::File(..)));
    assert!(!dest.contains_key(Path::new("data/03/3.json")));
}

#[test]
fn what_the_user_added_where_a_file_must_go_refuses_the_update() {
    let Pair { room, old, new } = pair();
    put(&room.path("dest"), "data/01/mine", b"mine");
    let before = tree(&room.path("dest"));
    let seed = room.seed(&room.path("dest"), old);
    match room.install(new, true, &[seed]) {
        Err(Error::Refused { path, why }) => {
            assert!(path.ends_with("data/01/mine") && why.contains("move it away"), "{path}: {why}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(tree(&room.path("dest")), before);
}

#[test]
fn an_update_knows_no_stat_record_and_no_seed() {
    let Pair { room, old: _, new } = pair();
    fs::remove_file(room.path("work/stat")).unwrap();
    // Folders that must become a file or link: nobody could say whose their content is.
    fs::remove_dir_all(room.path("dest/data/01")).unwrap();
    fs::remove_dir_all(room.path("dest/data/04")).unwrap();
    let tally = room.install(new, true, &[]).unwrap();
    assert!(tally.kept_bytes > 1_000_000, "{tally:?}");
    // Without the old manifest nobody knows what was the package's, so nothing is removed; all of the new version is there.
    let (new, dest) = (tree(&room.path("new")), tree(&room.path("dest")));
    let lacking: Vec<_> = new.iter().filter(|(path, node)| dest.get(*path) != Some(node)).map(|(path, _)| path).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

/// An update costs looks, and of those one a file: none of them is there twice, and what was verified is not read again.
#[test]
fn an_update_looks_once_at_each_file_that_it_leaves_alone() {
    const FILES: u64 = 2_000;
    const FOLDERS: u64 = 20;
    let room = Room::new();
    let name = |number: u64| format!("d{:02}/{number}.txt", number / (FILES / FOLDERS));
    for number in 0..FILES {
        put(&room.path("old"), &name(number), number.to_string().as_bytes());
        put(&room.path("new"), &name(number), number.to_string().as_bytes());
    }
    put(&room.path("new"), &name(7), b"changed");
    let old = room.publish(&room.path("old")).0.manifest;
    let new = room.publish(&room.path("new")).0.manifest;
    let first = room.install(old, false, &[]).unwrap();
    assert_eq!(first.looks, FILES, "a first install looks once at each file, to record it");
    // What was written last before the record may have to be read once.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let seed = room.seed(&room.path("dest"), old);
    room.install(old, true, &[seed]).unwrap();
    let seed = room.seed(&room.path("dest"), old);
    let tally = room.install(new, true, &[seed]).unwrap();
    assert_same(&room.path("new"), &room.path("dest"));
    assert!(tally.looks <= FILES + FOLDERS + 3, "{} looks at {FILES} files and {FOLDERS} folders", tally.looks);
}
