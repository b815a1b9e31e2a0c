//! Updates: by event, as a delta, whatever changed.

use std::fs;

use crate::common::content::{edit, same, tree, write};
use crate::common::fleet::{Fleet, Options};

/// Changes the source three times; each time the agent follows by itself and fetches what changed.
fn follows(fleet: &Fleet) {
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 31);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    for version in 2..5 {
        edit(&source, version);
        fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
        let seen = fleet.agent_has(0, "tools", version);
        same(&source, &dest);
        let wire = seen["cost"]["wire_bytes"].as_u64().expect("a number");
        // Changed: 700 bytes in a large file (two chunks at most, 256 KiB each), a few small files.
        assert!(wire < 2 * (256 << 10) + 60_000, "version {version} cost {}", seen["cost"]);
    }
}

#[test]
fn p14_n3_an_agent_follows_its_site_server_by_event() {
    follows(&Fleet::whole());
}

#[test]
fn p14_n3_an_agent_follows_the_hub_by_event() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_agent("desk");
    follows(&fleet);
}

#[test]
fn p8_an_agent_that_was_away_updates_when_it_is_back() {
    let mut fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 32);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    fleet.agents[0].kill();
    for version in 2..4 {
        edit(&source, version);
        fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    }
    fleet.start_agent(0);
    fleet.agent_has(0, "tools", 3);
    same(&source, &dest);
}

#[test]
fn p2_content_that_comes_back_is_a_new_version_and_costs_next_to_nothing() {
    let fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    write(&source.join("file"), b"first");
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    for (version, content) in [(2, "second"), (3, "first")] {
        write(&source.join("file"), content.as_bytes());
        fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
        fleet.agent_has(0, "tools", version);
        same(&source, &dest);
    }
}

#[test]
fn an_update_that_removes_everything_and_one_that_brings_it_back() {
    let fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 33);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    fs::remove_dir_all(&source).expect("removed");
    fs::create_dir(&source).expect("made");
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    fleet.agent_has(0, "tools", 2);
    same(&source, &dest);
    tree(&source, 33);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    fleet.agent_has(0, "tools", 3);
    same(&source, &dest);
}
