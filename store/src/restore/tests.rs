//! Switches stopped after each of their steps; the rest of the tests is in tests/restore.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chunk::ChunkKind;
use crate::chunk::record::VerifiedRecord;
use crate::error::Error;
use crate::id::ManifestId;
use crate::ingest::{Options, Progress, ingest};
use crate::manifest::file::ManifestFile;
use crate::manifest::path::{Platform, Platforms};
use crate::manifest::table::ChunkTable;
use crate::store::Store;

use super::switch::Switch;
use super::{Assembly, Seed, Target, installed, recover, stream_local};

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut out = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for item in fs::read_dir(&folder).unwrap() {
            let path = item.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let bytes = if stat.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if stat.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            out.insert(path.strip_prefix(root).unwrap().to_path_buf(), (stat.permissions().mode(), bytes));
        }
    }
    out
}

struct Room {
    dir: tempfile::TempDir,
    store: Store,
    target: Target,
}

impl Room {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::TempDir::new_in(memory) } else { tempfile::TempDir::new() }.unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let target = Target { dest: dir.path().join("dest"), work: dir.path().join("work"), update: false };
        Self { dir, store, target }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn publish(&self, source: &str) -> ManifestId {
        let options = Options {
            workers: 1,
            platforms: Platforms::default().with(Platform::Linux),
            stat_cache: None,
            verify: true,
            now_unix_nanos: 0,
            progress: Arc::new(Progress::default()),
        };
        ingest(&self.store, &self.path(source), &options).unwrap().manifest
    }

    fn assemble(&self, id: ManifestId, seeds: &[Seed]) -> Assembly {
        let target = Target { update: !seeds.is_empty(), ..self.target.clone() };
        let manifest = ManifestFile::extract(&self.store, id, &self.path(&id.to_hex())).unwrap();
        let mut assembly = Assembly::open(&target, manifest).unwrap();
        assembly.build_table(&mut |id| Ok(self.store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone())).unwrap();
        assembly.take_local(seeds).unwrap();
        let missing = assembly.missing();
        let mut sink = |record: VerifiedRecord| assembly.accept(&record).map(|_| ());
        let table = &assembly.content.as_ref().unwrap().table;
        stream_local(&self.store, table, assembly.layout(), &missing, &mut sink).unwrap();
        assembly
    }

    fn seed(&self, id: ManifestId) -> Seed {
        let manifest = ManifestFile::extract(&self.store, id, &self.path(&id.to_hex())).unwrap();
        let table = ChunkTable::open(&Target::table_path(&self.target.work, id), &manifest).unwrap();
        Seed { root: self.target.dest.clone(), manifest: manifest.into(), table }
    }
}

/// Two versions between which everything changes its kind at least once.
fn versions(room: &Room) -> (ManifestId, ManifestId) {
    let old = room.path("old");
    put(&old, "same", b"same");
    put(&old, "changed", b"old");
    put(&old, "gone/deep/file", b"gone");
    put(&old, "to-folder", b"file");
    put(&old, "to-file/inner", b"inner");
    put(&old, "to-link/x", b"x");
    put(&old, "linked/x", b"never removed through a link");
    put(&old, "shut/file", b"1");
    symlink("same", old.join("link")).unwrap();
    fs::set_permissions(old.join("shut"), fs::Permissions::from_mode(0o555)).unwrap();
    let new = room.path("new");
    put(&new, "same", b"same");
    put(&new, "changed", b"new");
    put(&new, "to-folder/inner/most", b"folder");
    put(&new, "to-file", b"file");
    put(&new, "linked/x", b"never removed through a link");
    put(&new, "shut/file", b"2");
    put(&new, "fresh/file", b"fresh");
    symlink("linked", new.join("to-link")).unwrap();
    symlink("changed", new.join("link")).unwrap();
    fs::set_permissions(new.join("same"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(new.join("shut"), fs::Permissions::from_mode(0o555)).unwrap();
    (room.publish("old"), room.publish("new"))
}

#[test]
fn a_switch_stopped_after_any_step_is_rolled_forward() {
    let room = Room::new();
    let (old, new) = versions(&room);
    for stop in 1_u64.. {
        let _ = fs::remove_dir_all(&room.target.dest);
        room.assemble(old, &[]).finish().unwrap();
        assert_eq!(tree(&room.path("old")), tree(&room.target.dest));
        let assembly = room.assemble(new, &[room.seed(old)]);
        assert_eq!(tree(&room.path("old")), tree(&room.target.dest), "nothing moves before the switch");
        let stopped = assembly.finish_watched(&mut |step| if step == stop { Err(Error::Cancelled) } else { Ok(()) });
        if stopped.is_ok() {
            assert!(stop > 15, "only {stop} steps");
            break;
        }
        assert_eq!(installed(&room.target.work), None, "no version counts as installed during a switch");
        assert_eq!(recover(&room.target).unwrap(), Some(new));
        assert_eq!(tree(&room.path("new")), tree(&room.target.dest), "stopped after step {stop}");
        assert!(!room.path(".dest.consign-staging").exists());
    }
    assert_eq!(tree(&room.path("new")), tree(&room.target.dest));
}

#[test]
fn steps_may_all_be_taken_again() {
    let room = Room::new();
    let (old, new) = versions(&room);
    room.assemble(old, &[]).finish().unwrap();
    let assembly = room.assemble(new, &[room.seed(old)]);
    let last = std::cell::Cell::new(0);
    // Stopped behind the last step, before the journal is removed.
    let count = |step| {
        last.set(step);
        Ok(())
    };
    let work = room.target.work.clone();
    let mut assembly = assembly;
    assembly.complete_files().unwrap();
    assembly.staging.sync().unwrap();
    assembly.switch.take().unwrap().commit().unwrap();
    let switch = Switch::open(&work).unwrap().unwrap();
    switch.perform(&mut { count }).unwrap();
    switch.perform(&mut { count }).unwrap();
    drop(assembly);
    assert!(last.get() > 15);
    assert_eq!(recover(&room.target).unwrap(), Some(new));
    assert_eq!(tree(&room.path("new")), tree(&room.target.dest));
}

#[test]
fn a_damaged_journal_is_told_and_nothing_is_done() {
    let room = Room::new();
    let (old, new) = versions(&room);
    room.assemble(old, &[]).finish().unwrap();
    let stopped = room.assemble(new, &[room.seed(old)]).finish_watched(&mut |_| Err(Error::Cancelled));
    assert!(matches!(stopped, Err(Error::Cancelled)));
    let path = room.target.work.join("switch");
    let good = fs::read(&path).unwrap();
    let before = tree(&room.target.dest);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(&path, &bad).unwrap();
        assert!(matches!(recover(&room.target), Err(Error::Damaged { .. })), "byte {at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(matches!(recover(&room.target), Err(Error::Damaged { .. })), "cut at {at}");
    }
    assert_eq!(tree(&room.target.dest), before);
    fs::write(&path, &good).unwrap();
    assert_eq!(recover(&room.target).unwrap(), Some(new));
    assert_eq!(tree(&room.path("new")), tree(&room.target.dest));
}

#[test]
fn table_and_stat_record_notice_every_flipped_byte() {
    let room = Room::new();
    let (old, _) = versions(&room);
    room.assemble(old, &[]).finish().unwrap();
    let manifest = ManifestFile::extract(&room.store, old, &room.path("m")).unwrap();
    let table = Target::table_path(&room.target.work, old);
    let stat = room.target.work.join("stat");
    for path in [&table, &stat] {
        let good = fs::read(path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(path, &bad).unwrap();
            let refused = if path == &table {
                ChunkTable::open(path, &manifest).is_err()
            } else {
                super::stat_record::StatRecord::open(path).is_none()
            };
            assert!(refused, "{} byte {at}", path.display());
        }
        fs::write(path, &good).unwrap();
    }
    ChunkTable::open(&table, &manifest).unwrap();
    super::stat_record::StatRecord::open(&stat).unwrap();
}

/// A power cut may leave the marker of a staging folder that was being removed, and not the tree: nothing was put in place then.
#[test]
fn an_empty_destination_is_no_version_that_was_put_in_place() {
    let room = Room::new();
    put(&room.path("source"), "file", b"content");
    let id = room.publish("source");
    let staging = super::staging::folder_beside(&room.target.dest);
    for folder in [&room.target.dest, &room.target.work, &staging] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(staging.join("marker"), format!("install {id}\n")).unwrap();
    assert_eq!(recover(&room.target).unwrap(), None);
    put(&room.target.dest, "file", b"content");
    assert_eq!(recover(&room.target).unwrap(), Some(id));
}
