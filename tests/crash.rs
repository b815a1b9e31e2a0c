//! SIGKILL of any role at any moment of publishing, replicating and installing: the right content each time.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::content::{copy, difference, edit, noise, tree, write};
use crate::common::fleet::{Fleet, newest};
use crate::common::{Dice, holds, soak, soaked, until};

/// Kills in one run of the story.
const KILLS_MAX: u64 = 3;
/// About what an install of the tree takes, milliseconds.
const INSTALL_MILLIS: u64 = 300;

/// Kills in one story, and its seed: a third of the count, because the cheap kills of one role at a time are elsewhere.
fn any_role(kills: u64) -> (u64, u64) {
    let (count, seed) = soak(3 * kills);
    (count.div_ceil(3), seed)
}

/// Kills a role and starts it again; says which.
fn kill_one(fleet: &mut Fleet, dice: &mut Dice) -> &'static str {
    match dice.below(3) {
        0 => {
            fleet.hub.kill();
            fleet.start_hub();
            "hub"
        }
        1 => {
            fleet.servers[0].kill();
            fleet.servers[0].start();
            "site server"
        }
        _ => {
            fleet.agents[0].kill();
            fleet.agents[0].start();
            "agent"
        }
    }
}

/// Replaces a part of the source that takes a while on its way, and makes other changes.
fn change(source: &Path, round: u64) {
    edit(source, round + 1_000);
    write(&source.join("data/much.bin"), &noise(8 << 20, round));
}

/// One version from the source to the agent with `kills` on its way, each at a moment before `span_millis` have passed.
fn one_round(fleet: &mut Fleet, dice: &mut Dice, round: u64, kills: u64, span_millis: u64) -> Vec<String> {
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    change(&source, round);
    let before = newest(&fleet.package("tools"));
    fleet.admin(&["package", "refresh", "tools"]).ok();
    let mut told = Vec::new();
    for _ in 0..kills {
        let pause = dice.below(span_millis);
        std::thread::sleep(Duration::from_millis(pause));
        told.push(format!("{} after {pause} ms", kill_one(fleet, dice)));
    }
    until(&format!("round {round} ({}) to end", told.join(", ")), || {
        let seen = fleet.package("tools");
        // An acknowledged refresh is never forgotten: it ends, and with a version.
        holds(newest(&seen) == before + 1 && seen["refresh"] == "idle", &seen["refresh"])
    });
    fleet.agent_has(0, "tools", before + 1);
    if let Some(difference) = difference(&source, &dest) {
        panic!("round {round} ({}): {difference}", told.join(", "));
    }
    told
}

#[test]
fn soak_kills_of_any_role_while_updates_travel() {
    let (count, seed) = any_role(12);
    let mut fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, seed);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    let mut dice = Dice::new(seed);
    // How long a version is on its way here and now: kills shall meet it there.
    let started = Instant::now();
    one_round(&mut fleet, &mut dice, 0, 0, 1);
    let span_millis = u64::try_from(started.elapsed().as_millis()).expect("short").max(1);
    let (mut round, mut kills) = (1, 0);
    while kills < count {
        let some = dice.below(KILLS_MAX) + 1;
        kills += one_round(&mut fleet, &mut dice, round, some, span_millis).len() as u64;
        round += 1;
    }
    soaked("kills-while-updating", kills, seed);
}

#[test]
fn soak_kills_of_any_role_from_the_first_publish_to_the_first_install() {
    let (count, seed) = any_role(4);
    let mut dice = Dice::new(seed ^ 0xf1f1);
    let mut fleet = Fleet::whole();
    let original = fleet.path("original");
    tree(&original, seed + 1);
    let mut kills = 0;
    while kills < count {
        let name = format!("tools{kills}");
        let (source, dest) = (fleet.path(&format!("source{kills}")), fleet.path(&format!("installed{kills}")));
        copy(&original, &source);
        edit(&source, kills);
        fleet.add_package(&name, &source);
        std::thread::sleep(Duration::from_millis(dice.below(INSTALL_MILLIS)));
        let mut told = vec![kill_one(&mut fleet, &mut dice)];
        let installing = fleet.install_in_background(0, &name, &dest);
        std::thread::sleep(Duration::from_millis(dice.below(INSTALL_MILLIS)));
        told.push(kill_one(&mut fleet, &mut dice));
        // If the agent was the one that was killed, the command says so; the wish may have been recorded or not.
        let _ = installing.join().expect("ended");
        fleet.ready(&name, "attic", 1);
        fleet.install(0, &name, &dest).ok();
        if let Some(difference) = difference(&source, &dest) {
            panic!("{name} ({}): {difference}", told.join(", "));
        }
        kills += told.len() as u64;
    }
    soaked("kills-while-installing", kills, seed);
}
