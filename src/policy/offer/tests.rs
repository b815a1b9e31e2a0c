//! Offers, case by case.

use uuid::Uuid;

use super::*;
use crate::domain::Millis;
use CodebaseState::{Assigned, Failed, Fetching, Ready, Unknown, Verifying};

fn machine(n: u128) -> MachineId {
    MachineId(Uuid::from_u128(n))
}

fn server(n: u128, state: CodebaseState) -> Source {
    Source { id: machine(n), name: format!("s{n}").parse().unwrap(), address: Some(format!("s{n}:443")), state }
}

fn hub() -> Endpoint {
    Endpoint { id: None, address: "hub:443".into() }
}

fn offer(agent: u128, version: Option<u32>, servers: &[Source], hub_fallback: HubFallback) -> Offer {
    let (package, site) = ("next".parse().unwrap(), "berlin".parse().unwrap());
    let hub = hub();
    codebases_for(&Ask {
        machine: machine(agent),
        package: &package,
        site: &site,
        version,
        note: None,
        servers,
        hub: &hub,
        hub_fallback,
    })
}

fn fetching(done_bytes: u64) -> CodebaseState {
    Fetching { done_bytes, total_bytes: 100 }
}

fn failed() -> CodebaseState {
    Failed { reason: "the disk is full".into(), next_attempt: Millis(0) }
}

#[test]
fn sources_by_fallback_and_state() {
    use HubFallback::{Always, Never, WhenNone};
    let s = |n| Endpoint { id: Some(machine(n)), address: format!("s{n}:443") };
    let ready = [server(1, Ready)];
    let fetching = [server(1, fetching(5))];
    let cases: [(&str, &[Source], HubFallback, Vec<Endpoint>); 9] = [
        ("no server, never", &[], Never, vec![]),
        ("no server, when none", &[], WhenNone, vec![hub()]),
        ("no server, always", &[], Always, vec![hub()]),
        ("fetching, never", &fetching, Never, vec![]),
        ("fetching, when none", &fetching, WhenNone, vec![]),
        ("fetching, always", &fetching, Always, vec![hub()]),
        ("ready, never", &ready, Never, vec![s(1)]),
        ("ready, when none", &ready, WhenNone, vec![s(1)]),
        ("ready, always: the hub is the last", &ready, Always, vec![s(1), hub()]),
    ];
    for (what, servers, fallback, expected) in cases {
        let offer = offer(7, Some(3), servers, fallback);
        assert_eq!(offer.codebases, expected, "{what}");
        assert_eq!(offer.state == Ready, !expected.is_empty(), "{what}: ready if and only if there is a codebase");
        assert_eq!(offer.reason.is_empty() && offer.changes_when.is_empty(), !expected.is_empty(), "{what}: {offer:?}");
    }
}

#[test]
fn without_a_codebase_the_server_nearest_to_ready_gives_the_reason() {
    let cases = [
        (vec![server(1, Assigned), server(2, failed())], Assigned, "s1 has not begun to fetch version 3 of next"),
        (vec![server(1, failed()), server(2, Unknown)], failed(), "s1 could not fetch version 3 of next: the disk is full"),
        (
            vec![server(1, fetching(5)), server(2, fetching(90)), server(3, Assigned)],
            fetching(90),
            "s2 has fetched 90 of 100 bytes",
        ),
        (vec![server(1, fetching(99)), server(2, Verifying)], Verifying, "s2 is verifying"),
        (vec![server(1, Unknown)], Unknown, "does not know"),
        (vec![Source { address: None, ..server(1, Ready) }], Assigned, "has not said where it listens"),
        (vec![], Assigned, "no site server is assigned to site berlin"),
    ];
    for (servers, state, reason) in cases {
        let offer = offer(7, Some(3), &servers, HubFallback::Never);
        assert_eq!((&offer.state, offer.codebases.len()), (&state, 0), "{reason}");
        assert!(offer.reason.contains(reason), "{offer:?}");
        assert!(!offer.changes_when.is_empty(), "{offer:?}");
    }
    let again = offer(7, Some(3), &[server(1, failed())], HubFallback::Never).changes_when;
    assert_eq!(again, "s1 tries again, at 1970-01-01T00:00:00Z");
}

#[test]
fn before_the_first_release_nothing_is_offered_not_even_by_the_hub() {
    let offer = offer(7, None, &[server(1, Ready)], HubFallback::Always);
    assert_eq!((offer.state, offer.codebases.len()), (Assigned, 0));
    assert!(offer.reason.contains("no released version yet"), "{}", offer.reason);
}

#[test]
fn agents_spread_over_equal_servers_and_each_keeps_its_order() {
    let servers: Vec<_> = (1..=4).map(|n| server(n, Ready)).collect();
    let reversed: Vec<_> = servers.iter().rev().cloned().collect();
    let mut firsts = std::collections::BTreeMap::<_, u32>::new();
    for agent in 0..1_000 {
        let order = offer(agent, Some(1), &servers, HubFallback::Never).codebases;
        assert_eq!(order.len(), 4);
        assert_eq!(order, offer(agent, Some(1), &reversed, HubFallback::Never).codebases, "whatever order they are listed in");
        *firsts.entry(order[0].id).or_default() += 1;
        // A server that goes away moves only those who had it first.
        let fewer: Vec<_> = servers.iter().filter(|server| Some(server.id) != order[3].id).cloned().collect();
        assert_eq!(offer(agent, Some(1), &fewer, HubFallback::Never).codebases, order[..3]);
    }
    assert!(firsts.values().all(|count| (150..=350).contains(count)), "{firsts:?}");
}
