//! One process holds a folder: a second one is refused and disturbs nothing.

use crate::common::command::{consign, text};
use crate::common::content::write;
use crate::common::fleet::{Fleet, Options, newest};

#[test]
fn two_hubs_on_one_folder_are_refused() {
    let fleet = Fleet::hub_only(&Options::default());
    let (dir, source) = (text(&fleet.hub.dir), fleet.path("source"));
    write(&source.join("file"), b"x");
    let any = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    consign(&[&["hub", "run", "--hub", dir][..], &any].concat(), &[]).fails(1, &["in use", "another process"]);
    assert_eq!(newest(&fleet.publish("tools", &source)), 1, "the first goes on, and admins still find it");
    consign(&[&["hub", "init", "--hub", dir][..], &any].concat(), &[]).fails(1, &["not empty"]);
}

#[test]
fn two_agents_on_one_folder_are_refused() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_agent("desk");
    let dir = text(&fleet.agents[0].dir).to_owned();
    consign(&["agent", "run", &dir], &[]).fails(1, &["in use", "another process"]);
    assert!(fleet.agent_status(0).expect("it answers")["connection"]["connected"] == true, "the first goes on");
}

#[test]
fn an_address_in_use_is_named() {
    let fleet = Fleet::hub_only(&Options::default());
    let dir = fleet.path("second");
    let listen = fleet.host.hub();
    let words = ["--listen", &listen, "--admin-listen", "127.0.0.1:0", "--hub", text(&dir)];
    consign(&[&["hub", "init"][..], &words].concat(), &[]).ok();
    consign(&["hub", "run", "--hub", text(&dir)], &[]).fails(1, &[&listen, "in use"]);
}
