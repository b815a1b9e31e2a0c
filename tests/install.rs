//! Installing at an agent: from its site server, from the hub where the site has none.

use std::fs;

use serde_json::Value;

use crate::common::command::text;
use crate::common::content::{corpus, same, tree, write};
use crate::common::fleet::{Fleet, Options};
use crate::common::left_out;

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("{name} is no number in {of}"))
}

/// A first install costs about what the content is, and its report reaches the hub.
fn installs_everything(fleet: &Fleet, from: &str) {
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 21);
    fleet.publish("tools", &source);
    let seen = fleet.install(0, "tools", &dest).json();
    same(&source, &dest);
    assert_eq!((seen["version"].as_u64(), seen["source"].as_str()), (Some(1), Some(from)), "{seen}");
    let cost = &seen["cost"];
    assert_eq!(number(cost, "kept_bytes"), 0, "{cost}");
    assert!((1..number(cost, "total_bytes") + 200_000).contains(&number(cost, "wire_bytes")), "{cost}");
    assert!(number(cost, "socket_bytes") > number(cost, "wire_bytes"), "{cost}");
    crate::common::until("the report to reach the hub", || {
        let seen = fleet.package("tools");
        crate::common::holds(
            seen["installs"][0]["state"] == "installed" && seen["installs"][0]["cost"] == *cost,
            &seen["installs"],
        )
    });
}

#[test]
fn p7_p16_an_agent_installs_from_its_site_server() {
    let fleet = Fleet::whole();
    installs_everything(&fleet, &fleet.host.server(0));
}

#[test]
fn an_agent_without_site_server_installs_from_the_hub() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_agent("desk");
    installs_everything(&fleet, &fleet.host.hub());
}

#[test]
fn an_agent_that_does_not_run_installs_all_the_same() {
    let mut fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 22);
    fleet.publish("tools", &source);
    fleet.agents[0].kill();
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
    fleet.start_agent(0);
    fleet.agent_has(0, "tools", 1);
}

#[test]
fn p3_p4_a_second_install_verifies_and_mends() {
    let fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 23);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    let again = fleet.install(0, "tools", &dest).json();
    assert_eq!(again["already"], true, "{again}");
    write(&dest.join("data/part3/file03.dat"), b"someone changed this");
    fs::remove_file(dest.join("share/readme.txt")).expect("removed");
    fs::remove_dir_all(dest.join("data/part5")).expect("removed");
    let mended = fleet.install(0, "tools", &dest).json();
    same(&source, &dest);
    assert!(number(&mended["cost"], "fetched_bytes") < 400_000, "only what was missing: {mended}");
}

#[test]
fn what_is_at_the_destination_already_is_never_lost() {
    let fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    write(&source.join("file"), b"x");
    fleet.publish("tools", &source);
    write(&dest.join("precious"), b"someone's own");
    fleet.install(0, "tools", &dest).fails(1, &[text(&dest)]);
    assert_eq!(fs::read(dest.join("precious")).expect("still there"), b"someone's own");
    assert!(!dest.join("file").exists());
}

#[test]
fn two_packages_do_not_share_a_folder() {
    let fleet = Fleet::whole();
    for (name, content) in [("one", "1"), ("two", "2")] {
        let source = fleet.path(name);
        write(&source.join("file"), content.as_bytes());
        fleet.publish(name, &source);
    }
    let dest = fleet.path("installed");
    fleet.install(0, "one", &dest).ok();
    fleet.install(0, "two", &dest).fails(1, &["one", "--dest"]);
    fleet.install(0, "two", &dest.join("inner")).fails(1, &["one", "--dest"]);
    fleet.install(0, "one", &fleet.path("elsewhere")).fails(1, &["one", text(&dest)]);
    same(&fleet.path("one"), &dest);
}

#[test]
fn p14_n3_real_packages_are_installed_and_updated() {
    let pairs = corpus();
    if pairs.is_empty() {
        return left_out("real packages", "scripts/corpus.sh has not brought any");
    }
    let fleet = Fleet::whole();
    for (name, old, new) in pairs {
        let (source, dest) = (fleet.path(name), fleet.path(&format!("{name}-installed")));
        crate::common::content::copy(&old, &source);
        fleet.publish(name, &source);
        fleet.install(0, name, &dest).ok();
        same(&old, &dest);
        fs::remove_dir_all(&source).expect("removed");
        crate::common::content::copy(&new, &source);
        fleet.admin(&["package", "refresh", name, "--wait"]).ok();
        let seen = fleet.agent_has(0, name, 2);
        same(&new, &dest);
        let cost = &seen["cost"];
        assert!(number(cost, "wire_bytes") * 3 < number(cost, "total_bytes"), "an update of {name} is a delta: {cost}");
        for role in [&fleet.hub, &fleet.servers[0], &fleet.agents[0]] {
            assert!(role.memory_bytes() <= 128 << 20, "{} holds {} bytes after {name}", role.name, role.memory_bytes());
        }
        for folder in [source, dest] {
            fs::remove_dir_all(folder).expect("removed");
        }
    }
}
