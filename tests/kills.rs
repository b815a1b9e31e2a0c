//! SIGKILL of the program at any moment of a publish, a collection, an install and a replication, cheap enough to be done by the hundred: what
//! was acknowledged is there, whole, each time, and the next run goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use consign_store::{ManifestId, Store};

use crate::common::command::{PROGRAM, consign, kept, text};
use crate::common::content::{copy, noise, same, write};
use crate::common::fleet::{Fleet, Options, newest};
use crate::common::{Dice, soak, soaked};
use crate::power::check::{self, Promise};
use crate::power::{edit, tree, version};

/// Kills of each kind in an ordinary test run.
const KILLS: u64 = 8;
/// Kills after which a store begins anew, so that it stays small.
const ROUNDS: u64 = 16;

/// Folders in memory, where there is such a thing: the moments count, not the disk.
fn space() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("consign-kills-").tempdir_in(place).expect("a folder")
}

/// Runs the program and kills it before `span` has passed; says whether it was still running.
fn killed(words: &[&str], span: Duration, dice: &mut Dice) -> bool {
    let mut command = Command::new(PROGRAM);
    command.args(words).env_clear().envs(kept()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("started");
    let micros = u64::try_from(span.as_micros()).expect("short").max(1);
    std::thread::sleep(Duration::from_micros(dice.below(micros)));
    let running = child.try_wait().expect("looked").is_none();
    let _ = child.kill();
    child.wait().expect("waited");
    running
}

/// How long the program takes here and now.
fn span(words: &[&str]) -> Duration {
    let started = Instant::now();
    consign(words, &[]).ok();
    started.elapsed()
}

fn put(store: &Path, source: &Path) -> ManifestId {
    let done = consign(&["store", "put", text(store), text(source), "--json"], &[]).json();
    done["manifest"].as_str().and_then(|text| text.parse().ok()).expect("a manifest")
}

/// A store with one version, as it is copied for each round.
struct Made {
    space: tempfile::TempDir,
    kept: ManifestId,
}

impl Made {
    fn new(seed: u64) -> Self {
        let space = space();
        tree(&space.path().join("source"), seed);
        let kept = put(&space.path().join("made/store"), &space.path().join("source"));
        Self { space, kept }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.space.path().join(name)
    }

    /// Begins anew; returns where the store is.
    fn again(&self) -> PathBuf {
        let _ = fs::remove_dir_all(self.path("root"));
        copy(&self.path("made"), &self.path("root"));
        self.path("root/store")
    }

    fn promise(&self) -> Promise {
        Promise::Version("kept".to_owned(), 1, self.kept)
    }

    fn check(&self, promises: &[Promise], what: &str) {
        check::store(&self.path("root"), promises, &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[test]
fn soak_kills_of_a_put() {
    let (count, seed) = soak(KILLS);
    let (made, mut dice) = (Made::new(seed), Dice::new(seed ^ 0x9011));
    let source = made.path("changing");
    copy(&made.path("source"), &source);
    let change = |round: u64| {
        edit(&source, round);
        write(&source.join("data/more.bin"), &noise(600_000, seed + round));
    };
    change(0);
    let store = made.again();
    let words = ["store", "put", text(&store), text(&source), "--json"];
    let span = span(&words);
    let (mut kills, mut round, mut promises) = (0, 0_u64, Vec::new());
    while kills < count {
        if round.is_multiple_of(ROUNDS) {
            made.again();
            promises = vec![made.promise()];
        }
        round += 1;
        change(round);
        kills += u64::from(killed(&words, span, &mut dice));
        made.check(&promises, &format!("seed {seed}, round {round}"));
        if round.is_multiple_of(4) {
            let number = u32::try_from(round).expect("few");
            promises.push(Promise::Version("more".to_owned(), number + 1, put(&store, &source)));
            made.check(&promises, &format!("seed {seed}, round {round}, published"));
        }
    }
    soaked("kills-of-a-put", kills, seed);
}

#[test]
fn soak_kills_of_a_collection() {
    let (count, seed) = soak(KILLS);
    let (made, mut dice) = (Made::new(seed), Dice::new(seed ^ 0x9012));
    // What goes lies around what stays, so that something is copied.
    let garbage = made.path("garbage");
    copy(&made.path("source"), &garbage);
    write(&garbage.join("data/more.bin"), &noise(1_500_000, seed + 1));
    put(&made.path("made/store"), &garbage);
    let store = made.again();
    let manifest = made.kept.to_string();
    let words = ["store", "gc", text(&store), "--grace", "0", "--keep", &manifest, "--json"];
    let full = Store::open_read_only(&store).expect("opened").stats().expect("counted").stored_bytes;
    let span = span(&words);
    let (mut kills, mut round) = (0, 0);
    while kills < count {
        round += 1;
        made.again();
        // Also one after the other: what a killed run left, the next is killed in.
        for _ in 0..=dice.below(3) {
            kills += u64::from(killed(&words, span, &mut dice));
            made.check(&[made.promise()], &format!("seed {seed}, round {round}"));
        }
        consign(&words, &[]).ok();
        made.check(&[made.promise()], &format!("seed {seed}, round {round}, ended"));
        let left = Store::open_read_only(&store).expect("opened").stats().expect("counted").stored_bytes;
        assert!(left < full / 2, "seed {seed}, round {round}: {left} of {full} bytes are left");
    }
    soaked("kills-of-a-collection", kills, seed);
}

#[test]
fn soak_kills_of_a_get() {
    let (count, seed) = soak(KILLS);
    let (made, mut dice) = (Made::new(seed), Dice::new(seed ^ 0x9013));
    write(&made.path("source/data/more.bin"), &noise(3_000_000, seed + 1));
    let store = made.again();
    let (manifest, dest) = (put(&store, &made.path("source")).to_string(), made.path("got"));
    let words = ["store", "get", text(&store), &manifest, text(&dest), "--json"];
    let span = span(&words);
    let mut kills = 0;
    while kills < count {
        let _ = fs::remove_dir_all(&dest);
        for _ in 0..=dice.below(3) {
            let running = killed(&words, span, &mut dice);
            kills += u64::from(running);
            if !running || dest.exists() {
                break;
            }
        }
        // It appears at once, whole, or not at all.
        if !dest.exists() {
            consign(&words, &[]).ok();
        }
        same(&made.path("source"), &dest);
    }
    soaked("kills-of-a-get", kills, seed);
}

#[test]
fn soak_kills_of_a_site_server_that_replicates_and_collects() {
    let (count, seed) = soak(KILLS);
    let (space, mut dice) = (space(), Dice::new(seed ^ 0x9014));
    let mut fleet = Fleet::hub_only(&Options { hub_dir: Some(space.path().join("hub")), ..Options::default() });
    let (source, dir) = (space.path().join("source"), space.path().join("attic"));
    tree(&source, seed);
    let listen = fleet.host.server(0);
    fleet.join_server_in(&dir, "attic", &listen, None);
    fleet.servers[0].with(&["--gc-every", "1", "--gc-grace", "0", "--upkeep-rate", "1G"]);
    fleet.start_server(0);
    fleet.publish("tools", &source);
    let next = |fleet: &Fleet, round: u64| {
        edit(&source, round);
        write(&source.join("data/more.bin"), &noise(1_000_000, seed + round));
        fleet.admin(&["package", "refresh", "tools"]).ok();
    };
    let started = Instant::now();
    next(&fleet, 1);
    fleet.ready("tools", "attic", 2);
    let span_micros = u64::try_from(started.elapsed().as_micros()).expect("short");
    let (mut kills, mut round) = (0, 1);
    while kills < count {
        round += 1;
        next(&fleet, round);
        for _ in 0..=dice.below(2) {
            std::thread::sleep(Duration::from_micros(dice.below(span_micros)));
            fleet.servers[0].kill();
            kills += 1;
            fleet.start_server(0);
        }
        fleet.ready("tools", "attic", round + 1);
        if round.is_multiple_of(8) {
            let shown = fleet.package("tools");
            assert_eq!(newest(&shown), round + 1, "{shown}");
            fleet.servers[0].kill();
            let promise = version("tools", &shown);
            let Promise::Version(_, _, manifest) = promise else { unreachable!("just made") };
            check::site_server(&dir, &[promise], &[manifest])
                .unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
            fleet.start_server(0);
        }
    }
    soaked("kills-while-replicating", kills, seed);
}
