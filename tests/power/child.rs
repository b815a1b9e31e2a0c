//! A process that does nothing but publish into a store with small packs and a small index and collect what is old, and says what is durable.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use consign_store::ingest::{Options, ingest};
use consign_store::manifest::{Platform, Platforms};
use consign_store::store::Limits;
use consign_store::upkeep::{GcOptions, gc};
use consign_store::{ManifestId, Store};

use super::check::Promise;
use super::{micros_now, strace};

/// Small enough that a few versions seal packs, write index runs and merge them.
pub const LIMITS: Limits = Limits { pack_bytes_max: 200 << 10, memory_entries_max: 24 };
const NAME: &str = "round";
const FOLDER: &str = "CONSIGN_TEST_POWER_FOLDER";
/// How many versions it publishes.
pub const ROUNDS: u32 = 8;
/// How many of them it keeps.
const KEPT: usize = 2;

/// The source of a round, beside the folder that is recorded.
pub fn source(room: &Path, round: u32) -> PathBuf {
    room.join(format!("source{round}"))
}

#[test]
#[ignore = "run by the story, in a process of its own"]
fn publishes() {
    let Some(room) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let mut store = Store::open_with(&room.join("root/store"), LIMITS).expect("opened");
    let mut live: Vec<(u32, ManifestId)> = Vec::new();
    for round in 0..ROUNDS {
        let options = Options {
            workers: 2,
            platforms: Platforms::default().with(Platform::Linux),
            stat_cache: Some(room.join("root/stat")),
            verify: false,
            now_unix_nanos: i128::from(micros_now()) * 1_000,
            progress: Arc::default(),
        };
        let made = ingest(&store, &source(&room, round), &options).expect("published");
        live.push((round, made.manifest));
        tell("durable", round, made.manifest);
        if round % 3 == 2 {
            store.seal().expect("sealed");
        }
        if live.len() > KEPT {
            let (round, manifest) = live.remove(0);
            tell("dropped", round, manifest);
            // The first condemns, the second sweeps.
            for now in 0..2 {
                let options = GcOptions::new(i64::from(round * 2 + now), 0);
                gc(&store, &options, || Ok(live.iter().map(|(_, manifest)| *manifest).collect())).expect("collected");
            }
        }
        if round % 2 == 1 {
            drop(store);
            store = Store::open_with(&room.join("root/store"), LIMITS).expect("opened again");
        }
    }
}

fn tell(what: &str, round: u32, manifest: ManifestId) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{what} {round} {manifest} {}", micros_now()).and_then(|()| out.flush()).expect("told");
}

/// Runs it under `strace`; returns its id, and what it promised when.
pub fn run(room: &Path, trace: &Path) -> (u32, Vec<(u64, Promise)>) {
    let exe = std::env::current_exe().expect("this program");
    let words = strace(trace);
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .arg(exe)
        .args(["--exact", "power::child::publishes", "--ignored", "--nocapture"])
        .env(FOLDER, room)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let told = lines.filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, round, manifest, micros] = words[..] else { return None };
        let (round, manifest) = (round.parse().ok()?, manifest.parse().ok()?);
        let promise = match what {
            "durable" => Promise::Version(NAME.to_owned(), round, manifest),
            "dropped" => Promise::Dropped(round),
            _ => return None,
        };
        Some((micros.parse().ok()?, promise))
    });
    let told: Vec<_> = told.collect();
    assert!(child.wait().expect("waited").success(), "the child failed");
    assert_eq!(told.len(), 2 * ROUNDS as usize - KEPT);
    (child.id(), told)
}
