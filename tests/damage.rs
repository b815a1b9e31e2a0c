//! Disks that lie, at site servers and at the hub: nothing wrong is ever installed, and what can be mended is.

use std::fs;
use std::path::{Path, PathBuf};

use consign_store::Store;

use crate::common::command::{consign, text};
use crate::common::content::{copy, same, tree};
use crate::common::fleet::{Fleet, Options, codebase, newest};
use crate::common::{Dice, holds, until};
use crate::power::check::{self, Promise};
use crate::power::version;

/// The files of a folder of a store.
fn files(store: &Path, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join(folder)).expect("listed");
    entries.map(|entry| entry.expect("listed").path()).filter(|path| path.is_file()).collect()
}

/// Changes a file in place: whoever has it open sees the change.
fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("read");
    change(&mut bytes);
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.set_len(bytes.len() as u64).expect("set");
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).expect("written");
}

/// Flips a bit in every 200 KB of the packs of a store.
fn damage(store: &Path, seed: u64) {
    let mut dice = Dice::new(seed);
    let packs = files(store, "packs");
    assert!(!packs.is_empty(), "no pack to damage");
    for pack in packs {
        rewrite(&pack, |bytes| {
            for part in bytes.chunks_mut(200_000) {
                let place = usize::try_from(dice.below(part.len() as u64)).expect("in memory");
                part[place] ^= 1 << dice.below(8);
            }
        });
    }
}

#[test]
fn n7_n5_a_site_server_whose_disk_lies_is_left_for_the_next_one() {
    let mut fleet = Fleet::whole();
    fleet.add_server("cellar", None);
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 84);
    fleet.publish("tools", &source);
    // Whichever of the two the agent prefers: once one lies, once the other.
    damage(&fleet.servers[0].dir.join("store"), 1);
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
    fleet.add_agent("second");
    fleet.add_agent("third");
    for agent in 1..3 {
        let dest = fleet.path(&format!("installed{agent}"));
        fleet.install(agent, "tools", &dest).ok();
        same(&source, &dest);
    }
}

#[test]
fn n7_n5_a_site_server_whose_disk_lies_is_left_for_the_hub() {
    let mut fleet = Fleet::hub_only(&Options { hub_fallback: "always", ..Options::default() });
    fleet.add_server("attic", None);
    fleet.add_agent("desk");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 85);
    fleet.publish("tools", &source);
    damage(&fleet.servers[0].dir.join("store"), 2);
    let seen = fleet.install(0, "tools", &dest).json();
    same(&source, &dest);
    assert_eq!(seen["source"], fleet.host.hub(), "{seen}");
}

/// Does something to the store of the only site server while it runs, and expects that an agent gets the right content, with nobody doing anything.
fn mends_running(tree_seed: u64, hurt: impl FnOnce(&Path)) {
    let fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, tree_seed);
    fleet.publish("tools", &source);
    hurt(&fleet.servers[0].dir.join("store"));
    let installing = fleet.install_in_background(0, "tools", &dest);
    // Never anything wrong, also not for a moment: what is there is complete.
    until("the content to be mended and installed", || {
        let seen = fleet.agent_package(0, "tools")?;
        if dest.exists() {
            same(&source, &dest);
        }
        holds(seen["state"] == "installed", seen)
    });
    installing.join().expect("ended").ok();
    same(&source, &dest);
    fleet.ready("tools", "attic", 1);
}

#[test]
fn n7_n5_an_only_site_server_whose_disk_lies_mends_what_a_machine_got_wrong() {
    mends_running(86, |store| damage(store, 3));
}

#[test]
fn n5_packs_that_are_cut_short_under_a_running_site_server_are_fetched_again() {
    mends_running(89, |store| {
        for pack in files(store, "packs") {
            let len = fs::metadata(&pack).expect("there").len();
            fs::File::options().write(true).open(&pack).and_then(|file| file.set_len(len / 3)).expect("cut");
        }
    });
}

/// Stops the site server, does something to its store, starts it, and expects that it is ready and serves the right content.
fn mends(hurt: impl FnOnce(&Path)) {
    let mut fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 87);
    fleet.publish("tools", &source);
    fleet.servers[0].kill();
    hurt(&fleet.servers[0].dir.join("store"));
    fleet.start_server(0);
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
    fleet.ready("tools", "attic", 1);
}

#[test]
fn n5_a_pack_with_a_torn_tail_is_cut_back_and_the_rest_fetched_again() {
    mends(|store| {
        for pack in files(store, "packs") {
            rewrite(&pack, |bytes| bytes.truncate(bytes.len() * 2 / 3));
        }
    });
}

#[test]
fn n5_an_index_that_is_damaged_or_gone_is_made_again_from_the_packs() {
    mends(|store| {
        fs::remove_dir_all(store.join("index")).expect("removed");
    });
    mends(|store| {
        for run in files(store, "index") {
            rewrite(&run, |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
            });
        }
    });
}

#[test]
fn n5_a_pack_that_is_gone_is_fetched_again() {
    mends(|store| {
        for pack in files(store, "packs") {
            fs::remove_file(pack).expect("removed");
        }
    });
}

/// Does something to the packs of a site server while it runs: it notices, mends, and serves the right content.
fn mends_while_it_runs(hurt: impl Fn(&Path)) {
    for sealed in [false, true] {
        let mut fleet = Fleet::hub_only(&Options::default());
        fleet.join_server("attic", None);
        fleet.servers[0].with(&["--scrub-every", "1", "--upkeep-rate", "1G"]);
        fleet.start_server(0);
        fleet.add_agent("desk");
        let (source, dest) = (fleet.path("source"), fleet.path("installed"));
        let store = fleet.servers[0].dir.join("store");
        tree(&source, 89);
        fleet.publish("tools", &source);
        if sealed {
            fleet.servers[0].stop();
            Store::open(&store).and_then(|store| store.seal()).expect("sealed");
            fleet.start_server(0);
            fleet.ready("tools", "attic", 1);
        }
        for pack in files(&store, "packs") {
            hurt(&pack);
        }
        fleet.install(0, "tools", &dest).ok();
        same(&source, &dest);
        until("the site server to have it on its disk again", || {
            let bytes: u64 = files(&store, "packs").iter().map(|pack| pack.metadata().map_or(0, |pack| pack.len())).sum();
            holds(bytes > 1 << 20, bytes)
        });
        fleet.ready("tools", "attic", 1);
        fleet.servers[0].kill();
        fleet.start_server(0);
        fleet.ready("tools", "attic", 1);
        fleet.servers[0].stop();
        let found = consign(&["store", "scrub", text(&store), "--json"], &[]);
        assert!(sealed || found.code == Some(0), "{}{}", found.out, found.err);
    }
}

#[test]
fn n5_a_pack_that_is_taken_away_under_a_running_site_server_is_fetched_again() {
    mends_while_it_runs(|pack| fs::remove_file(pack).expect("removed"));
}

#[test]
fn n5_a_pack_that_is_cut_short_under_a_running_site_server_is_fetched_again() {
    mends_while_it_runs(|pack| {
        let len = pack.metadata().expect("looked").len();
        fs::File::options().write(true).open(pack).and_then(|file| file.set_len(len / 3)).expect("cut");
    });
}

#[test]
fn n5_a_hub_whose_disk_lies_takes_what_a_site_server_got_wrong_from_the_source() {
    let mut fleet = Fleet::hub_only(&Options::default());
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 88);
    fleet.publish("tools", &source);
    damage(&fleet.hub.dir.join("store"), 4);
    fleet.add_server("attic", None);
    until("the hub to take it from the source", || {
        holds(fleet.hub.has_logged("taking what its source still has"), fleet.package("tools"))
    });
    fleet.ready("tools", "attic", 1);
    assert_eq!(newest(&fleet.package("tools")), 1, "nothing is released");
    fleet.add_agent("desk");
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
}

#[test]
fn n5_a_hub_whose_disk_lies_and_whose_source_is_gone_makes_no_site_server_ready() {
    let mut fleet = Fleet::hub_only(&Options::default());
    let source = fleet.path("source");
    tree(&source, 91);
    fleet.publish("tools", &source);
    fs::remove_dir_all(&source).expect("removed");
    damage(&fleet.hub.dir.join("store"), 4);
    fleet.add_server("attic", None);
    let here = until("the site server to say why it is not ready", || {
        let here = codebase(&fleet.package("tools"), "attic");
        assert_ne!(here["state"], "ready", "{here}");
        holds(here["state"] == "failed", &here).map(|()| here)
    });
    assert!(here["reason"].as_str().is_some_and(|reason| !reason.is_empty()) && here["next_attempt"].is_i64(), "{here}");
}

/// All files below a folder that hold something, but its packs (what a scrub finds there has its own tests), locks and sockets.
fn kept_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("listed").map(|entry| entry.expect("listed").path()) {
        if entry.is_dir() {
            found.extend(kept_files(&entry));
        } else if entry.is_file() && entry.metadata().is_ok_and(|file| file.len() > 0) && !entry.ends_with("lock") {
            found.push(entry);
        }
    }
    found.retain(|path| path.extension().is_none_or(|ending| ending != "pack"));
    found.sort();
    found
}

#[test]
fn n5_a_flipped_bit_in_any_file_beside_the_packs_is_mended_or_named() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_server("attic", None);
    let source = fleet.path("source");
    tree(&source, 90);
    let shown = fleet.publish("tools", &source);
    let promise = version("tools", &shown);
    let Promise::Version(_, _, manifest) = promise else { unreachable!("just made") };
    fleet.servers[0].stop();
    let (dir, made) = (fleet.servers[0].dir.clone(), fleet.path("made"));
    fs::rename(&dir, &made).expect("moved");
    let (mut mended, mut named) = (0, 0);
    for file in kept_files(&made) {
        let name = file.strip_prefix(&made).expect("below");
        let len = file.metadata().expect("looked").len();
        for at in [0, len / 2, len - 1] {
            let _ = fs::remove_dir_all(&dir);
            copy(&made, &dir);
            rewrite(&dir.join(name), |bytes| bytes[usize::try_from(at).expect("in memory")] ^= 4);
            let _ = fs::remove_file(dir.with_extension("log"));
            fleet.servers[0].start();
            let what = format!("byte {at} of {len} of {}", name.display());
            let ready = until("the site server to be ready or to end", || {
                let ended = fleet.servers[0].has_ended();
                let done = consign(&["site-server", "status", text(&dir), "--json"], &[]);
                let shown = if done.code == Some(0) { done.json() } else { serde_json::Value::Null };
                let ready = shown["running"] == true && shown["codebases"][0]["state"] == "ready";
                holds(ready || ended, format!("{what}: {shown}")).map(|()| ready)
            });
            if ready {
                mended += 1;
                fleet.servers[0].kill();
                // A wrong entry of the index is found by whoever needs it, and put right by a scrub.
                consign(&["store", "scrub", text(&dir.join("store")), "--json"], &[]).ok();
                check::site_server(&dir, std::slice::from_ref(&promise), &[manifest])
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
            } else {
                named += 1;
                fleet.servers[0].kill();
                let told = fleet.servers[0].log_end();
                // Named as what it is, or by what it contradicts.
                let stem = name.file_stem().expect("a name").to_string_lossy();
                let clear = told.contains(&*stem) || told.contains("is refused");
                assert!(clear && told.contains("error: ") && !told.contains("panicked"), "{what}: {told}");
            }
        }
    }
    assert!(mended > 5 && named > 2, "{mended} mended, {named} named");
}
