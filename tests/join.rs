//! Joining: what a join string allows, and what it does not.

use std::fs;

use crate::common::command::{consign, text};
use crate::common::fleet::{Fleet, Options, SITE};
use crate::common::{holds, until};

fn flipped(join: &str, place: usize) -> String {
    let mut bytes = join.as_bytes().to_vec();
    bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).expect("still text")
}

#[test]
fn a_join_string_that_was_used_is_refused() {
    let fleet = Fleet::hub_only(&Options::default());
    let join = fleet.invite("agent", &[]);
    Fleet::join("agent", &fleet.path("a"), "a", &join, &[]).ok();
    Fleet::join("agent", &fleet.path("b"), "b", &join, &[]).fails(1, &["join string", "used"]);
    assert!(!fleet.path("b").join("member.json").exists());
    // The one that joined may say it again.
    Fleet::join("agent", &fleet.path("a"), "a", &join, &[]).ok();
    assert_eq!(fleet.admin(&["machine", "list"]).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn a_join_string_for_many_has_a_cap() {
    let fleet = Fleet::hub_only(&Options::default());
    let join = fleet.invite("agent", &["--uses", "2", "--site", SITE]);
    Fleet::join("agent", &fleet.path("a"), "a", &join, &[]).ok();
    Fleet::join("agent", &fleet.path("b"), "b", &join, &[]).ok();
    Fleet::join("agent", &fleet.path("c"), "c", &join, &[]).fails(1, &["join string", "used"]);
}

#[test]
fn an_expired_join_string_is_refused() {
    let fleet = Fleet::hub_only(&Options::default());
    let join = fleet.invite("agent", &["--uses", "1000", "--valid", "1s"]);
    let refused = until("the join string to expire", || {
        let dir = fleet.path("late");
        let _ = fs::remove_dir_all(&dir);
        let done = Fleet::join("agent", &dir, "late", &join, &[]);
        holds(done.code != Some(0), "still valid").map(|()| done)
    });
    refused.fails(1, &["join string", "expired", "consign machine invite"]);
}

#[test]
fn garbled_join_strings_are_told_apart_from_wrong_ones() {
    let fleet = Fleet::hub_only(&Options::default());
    let join = fleet.invite("agent", &[]);
    let dir = fleet.path("a");
    Fleet::join("agent", &dir, "a", "hello", &[]).fails(1, &["no join string"]);
    Fleet::join("agent", &dir, "a", &join[..join.len() - 7], &[]).fails(1, &["damaged"]);
    Fleet::join("agent", &dir, "a", &flipped(&join, 30), &[]).fails(1, &["damaged", "consign machine invite"]);
    consign(&["agent", "join", text(&dir)], &[]).fails(1, &["CONSIGN_JOIN"]);
    Fleet::join("agent", &dir, "a", &join, &[]).ok();
}

#[test]
fn a_join_string_of_another_hub_is_not_believed_at_this_address() {
    let mut first = Fleet::hub_only(&Options::default());
    let join = first.invite("agent", &[]);
    first.hub.kill();
    // Another hub takes the first one's place on the network: its authority is not the one that the join string names.
    let second = Fleet::hub_only(&Options { host: first.host, ..Options::default() });
    Fleet::join("agent", &second.path("a"), "a", &join, &[]).fails(1, &[]);
    assert_eq!(second.admin(&["machine", "list"]).json().as_array().map(Vec::len), Some(0));
    assert!(!second.hub.log_end().contains(&join[40..60]), "a secret is in the log");
}

#[test]
fn a_member_of_another_authority_is_turned_away() {
    let mut first = Fleet::hub_only(&Options::default());
    first.add_agent("desk");
    first.hub.kill();
    let second = Fleet::hub_only(&Options { host: first.host, ..Options::default() });
    let reason = until("the agent to say why it is not connected", || {
        let seen = first.agent_status(0)?;
        let connection = &seen["connection"];
        let reason = connection["reason"].as_str().unwrap_or_default().to_owned();
        let told = connection["connected"] == false && reason.contains("certificate") && connection["next_attempt"].is_i64();
        holds(told, connection).map(|()| reason)
    });
    assert!(reason.contains(&first.host.hub()), "{reason}");
    assert_eq!(second.admin(&["machine", "list"]).json().as_array().map(Vec::len), Some(0));
}

#[test]
fn a_join_string_is_for_one_role() {
    let fleet = Fleet::hub_only(&Options::default());
    let agents = fleet.invite("agent", &[]);
    let servers = fleet.invite("site-server", &["--site", SITE]);
    let any = ["--listen", "127.0.0.1:0"];
    Fleet::join("site-server", &fleet.path("s"), "s", &agents, &any).fails(1, &["join string", "another role"]);
    Fleet::join("agent", &fleet.path("a"), "a", &servers, &[]).fails(1, &["join string", "another role"]);
    Fleet::join("agent", &fleet.path("a"), "a", &agents, &[]).ok();
    // A folder keeps its role.
    consign(&["site-server", "run", text(&fleet.path("a"))], &[]).fails(1, &["agent"]);
}
