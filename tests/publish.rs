//! Publishing and refreshing at the hub: versions, states, what is read again.

use std::fs;

use serde_json::Value;

use crate::common::command::text;
use crate::common::content::{edit, tree, write};
use crate::common::fleet::{Fleet, Options, newest};
use crate::common::{holds, until};

fn fleet_with_source() -> (Fleet, std::path::PathBuf) {
    let fleet = Fleet::hub_only(&Options::default());
    let source = fleet.path("source");
    tree(&source, 11);
    (fleet, source)
}

fn files_read(seen: &Value) -> u64 {
    seen["last_refresh"]["files_read"].as_u64().expect("a refresh has ended")
}

#[test]
fn n2_publish_is_done_when_it_returns() {
    let (fleet, source) = fleet_with_source();
    let seen = fleet.publish("tools", &source);
    assert_eq!((newest(&seen), seen["refresh"].as_str()), (1, Some("idle")), "{seen}");
    let version = &seen["versions"][0];
    assert!(version["manifest"].as_str().is_some_and(|id| id.starts_with("b3:")), "{version}");
    assert_eq!(version["files"], 67, "{version}");
    let again = fleet.package(version["manifest"].as_str().map_or("tools", |_| "tools"));
    assert_eq!(again["versions"], seen["versions"]);
    assert_eq!(fleet.admin(&["package", "list"]).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn p2_p12_a_refresh_releases_a_version_only_if_content_changed() {
    let (fleet, source) = fleet_with_source();
    let first = fleet.publish("tools", &source);
    let refresh = || fleet.admin(&["package", "refresh", "tools", "--wait"]).json();
    let seen = refresh();
    assert_eq!((newest(&seen), seen["last_refresh"]["released"].as_u64()), (1, None), "{seen}");
    // The same bytes written again are no new content.
    let file = source.join("share/again.txt");
    write(&file, &fs::read(&file).expect("read"));
    assert_eq!(newest(&refresh()), 1);
    edit(&source, 1);
    let second = refresh();
    assert_eq!((newest(&second), second["last_refresh"]["released"].as_u64()), (2, Some(2)), "{second}");
    assert_eq!((&second["id"], &second["versions"][0]), (&first["id"], &first["versions"][0]), "versions never change");
    assert_ne!(second["versions"][1]["manifest"], first["versions"][0]["manifest"]);
    let all = fleet.admin(&["package", "refresh", "--all", "--wait"]).json();
    assert_eq!(newest(&all[0]), 2, "{all}");
}

#[test]
fn p6_unchanged_files_are_not_read_again_unless_asked_for() {
    let (fleet, source) = fleet_with_source();
    let first = fleet.publish("tools", &source);
    assert_eq!(files_read(&first), 67);
    // Files that changed less than two seconds before they were read are read once more.
    until("a refresh to read nothing", || {
        let seen = fleet.admin(&["package", "refresh", "tools", "--wait"]).json();
        holds(files_read(&seen) == 0, &seen["last_refresh"])
    });
    write(&source.join("data/part3/file03.dat"), b"changed");
    let seen = fleet.admin(&["package", "refresh", "tools", "--wait"]).json();
    assert_eq!((newest(&seen), files_read(&seen)), (2, 1), "{seen}");
    let seen = fleet.admin(&["package", "refresh", "tools", "--verify", "--wait"]).json();
    assert_eq!((newest(&seen), files_read(&seen)), (2, 67), "{seen}");
}

#[test]
fn p5_publishing_returns_at_once_and_is_seen_working() {
    let (fleet, source) = fleet_with_source();
    let queued = fleet.add_package("tools", &source);
    assert_eq!(queued["versions"].as_array().map(Vec::len), Some(0), "{queued}");
    let state = queued["refresh"].as_str().expect("a state");
    assert!(["queued", "hashing"].contains(&state), "{queued}");
    assert_eq!(newest(&fleet.refreshed("tools")), 1);
}

#[test]
fn p27_a_name_that_is_taken_is_refused_with_both_ids() {
    let (fleet, source) = fleet_with_source();
    let first = fleet.publish("tools", &source);
    let other = fleet.path("other");
    write(&other.join("file"), b"x");
    let id = first["id"].as_str().expect("an id");
    fleet.admin(&["package", "add", "tools", "--source", text(&other)]).fails(1, &["tools", id]);
    assert_eq!(fleet.package("tools")["source"], text(&source));
}

#[test]
fn a_wait_that_is_too_short_ends_with_code_3_and_the_reason() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.join_server("attic", None);
    let source = fleet.path("source");
    write(&source.join("file"), b"x");
    let words = ["package", "add", "tools", "--source", text(&source), "--open", "--wait", "--timeout", "1"];
    fleet.admin(&words).fails(3, &["not ready", "attic", "assigned"]);
    assert_eq!(newest(&fleet.package("tools")), 1, "the work goes on");
}

#[test]
fn p28_p18_status_shows_what_waits() {
    let (fleet, source) = fleet_with_source();
    fleet.publish("tools", &source);
    let seen = fleet.admin(&["status"]).json();
    assert_eq!((seen["packages"].as_u64(), seen["sites"].as_u64()), (Some(1), Some(2)), "{seen}");
    for wait in seen["waits"].as_array().expect("a list") {
        assert!(wait["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "a wait without reason: {wait}");
        assert!(wait["until"].is_i64() || wait["depth"].is_u64(), "a wait without end or depth: {wait}");
    }
}
