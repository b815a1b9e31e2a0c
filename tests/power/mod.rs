//! Power cuts: what real processes wrote is recorded, and of each moment the disks are made that a power cut may leave; whatever was
//! acknowledged by then must be there, whole, and nothing damaged may be offered.
//!
//! The store, the catalog's SQLite and the agent's folders are recorded alike, as system calls.

#![allow(
    clippy::similar_names,
    clippy::needless_pass_by_value,
    clippy::cast_possible_truncation,
    reason = "seed and seen are far enough apart for a reader; helpers of a test may take what it does not need again; a digit fits a byte"
)]

pub mod check;
mod child;
mod disk;
mod faults;
mod record;
mod story;
mod trace;
mod upkeep_faults;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use consign_store::{ManifestId, Store};
use serde_json::Value;

use crate::common::command::{PROGRAM, consign, kept, text};
use crate::common::content::{copy, mode, noise, write};
use crate::common::fleet::{Fleet, Options, newest};
use crate::common::{holds, images, left_out, until};
use check::Promise;
use story::{Place, Story};

/// Images in an ordinary test run, of the hub; of the others a quarter.
const IMAGES: u64 = 400;
/// Garbage is collected all the time and waits for nothing but leases.
const EAGER: [&str; 6] = ["--gc-every", "1", "--gc-grace", "0", "--upkeep-rate", "1G"];

fn micros_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_micros()).expect("soon enough")
}

/// The words that make `strace` record what comes behind them; the recorded process keeps its parent and its id.
fn strace(out: &Path) -> Vec<String> {
    let calls = format!("trace={}", trace::CALLS);
    let words = ["strace", "-D", "-f", "--seccomp-bpf", "-y", "-ttt", "-xx", "-s", "33554432", "-e", &calls, "-o"];
    words.iter().copied().chain([text(out)]).map(str::to_owned).collect()
}

/// Where a story takes place: in memory, because images are made by the thousand.
fn space() -> Option<tempfile::TempDir> {
    let mut try_it = Command::new("strace");
    try_it.args(["-D", "-f", "--seccomp-bpf", "-e", "trace=close", "-o", "/dev/null", "true"]);
    if !try_it.output().is_ok_and(|done| done.status.success()) {
        left_out("power cuts", "strace is not installed, or may not look at processes here");
        return None;
    }
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let place = place.canonicalize().expect("a folder");
    Some(tempfile::Builder::new().prefix("consign-power-").tempdir_in(place).expect("a folder"))
}

/// A small tree with a bit of everything: 150 KB, one file of several chunks.
pub fn tree(root: &Path, seed: u64) {
    write(&root.join("lib/large.bin"), &noise(110_000, seed));
    for number in 0..6 {
        write(&root.join(format!("data/part{}/file{number}.dat", number % 2)), &noise(4_000, seed + 10 + number));
    }
    write(&root.join("share/readme.txt"), format!("a text of seed {seed}\n").repeat(600).as_bytes());
    write(&root.join("share/empty"), b"");
    write(&root.join("bin/run"), b"#!/bin/sh\n");
    mode(&root.join("bin/run"), 0o755);
    std::os::unix::fs::symlink("../bin/run", root.join("share/run")).expect("link");
}

/// Changes it as a new version would.
pub fn edit(root: &Path, seed: u64) {
    let large = root.join("lib/large.bin");
    let mut bytes = fs::read(&large).expect("read");
    bytes.splice(40_000..40_010, noise(300, seed));
    write(&large, &bytes);
    write(&root.join("data/part0/file0.dat"), &noise(3_000, seed + 7));
    write(&root.join(format!("data/new{seed}/come.dat")), &noise(2_000, seed + 8));
    let gone = root.join(format!("data/part1/file{}.dat", 1 + 2 * (seed % 3)));
    if gone.exists() {
        fs::remove_file(gone).expect("removed");
    }
    mode(&root.join("bin/run"), if seed.is_multiple_of(2) { 0o700 } else { 0o755 });
}

/// Puts content that no version needs into a store that nobody has open, so much of it that the pack is poor afterwards.
fn leave_garbage(story: &mut Story, room: &Path, store: &Path, seed: u64) {
    let source = room.join(format!("garbage{seed}"));
    // Nothing that a version has too.
    write(&source.join("garbage.bin"), &noise(900_000, !seed));
    let trace = story.next_trace();
    let words = strace(&trace);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args([PROGRAM, "store", "put", text(store), text(&source)]).env_clear().envs(kept());
    let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("started");
    assert!(child.wait().expect("waited").success(), "garbage was not put into {}", store.display());
    story.ended(&trace, child.id());
}

/// Waits until more than `before` bytes of garbage went, by what `upkeep` shows; returns how many went.
fn until_collected(before: u64, upkeep: impl Fn() -> Value) -> u64 {
    until("the garbage to go", || {
        let seen = upkeep();
        let freed = seen["gc"]["freed_bytes"].as_u64().unwrap_or(0);
        holds(freed > before + 800_000, &seen).map(|()| freed)
    })
}

fn manifest_of(shown: &Value, number: u64) -> ManifestId {
    let versions = shown["versions"].as_array().into_iter().flatten();
    let version = versions.into_iter().find(|version| version["version"] == number).expect("the version");
    version["manifest"].as_str().and_then(|text| text.parse().ok()).expect("a manifest")
}

pub fn version(name: &str, shown: &Value) -> Promise {
    let number = newest(shown);
    Promise::Version(name.to_owned(), u32::try_from(number).expect("small"), manifest_of(shown, number))
}

#[test]
fn soak_power_cuts_of_a_store_that_seals_and_merges() {
    let Some(space) = space() else { return };
    let (count, seed) = images(IMAGES);
    let root = space.path().join("root");
    fs::create_dir(&root).expect("made");
    let sources: Vec<_> = (0..child::ROUNDS).map(|round| child::source(space.path(), round)).collect();
    tree(&sources[0], seed);
    for (number, pair) in sources.windows(2).enumerate() {
        copy(&pair[0], &pair[1]);
        edit(&pair[1], number as u64);
    }
    let mut story = Story::of(&root, None);
    let trace = story.next_trace();
    let (pid, told) = child::run(space.path(), &trace);
    story.ended(&trace, pid);
    story.told(told);
    let images = space.path().join("images");
    fs::create_dir(&images).expect("made");
    let check = |root: &Path, kept: &[Promise], number: u64| {
        check::store(root, kept, if number.is_multiple_of(8) { &sources[..] } else { &[] })
    };
    story.prove("power-cuts-of-a-store", count.div_ceil(4), seed, Place::Fresh(&images), &check);
    // A proof that cannot fail is none.
    story.forget_syncs();
    story.examine(2_000, seed, Place::Fresh(&images), &check).expect_err("a disk that forgets is found out");
}

#[test]
fn soak_power_cuts_while_publishing_and_collecting() {
    let Some(space) = space() else { return };
    let (count, seed) = images(IMAGES);
    let hub_dir = space.path().join("hub");
    let mut fleet = Fleet::hub_only(&Options { hub_dir: Some(hub_dir.clone()), ..Options::default() });
    let (source, other) = (fleet.path("source"), fleet.path("other"));
    tree(&source, seed);
    tree(&other, seed + 1);
    fleet.hub.stop();
    fleet.hub.with(&EAGER);
    let mut story = Story::of(&hub_dir, None);
    let mut freed = 0;
    for round in 0..4 {
        if round % 2 == 1 {
            leave_garbage(&mut story, space.path(), &hub_dir.join("store"), seed + round);
        }
        let trace = story.record(&mut fleet.hub);
        fleet.start_hub();
        let pid = fleet.hub.pid();
        if round == 0 {
            fleet.add_package("tools", &source);
            story.promise(Promise::Added("tools".to_owned()));
        } else {
            edit(&source, round);
            fleet.admin(&["package", "refresh", "tools"]).ok();
        }
        let shown = until("the version", || {
            let shown = fleet.package("tools");
            holds(newest(&shown) == round + 1, &shown).map(|()| shown)
        });
        story.promise(version("tools", &shown));
        if round == 1 {
            fleet.add_package("other", &other);
            story.promise(Promise::Added("other".to_owned()));
            let shown = fleet.refreshed("other");
            story.promise(version("other", &shown));
        }
        if round % 2 == 1 {
            freed = until_collected(freed, || fleet.admin(&["status"]).json()["upkeep"].clone());
        }
        // Once in good order, once as it comes.
        if round.is_multiple_of(2) {
            fleet.hub.stop();
        } else {
            fleet.hub.kill();
        }
        story.ended(&trace, pid);
    }
    let images = space.path().join("images");
    fs::create_dir(&images).expect("made");
    story.prove("power-cuts-while-publishing", count, seed, Place::Fresh(&images), &|root, kept, number| {
        let sources = [source.clone(), other.clone()];
        check::hub(root, kept, if number.is_multiple_of(8) { &sources } else { &[] })
    });
}

#[test]
fn soak_power_cuts_while_replicating_and_collecting() {
    let Some(space) = space() else { return };
    let (count, seed) = images(IMAGES);
    let mut fleet = Fleet::hub_only(&Options::default());
    let source = fleet.path("source");
    tree(&source, seed);
    let dir = space.path().join("attic");
    let listen = fleet.host.server(0);
    fleet.join_server_in(&dir, "attic", &listen, None);
    fleet.servers[0].with(&EAGER);
    let mut story = Story::of(&dir, None);
    let (mut known, mut freed) = (Vec::new(), 0);
    for round in 0..4 {
        if round % 2 == 1 {
            leave_garbage(&mut story, space.path(), &dir.join("store"), seed + round);
        }
        let trace = story.record(&mut fleet.servers[0]);
        if round == 0 {
            fleet.add_package("tools", &source);
        } else {
            edit(&source, round);
            fleet.admin(&["package", "refresh", "tools"]).ok();
        }
        fleet.start_server(0);
        let pid = fleet.servers[0].pid();
        fleet.refreshed("tools");
        fleet.ready("tools", "attic", round + 1);
        let promise = version("tools", &fleet.package("tools"));
        let Promise::Version(_, _, manifest) = promise else { unreachable!("just made") };
        known.push(manifest);
        story.promise(promise);
        if round % 2 == 1 {
            freed = until_collected(freed, || {
                consign(&["site-server", "status", text(&dir), "--json"], &[]).json()["upkeep"].clone()
            });
        }
        if round.is_multiple_of(2) {
            fleet.servers[0].stop();
        } else {
            fleet.servers[0].kill();
        }
        story.ended(&trace, pid);
    }
    let images = space.path().join("images");
    fs::create_dir(&images).expect("made");
    story.prove("power-cuts-while-replicating", count.div_ceil(4), seed, Place::Fresh(&images), &|root, kept, _| {
        check::site_server(root, kept, &known)
    });
}

#[test]
fn soak_power_cuts_while_installing() {
    let Some(space) = space() else { return };
    let (count, seed) = images(IMAGES);
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_server("attic", None);
    let source = fleet.path("source");
    tree(&source, seed);
    fleet.publish("tools", &source);
    // The destination's path stands in the switch journal: images are put where the recorded folder was.
    let root = space.path().join("machine");
    fs::create_dir(&root).expect("made");
    let (dir, dest) = (root.join("desk"), root.join("installed"));
    fleet.add_agent_in(&dir, "desk");
    fleet.agents[0].stop();
    // A sync of the installed files' disk says nothing about the agent's own.
    let mut story = Story::of(&root, Some(&dir));
    for round in 0..4 {
        let trace = story.record(&mut fleet.agents[0]);
        fleet.start_agent(0);
        let pid = fleet.agents[0].pid();
        if round == 0 {
            fleet.install(0, "tools", &dest).ok();
        } else {
            edit(&source, round);
            fleet.admin(&["package", "refresh", "tools"]).ok();
            fleet.agent_has(0, "tools", round + 1);
        }
        story.promise(version("tools", &fleet.package("tools")));
        if round.is_multiple_of(2) {
            fleet.agents[0].stop();
        } else {
            fleet.agents[0].kill();
        }
        story.ended(&trace, pid);
    }
    let shown = fleet.package("tools");
    fleet.servers[0].stop();
    fleet.hub.stop();
    let hub = Store::open_read_only(&fleet.hub.dir.join("store")).expect("the hub's store");
    let last = manifest_of(&shown, newest(&shown));
    story.prove("power-cuts-while-installing", count.div_ceil(4), seed, Place::Fixed(&root), &|root, kept, number| {
        check::agent(&root.join("desk"), kept, &hub, number.is_multiple_of(2).then_some(last))
    });
}
