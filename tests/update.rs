//! Updates: by event, as a delta, whatever changed.

use std::fs;

use crate::common::content::{edit, noise, same, tree, write};
use crate::common::fleet::{Fleet, Host, Options};
use crate::common::wire::Wire;

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

/// What has nothing in common with what is installed costs no more than a download by a machine that has nothing, whatever is spared.
#[test]
fn n3_an_update_to_something_else_costs_no_more_than_a_full_download() {
    for prefer in ["bytes", "time"] {
        let mut fleet = Fleet::hub_only(&Options::default());
        fleet.add_agent("desk");
        let (source, dest) = (fleet.path("source"), fleet.path("installed"));
        tree(&source, 34);
        fleet.publish("tools", &source);
        fleet.install(0, "tools", &dest).ok();
        fleet.agents[0].kill();
        fs::remove_dir_all(&source).expect("removed");
        tree(&source, 1034);
        fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
        let wire = |seen: serde_json::Value| seen["cost"]["wire_bytes"].as_u64().expect("a number");
        fleet.add_agent("new");
        let full = wire(fleet.install(1, "tools", &fleet.path("elsewhere")).json());
        fleet.agents[0].with(&["--prefer", prefer]);
        fleet.start_agent(0);
        let update = wire(fleet.agent_has(0, "tools", 2));
        same(&source, &dest);
        assert!(update <= full + (16 << 10), "--prefer {prefer}: {update} bytes for the update, {full} for all");
    }
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

/// Patches are there before anybody asks: the agent that has the old version is away.
#[test]
fn n3_a_site_server_builds_patches_from_what_its_agents_have_when_a_version_is_ready() {
    let mut fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 36);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    fleet.reported("tools");
    fleet.agents[0].kill();
    edit(&source, 2);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    fleet.patches_built(0);
}

/// Every chunk of it changes, and hardly any byte: its patches, one for each of two parts, cost next to nothing.
#[test]
fn n3_a_site_server_makes_an_update_from_what_it_holds() {
    let host = Host::new();
    let wire = Wire::to(&host.hub());
    let mut fleet = Fleet::hub_only(&Options { host, hub_address: Some(wire.address().to_owned()), ..Options::default() });
    fleet.join_server("attic", None);
    fleet.servers[0].with(&["--prefer", "bytes"]);
    fleet.start_server(0);
    fleet.add_agent("desk");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    let mut content = noise(36 << 20, 37);
    write(&source.join("large.bin"), &content);
    tree(&source, 38);
    fleet.publish("tools", &source);
    let before = wire.down_bytes();
    for byte in content.iter_mut().step_by(5_000) {
        *byte ^= 0x10;
    }
    write(&source.join("large.bin"), &content);
    edit(&source, 39);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    fleet.ready("tools", "attic", 2);
    let update = wire.down_bytes() - before;
    assert!(update < 1 << 20, "{update} bytes from the hub for the update");
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
}
