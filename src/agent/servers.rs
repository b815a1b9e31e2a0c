//! Which server an agent turns to, and to whom next.

use crate::domain::MachineId;
use crate::protocol::fleet::{Endpoint, HubFallback, SiteMap};

/// Returns the servers for `machine`, best first: the site's servers in an order that spreads machines evenly and moves few of them when a
/// server comes or goes, then the hub as far as the map lets it serve the site.
#[must_use]
pub(super) fn order(map: &SiteMap, machine: MachineId) -> Vec<Endpoint> {
    let mut servers = map.servers.clone();
    servers.sort_by_cached_key(|server| weight(machine, server));
    let hub = match map.hub_fallback {
        HubFallback::Always => true,
        // Where there is no site server the hub answers for the site, be it only to say why there is nothing to fetch.
        HubFallback::WhenNone | HubFallback::Never => servers.is_empty(),
    };
    if hub {
        servers.push(map.hub.clone());
    }
    servers
}

/// Says why `server` comes first for this machine.
#[must_use]
pub(super) fn why(map: &SiteMap, server: &Endpoint) -> String {
    match (server.id, map.servers.len()) {
        (None, 0) => format!("site {} has no site server, so the hub serves it", map.site_name),
        (None, _) => format!("no site server of {} can be reached, and the hub may stand in", map.site_name),
        (Some(_), 1) => format!("the only site server of {}", map.site_name),
        (Some(_), many) => format!("one of {many} site servers of {}, by this machine's id", map.site_name),
    }
}

/// Rendezvous hashing: each machine ranks all servers on its own, and they share the machines evenly.
fn weight(machine: MachineId, server: &Endpoint) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("consign 2026-11 v1 server choice");
    hasher.update(machine.0.as_bytes());
    hasher.update(server.id.map_or([0; 16], |id| *id.0.as_bytes()).as_slice());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SiteId;

    fn id(number: u128) -> MachineId {
        MachineId(uuid::Uuid::from_u128(number))
    }

    fn map(servers: u128, hub_fallback: HubFallback) -> SiteMap {
        let endpoint = |n: u128| Endpoint { id: Some(id(n)), address: format!("s{n}:1") };
        SiteMap {
            site: SiteId(uuid::Uuid::nil()),
            site_name: "berlin".parse().unwrap(),
            servers: (1..=servers).map(endpoint).collect(),
            hub: Endpoint { id: None, address: "hub:1".to_owned() },
            hub_fallback,
        }
    }

    #[test]
    fn machines_spread_evenly_and_stay_where_they_are() {
        let four = map(4, HubFallback::Never);
        let five = map(5, HubFallback::Never);
        let mut counts = [0_u32; 5];
        let mut moved = 0;
        for machine in 1000..3000 {
            let before = order(&four, id(machine));
            let after = order(&five, id(machine));
            assert_eq!(before, order(&four, id(machine)));
            assert_eq!(before.len(), 4);
            counts[usize::try_from(after[0].id.unwrap().0.as_u128()).unwrap() - 1] += 1;
            // Who moves, moves to the new server.
            if after[0] != before[0] {
                assert_eq!(after[0].id, Some(id(5)));
                moved += 1;
            }
        }
        assert!(counts.iter().all(|&count| (300..500).contains(&count)), "{counts:?}");
        assert_eq!(moved, counts[4]);
    }

    #[test]
    fn the_hub_stands_in_only_as_the_map_says() {
        let hub_comes = |servers, fallback| order(&map(servers, fallback), id(7)).iter().any(|e| e.id.is_none());
        assert!(hub_comes(2, HubFallback::Always));
        assert!(!hub_comes(2, HubFallback::WhenNone));
        assert!(!hub_comes(2, HubFallback::Never));
        assert!(hub_comes(0, HubFallback::WhenNone) && hub_comes(0, HubFallback::Never));
        assert_eq!(order(&map(2, HubFallback::Always), id(7)).last().unwrap().id, None);
    }
}
