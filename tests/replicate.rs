//! From the hub to site servers: by event, whole, resumed, and served while the hub is away.

use crate::common::command::{consign, text};
use crate::common::content::{edit, same, tree, write};
use crate::common::fleet::{Fleet, Options, codebase};
use crate::common::{holds, until};

#[test]
fn p1_p20_n2_a_release_is_ready_at_every_site_server_when_publish_returns() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_server("attic", None);
    fleet.add_server("cellar", None);
    let source = fleet.path("source");
    tree(&source, 61);
    let seen = fleet.publish("tools", &source);
    for server in ["attic", "cellar"] {
        let here = codebase(&seen, server);
        assert_eq!((here["state"].as_str(), here["version"].as_u64()), (Some("ready"), Some(1)), "{seen}");
        assert!(
            here["reported"].as_i64() >= seen["versions"][0]["released"].as_i64(),
            "announced before it was released: {seen}"
        );
    }
    let seen = consign(&["site-server", "status", text(&fleet.servers[0].dir), "--json"], &[]).json();
    assert_eq!((seen["running"].as_bool(), seen["codebases"][0]["state"].as_str()), (Some(true), Some("ready")), "{seen}");
    assert_eq!(seen["waits"].as_array().map(Vec::len), Some(0), "{seen}");
}

#[test]
fn p11_a_site_server_that_was_away_catches_up() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_server("attic", None);
    let source = fleet.path("source");
    tree(&source, 62);
    fleet.publish("tools", &source);
    fleet.servers[0].kill();
    edit(&source, 1);
    fleet.admin(&["package", "refresh", "tools"]).ok();
    fleet.refreshed("tools");
    let other = fleet.path("other");
    write(&other.join("file"), b"x");
    fleet.add_package("other", &other);
    fleet.start_server(0);
    fleet.ready("tools", "attic", 2);
    fleet.ready("other", "attic", 1);
    // One that joins later gets everything too.
    fleet.add_server("cellar", None);
    fleet.ready("tools", "cellar", 2);
}

#[test]
fn p1_n1_an_agent_is_told_why_there_is_no_source_and_goes_on_when_there_is_one() {
    let mut fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 63);
    fleet.publish("tools", &source);
    fleet.servers[0].kill();
    let installing = fleet.install_in_background(0, "tools", &dest);
    let seen = until("the agent to say why it waits", || {
        let connection = fleet.agent_status(0)?["connection"].clone();
        holds(connection["connected"] == false && connection["reason"].is_string(), &connection).map(|()| connection)
    });
    assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains(&fleet.host.server(0))), "{seen}");
    assert!(!installing.is_finished(), "it waits");
    fleet.start_server(0);
    installing.join().expect("ended").ok();
    same(&source, &dest);
}

#[test]
fn p10_the_hub_stands_in_only_where_the_site_says_so() {
    let never = Options { hub_fallback: "never", ..Options::default() };
    let mut fleet = Fleet::hub_only(&never);
    fleet.add_agent("desk");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    write(&source.join("file"), b"x");
    fleet.publish("tools", &source);
    let installing = fleet.install_in_background(0, "tools", &dest);
    let seen = until("the agent to say why it waits", || {
        let seen = fleet.agent_package(0, "tools")?;
        holds(seen["state"] == "waiting" && seen["changes_when"].is_string(), &seen).map(|()| seen)
    });
    assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains("may not use the hub")), "{seen}");
    assert!(!dest.exists());
    // The agent is told the moment that changes.
    fleet.add_server("attic", None);
    installing.join().expect("ended").ok();
    same(&source, &dest);
}

#[test]
fn n7_a_site_goes_on_while_the_hub_is_away() {
    let mut fleet = Fleet::whole();
    fleet.add_agent("other");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 64);
    fleet.publish("tools", &source);
    let secret = fleet.path("secret");
    write(&secret.join("file"), b"x");
    fleet.admin(&["package", "add", "secret", "--source", text(&secret), "--wait"]).ok();
    fleet.hub.kill();
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
    // Rights hold as well.
    fleet.install(1, "secret", &fleet.path("nowhere")).fails(1, &["secret", "may not"]);
    // Also when the site server itself was started meanwhile.
    fleet.servers[0].kill();
    fleet.servers[0].start();
    fleet.install(1, "tools", &fleet.path("second")).ok();
    same(&source, &fleet.path("second"));
    // What happened meanwhile reaches the hub when it is back.
    fleet.start_hub();
    until("the reports to reach the hub", || {
        let seen = fleet.package("tools");
        let installed = seen["installs"].as_array().into_iter().flatten().filter(|one| one["state"] == "installed").count();
        holds(installed == 2, &seen["installs"])
    });
}

#[test]
fn p4_what_a_site_server_holds_can_be_deleted_at_any_time() {
    let mut fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 65);
    fleet.publish("tools", &source);
    fleet.servers[0].kill();
    for cache in ["store", "tables"] {
        let _ = std::fs::remove_dir_all(fleet.servers[0].dir.join(cache));
    }
    fleet.start_server(0);
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
}
