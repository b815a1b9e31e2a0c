//! Installs and updates in a process of their own, killed at any moment.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use consign_store::Store;
use consign_store::chunk::ChunkKind;
use consign_store::chunk::record::VerifiedRecord;
use consign_store::manifest::{ChunkTable, Layout, ManifestFile, recipe};
use consign_store::restore::{Assembly, Seed, Target, recover, stream_local};

use crate::support::{Room, assert_same, distinct_bytes, noise, put, sample};
use crate::update::change;

const ROOM: &str = "CONSIGN_TEST_RESTORE_ROOM";
const NEW: &str = "CONSIGN_TEST_RESTORE_NEW";
const OLD: &str = "CONSIGN_TEST_RESTORE_OLD";

/// Not a test of its own: what the killed process does. Says how many bytes each record brought, then `finish`.
#[test]
fn child() {
    let (Some(room), Ok(new)) = (std::env::var_os(ROOM), std::env::var(NEW)) else { return };
    let room = Path::new(&room);
    let store = Store::open_read_only(&room.join("store")).unwrap();
    let say = |what: String| std::io::stdout().write_all(format!("\nchild {what}\n").as_bytes()).unwrap();
    let version = |id: &str| {
        let id = id.parse::<consign_store::FileDigest>().unwrap().into();
        ManifestFile::extract(&store, id, &room.join(format!("child-{}", &id.to_hex()[..8]))).unwrap()
    };
    let table = |manifest: &ManifestFile| {
        let mut page = |id| Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone());
        let path = room.join(format!("child-table-{}", &manifest.id().to_hex()[..8]));
        ChunkTable::build(&path, manifest, &Layout::of(manifest).unwrap(), &|_| true, &mut page).unwrap()
    };
    let seeds: Vec<Seed> = std::env::var(OLD)
        .iter()
        .map(|old| {
            let manifest = version(old);
            let table = table(&manifest);
            Seed { root: room.join("dest"), manifest: manifest.into(), table }
        })
        .collect();
    let target = Target { dest: room.join("dest"), work: room.join("work"), update: !seeds.is_empty() };
    let mut assembly = Assembly::open(&target, version(&new)).unwrap();
    for entry in assembly.missing_recipes().into_iter().flatten() {
        let (size, digest, chunks) = assembly.manifest().file_of(entry).unwrap();
        let mut page = |id| {
            let page = store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone();
            assembly.add_page(id, &page).map(|()| page)
        };
        recipe::walk(digest, size, chunks, &mut page, &mut |_| Ok(())).unwrap();
    }
    assembly.take_local(&seeds).unwrap();
    let table = table(assembly.manifest());
    let mut sink = |record: VerifiedRecord| {
        say(format!("took {}", assembly.accept(&record)?));
        Ok(())
    };
    stream_local(&store, &table, assembly.layout(), &assembly.missing(), &mut sink).unwrap();
    say("finish".to_owned());
    assembly.finish().unwrap();
    say("done".to_owned());
}

/// Starts the child and reads what it says.
fn start(room: &Room, new: &str, old: Option<&str>) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::child", "--nocapture"]).env(ROOM, room.dir.path()).env(NEW, new);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(old) = old {
        command.env(OLD, old);
    }
    let mut child = command.spawn().unwrap();
    let out: ChildStdout = child.stdout.take().unwrap();
    let lines = BufReader::new(out).lines().map_while(Result::ok);
    (child, lines.filter_map(|line| line.strip_prefix("child ").map(str::to_owned)))
}

#[test]
fn a_killed_install_fetches_nothing_again() {
    let room = Room::new();
    let source = room.path("source");
    sample(&source);
    for number in 0..8_u64 {
        put(&source, &format!("more/{number}.bin"), &noise(number + 1000, 2_500_000));
    }
    let (done, manifest) = room.publish(&source);
    let distinct = distinct_bytes(&room.table(&manifest));
    let (mut taken, mut kills) = (0, 0);
    loop {
        let (mut child, mut said) = start(&room, &done.manifest.to_string(), None);
        for line in said.by_ref().take(1 + kills % 3) {
            taken += line.strip_prefix("took ").map_or(0, |bytes| bytes.parse::<u64>().unwrap());
        }
        child.kill().unwrap();
        // What it said before the kill arrived counts too.
        let rest: Vec<_> = said.collect();
        taken += rest.iter().filter_map(|line| line.strip_prefix("took ")?.parse::<u64>().ok()).sum::<u64>();
        child.wait().unwrap();
        kills += 1;
        if room.path("dest").exists() {
            break;
        }
        assert!(kills < 100, "no progress");
    }
    assert!(kills > 1, "killed at least once on the way");
    assert!(taken <= distinct, "{taken} bytes were taken for {distinct}");
    assert_eq!(recover(&room.target(false)).unwrap(), Some(done.manifest));
    assert_same(&source, &room.path("dest"));
}

#[test]
fn an_update_killed_in_its_switch_is_old_or_new_after_recovery() {
    let room = Room::new();
    sample(&room.path("old"));
    sample(&room.path("new"));
    change(&room.path("new"));
    let old = room.publish(&room.path("old")).0.manifest;
    let new = room.publish(&room.path("new")).0.manifest;
    for round in 0..6 {
        let _ = std::fs::remove_dir_all(room.path("dest"));
        room.install(old, false, &[]).unwrap();
        let (mut child, mut said) = start(&room, &new.to_string(), Some(&old.to_string()));
        assert!(said.any(|line| line == "finish"), "round {round}: it came to its end");
        child.kill().unwrap();
        child.wait().unwrap();
        let found = recover(&room.target(true)).unwrap();
        if found == Some(old) {
            assert_same(&room.path("old"), &room.path("dest"));
            let seed = room.seed(&room.path("dest"), old);
            room.install(new, true, &[seed]).unwrap();
        } else {
            assert_eq!(found, Some(new));
        }
        assert_same(&room.path("new"), &room.path("dest"));
    }
}
