//! Who may read: a policy, a collection, an open package; absent and forbidden look the same; a role gets what is for it.

use consign::protocol::fleet::{Endpoint, SITE_STATE_PATH};
use consign::protocol::hello::Role;
use serde_json::Value;

use crate::common::command::text;
use crate::common::content::{same, write};
use crate::common::fleet::{Fleet, Options, ask, member_id};

/// A package that nobody may read yet.
fn secret(fleet: &Fleet) -> Value {
    let source = fleet.path("source");
    write(&source.join("file"), b"for some");
    fleet.admin(&["package", "add", "secret", "--source", text(&source), "--wait"]).json()
}

fn absent_until_a_policy_names_it(fleet: &Fleet) {
    let dest = fleet.path("installed");
    secret(fleet);
    let forbidden = fleet.install(0, "secret", &dest).fails(1, &["secret"]);
    let absent = fleet.install(0, "nonsuch", &dest).fails(1, &["nonsuch"]);
    assert_eq!(forbidden.err.replace("secret", "X"), absent.err.replace("nonsuch", "X"), "they look the same");
    assert!(!dest.exists());
    fleet.admin(&["collection", "add", "some", "desk"]).ok();
    fleet.admin(&["policy", "add", "some may", "--package", "secret", "--collection", "some"]).ok();
    fleet.install(0, "secret", &dest).ok();
    same(&fleet.path("source"), &dest);
    fleet.install(1, "secret", &fleet.path("elsewhere")).fails(1, &["secret", "may not"]);
}

#[test]
fn a_package_is_absent_at_the_hub_until_a_policy_names_it() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_agent("desk");
    fleet.add_agent("other");
    absent_until_a_policy_names_it(&fleet);
}

#[test]
fn a_package_is_absent_at_the_site_server_until_a_policy_names_it() {
    let mut fleet = Fleet::whole();
    fleet.add_agent("other");
    absent_until_a_policy_names_it(&fleet);
}

#[test]
fn content_is_refused_to_who_knows_its_name_but_may_not_read_it() {
    let fleet = Fleet::whole();
    let seen = secret(&fleet);
    let manifest = seen["versions"][0]["manifest"].as_str().expect("an id");
    let hub = Endpoint { id: None, address: fleet.host.hub() };
    let server = Endpoint { id: Some(member_id(&fleet.servers[0].dir)), address: fleet.host.server(0) };
    let unknown = format!("b3:{}", "0".repeat(64));
    for place in [&hub, &server] {
        for (path, body) in [("manifest", None), ("chunks", Some(vec![0, 1])), ("recipes", Some(vec![0, 1]))] {
            let get =
                |id: &str| ask(&fleet.agents[0].dir, Role::Agent, place, &format!("/v1/versions/{id}/{path}"), body.clone());
            let refused = get(manifest).expect_err("forbidden");
            assert_eq!(
                refused,
                get(&unknown).expect_err("absent"),
                "absent and forbidden look the same: {path} at {}",
                place.address
            );
            assert_eq!(refused.0, 404);
        }
    }
}

#[test]
fn n7_an_agent_is_not_taken_for_a_site_server_nor_a_site_server_for_an_agent() {
    let fleet = Fleet::whole();
    let (agent, attic) = (&fleet.agents[0].dir, &fleet.servers[0].dir);
    let hub = Endpoint { id: None, address: fleet.host.hub() };
    let server = Endpoint { id: Some(member_id(attic)), address: fleet.host.server(0) };
    assert_eq!(
        ask(agent, Role::Agent, &hub, SITE_STATE_PATH, None).expect_err("not for agents").0,
        404,
        "as if it were not there"
    );
    assert!(ask(attic, Role::SiteServer, &hub, SITE_STATE_PATH, None).is_ok(), "it is for site servers");
    for path in ["/v1/site-map", "/v1/events", "/v1/packages/secret", "/v1/tuf/timestamp.json"] {
        let refused = ask(attic, Role::SiteServer, &server, path, None).expect_err("only its agents may ask a site server");
        assert_eq!(refused.0, 403, "{path}: {refused:?}");
    }
    // An agent that reports codebases.
    let report = br#"{"revision":1,"address":"127.0.0.1:1","codebases":{}}"#.to_vec();
    let refused = ask(agent, Role::Agent, &hub, "/v1/codebases", Some(report)).expect_err("not for agents");
    assert!([404, 415].contains(&refused.0), "{refused:?}");
}

#[test]
fn a_site_server_that_is_pretended_to_be_another_is_found_out() {
    let mut fleet = Fleet::whole();
    fleet.add_server("cellar", None);
    // The machine at attic's address shows cellar's certificate: who asks for attic is not served.
    let wrong = Endpoint { id: Some(member_id(&fleet.servers[1].dir)), address: fleet.host.server(0) };
    let member = consign::net::member::Member::open(&fleet.agents[0].dir, Role::Agent).expect("a member");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a reactor");
    let client = member.client(&wrong, std::sync::Arc::default()).expect("a client");
    let error = runtime.block_on(client.get_bytes("/v1/site-map", 1 << 20)).expect_err("another's certificate").to_string();
    assert!(error.contains("certificate"), "{error}");
}
