//! What was acknowledged is there after a restart, in good order or not.

use crate::common::content::{edit, same, tree};
use crate::common::fleet::{Fleet, Options, newest};

#[test]
fn everything_is_there_after_each_role_was_killed_and_started_again() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_agent("desk");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 41);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    let before = fleet.package("tools");
    fleet.hub.kill();
    fleet.agents[0].kill();
    fleet.start_hub();
    fleet.start_agent(0);
    let after = fleet.package("tools");
    assert_eq!((&after["id"], &after["versions"]), (&before["id"], &before["versions"]));
    assert_eq!(fleet.admin(&["site", "list"]).json().as_array().map(Vec::len), Some(2));
    fleet.agent_has(0, "tools", 1);
    edit(&source, 1);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    fleet.agent_has(0, "tools", 2);
    same(&source, &dest);
}

#[test]
fn a_role_that_is_asked_to_stop_ends_well() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_agent("desk");
    assert!(fleet.agents[0].stop(), "{}", fleet.agents[0].log_end());
    assert!(fleet.hub.stop(), "{}", fleet.hub.log_end());
    assert!(!fleet.hub.dir.join("run.json").exists(), "nobody looks for a hub that is gone");
    fleet.start_hub();
    fleet.start_agent(0);
    assert_eq!(newest(&fleet.admin(&["status"]).json()), 0);
}
