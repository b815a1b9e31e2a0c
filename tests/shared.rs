//! Updates of archives that take longer to make than to fetch: a patch makes the front, records bring the back, at the same time.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::content::{same, write};
use crate::common::fleet::{Fleet, Host, Options};
use crate::common::wire::Wire;
use crate::common::{Dice, holds, until};

/// What the agent believes its link to carry, bytes a second: that much of a package is there sooner than it is compressed again.
const BELIEVED: &str = "30000000";
/// What the link carries: so slow that the patch makes its part however busy the machine is.
const PACE: u64 = 1 << 20;

/// Text of words that come again and again: an eighth of it is left when it is compressed.
fn text(version: u64) -> Vec<u8> {
    let (mut dice, mut text) = (Dice::new(5), Vec::new());
    let words: Vec<String> = (0..300).map(|_| format!("{:x} ", dice.roll() >> 36)).collect();
    while text.len() < 24 << 20 {
        if text.len() % 500_000 < 8 {
            text.extend(format!("release {version}\n").bytes());
        }
        text.extend_from_slice(words[usize::try_from(dice.below(300)).expect("small")].as_bytes());
    }
    text
}

/// Writes the archive of a version.
fn release(source: &Path, version: u64) {
    let mut gzip = Command::new("gzip").args(["-9", "-n"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut input = gzip.stdin.take().expect("its input");
    let writing = std::thread::spawn(move || input.write_all(&text(version)).expect("written"));
    let packed = gzip.wait_with_output().expect("ended").stdout;
    writing.join().expect("ended");
    write(&source.join("package.gz"), &packed);
}

struct World {
    fleet: Fleet,
    wire: Wire,
}

/// A site whose agent has the first version; the link is slow from then on.
fn world() -> World {
    let mut fleet = Fleet::hub_only(&Options::default());
    let wire = Wire::to(&fleet.host.server(0));
    fleet.add_server("attic", Some(wire.address()));
    fleet.add_agent("desk");
    let source = fleet.path("source");
    release(&source, 1);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &fleet.path("installed")).ok();
    fleet.reported("tools");
    wire.pace(PACE);
    World { fleet, wire }
}

impl World {
    /// Releases the second version, of which the site server has patches when the agent, which is away meanwhile, comes back.
    fn release(&mut self) -> u64 {
        self.fleet.agents[0].kill();
        let source = self.fleet.path("source");
        release(&source, 2);
        self.fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
        self.fleet.patches_built(0);
        fs::write(self.fleet.agents[0].dir.join("rate"), BELIEVED).expect("written");
        fs::metadata(source.join("package.gz")).expect("there").len()
    }
}

#[test]
fn n3_a_patch_makes_the_front_of_an_archive_while_records_bring_its_back() {
    let mut world = world();
    let packed = world.release();
    let before = world.wire.down_bytes();
    world.fleet.start_agent(0);
    let seen = world.fleet.agent_has(0, "tools", 2);
    same(&world.fleet.path("source"), &world.fleet.path("installed"));
    let cost = &seen["cost"];
    let (made, fetched) = (cost["patched_bytes"].as_u64().expect("a number"), cost["fetched_bytes"].as_u64().expect("a number"));
    assert!(made > packed / 20 && fetched > packed / 4 && made + fetched <= packed, "of {packed} bytes: {cost}");
    let wire = world.wire.down_bytes() - before;
    assert!(wire < packed - made / 2, "{wire} bytes on the wire for {packed}: {cost}");
}

#[test]
fn n4_an_agent_that_is_killed_while_patch_and_records_come_goes_on() {
    let mut world = world();
    let packed = world.release();
    let before = world.wire.down_bytes();
    world.fleet.start_agent(0);
    for part in [6, 3] {
        until("bytes to pass", || holds(world.wire.down_bytes() - before > packed / part, world.wire.down_bytes()));
        world.fleet.agents[0].kill();
        world.fleet.start_agent(0);
    }
    world.fleet.agent_has(0, "tools", 2);
    same(&world.fleet.path("source"), &world.fleet.path("installed"));
    let again = (world.wire.down_bytes() - before).saturating_sub(packed);
    assert!(again < 2 * ((1 << 20) + (2 << 20) + (256 << 10)), "{again} bytes came again");
}

/// The hub has built its patches for another site server, which prefers bytes.
#[test]
fn n3_a_site_server_makes_the_front_of_an_archive_while_records_bring_its_back() {
    let host = Host::new();
    let wire = Wire::to(&host.hub());
    let mut fleet = Fleet::hub_only(&Options { host, hub_address: Some(wire.address().to_owned()), ..Options::default() });
    for (name, prefer) in [("attic", "time"), ("cellar", "bytes")] {
        let number = fleet.servers.len();
        fleet.join_server(name, None);
        fleet.servers[number].with(&["--prefer", prefer]);
        fleet.start_server(number);
    }
    let source = fleet.path("source");
    release(&source, 1);
    fleet.add_package("tools", &source);
    for server in ["attic", "cellar"] {
        fleet.ready("tools", server, 1);
    }
    fleet.servers[0].kill();
    release(&source, 2);
    fleet.admin(&["package", "refresh", "tools"]).ok();
    fleet.ready("tools", "cellar", 2);
    fleet.servers[1].kill();
    wire.pace(PACE);
    fs::write(fleet.servers[0].dir.join("rate"), BELIEVED).expect("written");
    let (before, packed) = (wire.down_bytes(), fs::metadata(source.join("package.gz")).expect("there").len());
    fleet.start_server(0);
    fleet.ready("tools", "attic", 2);
    let update = wire.down_bytes() - before;
    assert!((packed / 4..packed - packed / 20).contains(&update), "{update} bytes from the hub for {packed}");
    fleet.add_agent("desk");
    fleet.install(0, "tools", &fleet.path("installed")).ok();
    same(&source, &fleet.path("installed"));
}
