//! What is fetched again after a kill or a change of source: at most 1 MiB, and what was in flight.

use std::path::Path;

use crate::common::content::{noise, same, write};
use crate::common::fleet::{Fleet, Options};
use crate::common::wire::Wire;
use crate::common::{holds, until};

/// What may come twice after each interruption: 1 MiB, the record in flight (2 MiB), metadata.
const AGAIN_BYTES_MAX: u64 = (1 << 20) + (2 << 20) + (256 << 10);
/// A pace at which a test meets an install in the middle.
const PACE: u64 = 6 << 20;

/// Content that no compressor makes smaller, so that bytes on the wire are bytes of content.
fn large(source: &Path) -> u64 {
    write(&source.join("large.bin"), &noise(20 << 20, 71));
    for number in 0..40 {
        write(&source.join(format!("more/part{number:02}.dat")), &noise(100_000, 72 + number));
    }
    (20 << 20) + 40 * 100_000
}

fn passed(wire: &Wire, bytes: u64) {
    until("bytes to pass", || holds(wire.down_bytes() >= bytes, wire.down_bytes()));
}

#[test]
fn n4_an_agent_that_is_killed_fetches_at_most_a_mebibyte_again() {
    let mut fleet = Fleet::hub_only(&Options::default());
    let wire = Wire::to(&fleet.host.server(0));
    fleet.add_server("attic", Some(wire.address()));
    fleet.add_agent("desk");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    let content = large(&source);
    fleet.publish("tools", &source);
    wire.pace(PACE);
    let (before, mut kills) = (wire.down_bytes(), 0);
    let installing = fleet.install_in_background(0, "tools", &dest);
    for part in 1..=4 {
        passed(&wire, before + part * content / 5);
        fleet.agents[0].kill();
        if dest.exists() {
            break;
        }
        kills += 1;
        // It goes on by itself.
        fleet.agents[0].start();
    }
    let _ = installing.join().expect("ended");
    assert!(kills > 1, "the pace is too high to meet it in the middle");
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
    let all = wire.down_bytes() - before;
    assert!(all <= content + content / 50 + kills * AGAIN_BYTES_MAX, "{all} bytes for {content} and {kills} kills");
}

#[test]
fn n4_a_source_that_fails_in_mid_file_is_left_for_the_next_one() {
    let mut fleet = Fleet::hub_only(&Options::default());
    let wires = [Wire::to(&fleet.host.server(0)), Wire::to(&fleet.host.server(1))];
    fleet.add_server("attic", Some(wires[0].address()));
    fleet.add_server("cellar", Some(wires[1].address()));
    fleet.add_agent("desk");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    let content = large(&source);
    fleet.publish("tools", &source);
    let before = wires.each_ref().map(Wire::down_bytes);
    let total = || wires[0].down_bytes() - before[0] + wires[1].down_bytes() - before[1];
    for wire in &wires {
        wire.pace(PACE);
    }
    let installing = fleet.install_in_background(0, "tools", &dest);
    until("a third of the content to pass", || holds(total() > content / 3, total()));
    // The server that it fetches from dies, and its wire with it.
    let first = usize::from(wires[1].down_bytes() - before[1] > wires[0].down_bytes() - before[0]);
    wires[first].fail();
    fleet.servers[first].kill();
    installing.join().expect("ended").ok();
    same(&source, &dest);
    assert!(total() <= content + content / 50 + AGAIN_BYTES_MAX, "{} bytes for {content} and one change of source", total());
}

#[test]
fn n4_a_site_server_that_is_killed_fetches_at_most_a_mebibyte_again() {
    let host = crate::common::fleet::Host::new();
    let wire = Wire::to(&host.hub());
    let options = Options { host, hub_address: Some(wire.address().to_owned()), ..Options::default() };
    let mut fleet = Fleet::hub_only(&options);
    fleet.add_server("attic", None);
    let source = fleet.path("source");
    let content = large(&source);
    wire.pace(PACE);
    let (before, kills) = (wire.down_bytes(), 4);
    fleet.add_package("tools", &source);
    for kill in 0..kills {
        passed(&wire, before + (kill + 1) * content / (kills + 1));
        fleet.servers[0].kill();
        fleet.servers[0].start();
    }
    fleet.ready("tools", "attic", 1);
    let all = wire.down_bytes() - before;
    assert!(all <= content + content / 50 + kills * AGAIN_BYTES_MAX, "{all} bytes for {content} and {kills} kills");
    fleet.add_agent("desk");
    fleet.install(0, "tools", &fleet.path("installed")).ok();
    same(&source, &fleet.path("installed"));
}
