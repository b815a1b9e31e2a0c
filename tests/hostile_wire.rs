//! Wires that lie, cut and stall, strangers at every door: nothing wrong is ever installed, and everyone else is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::common::content::{noise, same, tree};
use crate::common::fleet::{Fleet, Host, Options};
use crate::common::wire::{Fault, Wire};

/// Places in a connection, bytes from the server: within the handshake, the head of the first answer, metadata, manifest, content.
const STAGES: [u64; 10] = [0, 3, 700, 1_500, 2_600, 4_000, 9_000, 60_000, 600_000, 2_400_000];

/// A fleet with a wire between hub and site server and one between site server and agent.
struct Wired {
    fleet: Fleet,
    hub: Wire,
    server: Wire,
}

impl Wired {
    fn new() -> Self {
        let host = Host::new();
        let (hub, server) = (Wire::to(&host.hub()), Wire::to(&host.server(0)));
        let options = Options { host, hub_address: Some(hub.address().to_owned()), ..Options::default() };
        let mut fleet = Fleet::hub_only(&options);
        fleet.add_server("attic", Some(server.address()));
        fleet.add_agent("desk");
        Self { fleet, hub, server }
    }
}

/// Brings a new package to the agent for each stage; on each of the two wires one connection meets the fault.
fn ends_well_despite(fault: impl Fn(u64) -> Fault) {
    let Wired { fleet, hub, server } = Wired::new();
    for (round, &stage) in (1..).zip(&STAGES) {
        let name = format!("tools{round}");
        let (source, dest) = (fleet.path(&name), fleet.path(&format!("installed{round}")));
        tree(&source, 800 + round);
        for wire in [&hub, &server] {
            wire.arm(fault(stage));
            wire.sever();
        }
        fleet.add_package(&name, &source);
        fleet.ready(&name, "attic", 1);
        fleet.install(0, &name, &dest).ok();
        same(&source, &dest);
        assert_eq!((hub.met(), server.met()), (round, round), "stage {stage} was not met");
    }
}

#[test]
fn a_wire_that_flips_bits_at_every_stage() {
    ends_well_despite(Fault::Flip);
}

#[test]
fn a_wire_that_is_cut_at_every_stage() {
    ends_well_despite(Fault::Cut);
}

#[test]
fn a_wire_that_goes_silent_in_the_middle_is_left() {
    let Wired { fleet, server, .. } = Wired::new();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 82);
    fleet.publish("tools", &source);
    server.arm(Fault::Stall(200_000));
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
    assert_eq!(server.met(), 1);
}

#[test]
fn garbage_at_every_door_disturbs_nobody() {
    let fleet = Fleet::whole();
    let doors = [fleet.host.hub(), fleet.host.admin(), fleet.host.server(0)];
    let clear = b"GET /v1/hello HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
    // A handshake record that promises more than comes, one of the greatest length, and plain noise.
    let cut = [&[0x16, 3, 1, 2, 0, 1][..], &noise(100, 5)].concat();
    let long = [&[0x16, 3, 1, 0xff, 0xff][..], &noise(70_000, 6)].concat();
    let mut held = Vec::new();
    for door in &doors {
        for bytes in [&clear, &cut, &long, &noise(1 << 20, 7), &Vec::new()] {
            let mut stream = TcpStream::connect(door).expect("connected");
            stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
            // It may hang up at once.
            let _ = stream.write_all(bytes);
            held.push(stream);
        }
        held.extend((0..50).map(|_| TcpStream::connect(door).expect("connected")));
    }
    // While all these are held open, everyone else is served.
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 83);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
    for mut stream in held {
        stream.set_read_timeout(Some(Duration::from_mins(1))).expect("set");
        let mut answer = Vec::new();
        // Nobody is answered in clear, and nobody is held for ever: an end or a reset comes in time.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        assert!(!answer.starts_with(b"HTTP"), "an answer without TLS");
    }
}
