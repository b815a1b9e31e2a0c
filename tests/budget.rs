//! What an install would cost, may cost and did cost: plans, byte budgets, what patches save, and what happens when one is useless.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::command::{Done, consign, text};
use crate::common::content::{noise, same, write};
use crate::common::fleet::{Fleet, Options};
use crate::common::wire::Wire;
use crate::common::{holds, until};

/// Bytes of the file that changes a little.
const LARGE: usize = 6 << 20;
/// Bytes of the file that is new in each version.
const NEW: usize = 200_000;

/// A version: a large file of which a little changes, one that is new each time, and some that stay.
fn version(source: &Path, number: u64) {
    let mut large = noise(LARGE, 501);
    for part in 0..20 {
        let at = part * (LARGE / 20);
        large[at..at + 64].copy_from_slice(&noise(64, 600 + number * 100 + part as u64));
    }
    write(&source.join("large.bin"), &large);
    write(&source.join(format!("new{number}.bin")), &noise(NEW, 700 + number));
    for stays in 0..10 {
        write(&source.join(format!("stays/{stays}.txt")), &noise(3000, 800 + stays));
    }
}

fn install(fleet: &Fleet, dest: &Path, more: &[&str]) -> Done {
    let dir = text(&fleet.agents[0].dir);
    consign(&[&["agent", "install", "tools", "--dest", text(dest), "--agent-dir", dir, "--json"], more].concat(), &[])
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn part(plan: &Value, kind: &str) -> Value {
    let found = plan["parts"].as_array().into_iter().flatten().find(|part| part["kind"] == kind);
    found.cloned().unwrap_or_else(|| panic!("no {kind} in {plan}"))
}

/// A fleet whose agent has version 1 and is stopped, version 2 released and its patches built.
fn updated() -> Fleet {
    let mut fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    version(&source, 1);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    fleet.agents[0].kill();
    version(&source, 2);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    until("the patches to be built", || {
        let plan = install(&fleet, &dest, &["--plan"]).json();
        holds(plan["patches"]["state"] == "ready", &plan)
    });
    fleet
}

/// All files below `dir` with their bytes.
fn snapshot(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            // A socket that a kill left has no bytes either.
            let bytes = if path.is_file() { fs::read(&path).expect("readable") } else { Vec::new() };
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn n3_a_plan_counts_patches_changes_nothing_and_comes_true() {
    let fleet = updated();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    let places = || [snapshot(&fleet.agents[0].dir), snapshot(&dest)];
    let before = places();
    let beside = || fs::read_dir(fleet.path(".")).expect("readable").count();
    let around = beside();
    let plan = install(&fleet, &dest, &["--plan", "--prefer", "bytes"]).json();
    assert!(places() == before && beside() == around, "a plan left something");

    let amount = |kind: &str| (number(&part(&plan, kind)["files"]), number(&part(&plan, kind)["raw_bytes"]));
    assert_eq!(amount("kept"), (11, 30_000 + NEW as u64));
    assert_eq!(amount("patch"), (2, (LARGE + NEW) as u64));
    assert_eq!((amount("local"), amount("records")), ((0, 0), (0, 0)));
    assert!((NEW as u64..NEW as u64 + 30_000).contains(&number(&part(&plan, "patch")["wire_bytes"])), "{plan}");
    let sum = plan["parts"].as_array().into_iter().flatten().map(|part| number(&part["wire_bytes"])).sum::<u64>();
    assert_eq!(sum, number(&plan["planned_wire_bytes"]));
    assert!(number(&plan["chunk_wire_bytes"]) > 1_000_000 && number(&plan["full_wire_bytes"]) > LARGE as u64, "{plan}");

    let done = install(&fleet, &dest, &["--prefer", "bytes"]).json();
    same(&source, &dest);
    let cost = &done["cost"];
    let planned = number(&plan["planned_wire_bytes"]);
    // The questions about metadata are another time's.
    assert!(number(&cost["wire_bytes"]).abs_diff(planned) < 4096, "{cost} planned as {planned}");
    assert_eq!(number(&cost["content_bytes"]), planned - number(&part(&plan, "metadata")["wire_bytes"]));
    assert_eq!((number(&cost["patched_bytes"]), number(&cost["written_bytes"])), ((LARGE + NEW) as u64, (LARGE + NEW) as u64));
}

#[test]
fn n3_a_budget_is_kept_or_refused_before_anything_is_fetched() {
    let fleet = updated();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    let plan = install(&fleet, &dest, &["--plan", "--prefer", "bytes"]).json();
    let before = snapshot(&dest);
    let few = (number(&plan["planned_wire_bytes"]) / 2).to_string();
    let refused = install(&fleet, &dest, &["--max-bytes", &few]).fails(1, &["over_budget", "may come in all", "--max-bytes"]);
    assert!(refused.err.contains("not begun"), "{}", refused.err);
    assert!(snapshot(&dest) == before && !fleet.path(".installed.consign-staging").exists(), "something was begun");
    // Records alone would exceed it, so the patches are taken, whatever the link.
    let enough = number(&plan["planned_wire_bytes"]) * 2;
    let done = install(&fleet, &dest, &["--max-bytes", &enough.to_string()]).json();
    assert!(number(&done["cost"]["wire_bytes"]) <= enough, "{done}");
    same(&source, &dest);
}

#[test]
fn n3_a_useless_patch_is_told_and_does_not_break_the_budget() {
    let mut fleet = updated();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    // The seed is damaged: what the patch makes of it is wrong.
    let mut large = fs::read(dest.join("large.bin")).expect("readable");
    large[1_000_000] ^= 1;
    fs::write(dest.join("large.bin"), large).expect("writable");
    let plan = install(&fleet, &dest, &["--plan", "--prefer", "bytes"]).json();
    let budget = number(&plan["planned_wire_bytes"]) + 300_000;
    let stopped = install(&fleet, &dest, &["--prefer", "bytes", "--max-bytes", &budget.to_string()]);
    assert!(stopped.fails(1, &["over_budget", "must still come"]).err.contains("stopped"));
    // Stopped, with the reason; the version before is in place as far as it was.
    let seen = fleet.agent_package(0, "tools").expect("shown");
    assert_eq!((&seen["state"], &seen["installed"]["version"]), (&"failed".into(), &1.into()), "{seen}");
    assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains("may come in all")), "{seen}");

    let done = install(&fleet, &dest, &["--prefer", "bytes", "--max-bytes", "20M"]).json();
    same(&source, &dest);
    let note = done["notes"].to_string();
    assert!(note.contains("large.bin") && note.contains("useless"), "{done}");
    assert!(number(&done["cost"]["fetched_bytes"]) < 3 << 20, "only what is damaged or new is fetched: {done}");
    // Told on by status and report.
    fleet.start_agent(0);
    assert!(fleet.agent_package(0, "tools").expect("shown")["notes"].to_string().contains("useless"));
    until("the report to tell it", || {
        let seen = fleet.package("tools");
        holds(seen["installs"][0]["notes"].to_string().contains("useless"), seen)
    });
}

#[test]
fn n4_a_budget_counts_what_came_before_a_kill() {
    let mut fleet = Fleet::hub_only(&Options::default());
    let wire = Wire::to(&fleet.host.server(0));
    fleet.add_server("attic", Some(wire.address()));
    fleet.add_agent("desk");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    write(&source.join("large.bin"), &noise(12 << 20, 91));
    fleet.publish("tools", &source);
    wire.pace(3 << 20);
    let before = wire.down_bytes();
    let arrived = || wire.down_bytes() - before;
    let (dir, to) = (text(&fleet.agents[0].dir).to_owned(), text(&dest).to_owned());
    let asking = std::thread::spawn(move || {
        let words = ["agent", "install", "tools", "--dest", &to, "--agent-dir", &dir, "--max-bytes", "13M", "--json"];
        consign(&words, &[])
    });
    until("a third to arrive", || holds(arrived() > 4 << 20, arrived()));
    let seen = fleet.agent_package(0, "tools").expect("shown");
    assert_eq!(number(&seen["max_bytes"]), 13 << 20, "{seen}");
    assert!(number(&seen["progress"]["wire_bytes"]) > 1 << 20, "{seen}");
    fleet.agents[0].kill();
    let _ = asking.join().expect("ended");
    fleet.start_agent(0);
    // It goes on by itself, within the budget, and counts both runs.
    let seen = until("it to be in place or refused", || {
        let seen = fleet.agent_package(0, "tools")?;
        holds(seen["state"] == "installed" || seen["blocked"] == "over_budget", &seen).map(|()| seen)
    });
    assert!(arrived() < (13 << 20) + (2 << 20), "{} arrived", arrived());
    if seen["state"] == "installed" {
        assert!(number(&seen["cost"]["wire_bytes"]) > 12_000_000, "the first run is left out: {}", seen["cost"]);
    }
    wire.pace(0);
    install(&fleet, &dest, &[]).ok();
    same(&source, &dest);
}

#[test]
fn n3_a_site_shows_what_it_saved_once_and_for_good() {
    let mut fleet = updated();
    let dest = fleet.path("installed");
    let done = install(&fleet, &dest, &["--prefer", "bytes"]).json();
    let saved = number(&done["saved_bytes"]);
    assert!(saved > 5 << 20, "{done}");
    let site = |fleet: &Fleet| fleet.admin(&["site", "show", "berlin"]).json();
    until("the site to show both installs", || {
        let seen = site(&fleet);
        holds(seen["traffic"]["installs"] == 2, seen)
    });
    let traffic = site(&fleet)["traffic"].clone();
    assert_eq!(number(&traffic["saved_bytes"]), saved);
    assert_eq!(number(&traffic["patched_bytes"]), (LARGE + NEW) as u64);
    // The same reports again, at a hub that starts again.
    fleet.hub.kill();
    fleet.start_hub();
    fleet.start_agent(0);
    fleet.agents[0].kill();
    fleet.start_agent(0);
    let status = fleet.admin(&["status"]).json();
    assert_eq!(status["traffic"][0]["site"], "berlin", "{status}");
    assert_eq!(number(&status["traffic"][0]["saved_bytes"]), saved, "{status}");
    assert_eq!(site(&fleet)["traffic"], traffic);
}
