//! Servers that lie with a good certificate, and machines that ask nonsense with one: nothing wrong is believed, and nobody else is disturbed.

use std::path::Path;

use consign::protocol::fleet::Endpoint;
use consign::protocol::hello::Role;
use consign_store::chunk::record::encode;
use consign_store::chunk::{ChunkKind, VerifiedChunk};

use crate::common::content::{edit, noise, same, tree};
use crate::common::fleet::{Fleet, Host, Options, ask, member_id};
use crate::common::liar::{Liar, Lie};
use crate::common::{holds, until};

/// A hub, a liar in front of the site server `attic`, and an agent that is told of the liar only.
fn fleet_with_liar(hub_fallback: &'static str) -> (Fleet, Liar) {
    let options = Options { host: Host::new(), hub_fallback, ..Options::default() };
    let mut fleet = Fleet::hub_only(&options);
    let liar = Liar::before(&fleet.path("attic"), &options.host.server(0));
    liar.ask_as(&fleet.path("desk"));
    fleet.add_server("attic", Some(liar.address()));
    fleet.add_agent("desk");
    (fleet, liar)
}

fn flip(body: &[u8], at: usize) -> Vec<u8> {
    let mut body = body.to_vec();
    body[at] ^= 1;
    body
}

fn flipped(body: &[u8]) -> Vec<u8> {
    flip(body, body.len() / 2)
}

fn flipped_at<const AT: usize>(body: &[u8]) -> Vec<u8> {
    flip(body, AT)
}

fn cut(body: &[u8]) -> Vec<u8> {
    body[..body.len() * 2 / 3].to_vec()
}

fn twice(body: &[u8]) -> Vec<u8> {
    [body, body].concat()
}

fn nothing(_: &[u8]) -> Vec<u8> {
    Vec::new()
}

fn garbage(body: &[u8]) -> Vec<u8> {
    noise(body.len(), 5)
}

/// More than anybody may answer, as the JSON of a list.
fn endless(_: &[u8]) -> Vec<u8> {
    let mut body = b"[0".to_vec();
    body.resize(80 << 20, b' ');
    body
}

/// A record that is right in itself, of content that nobody asked for.
fn foreign(kind: ChunkKind) -> Vec<u8> {
    encode(kind, &[VerifiedChunk::hash(kind, noise(40_000, 6).into())], 3).expect("encoded").to_vec()
}

fn foreign_chunks(body: &[u8]) -> Vec<u8> {
    [&foreign(ChunkKind::Content), body].concat()
}

fn foreign_pages(body: &[u8]) -> Vec<u8> {
    [&foreign(ChunkKind::RecipePage), body].concat()
}

/// What is lied about, and how. A record starts with magic 0, version 4, codec 7, kind 12, chunks 16, raw length 20, payload length 24.
const LIES: [(&str, Lie); 33] = [
    ("/manifest", flipped),
    ("/manifest", cut),
    ("/manifest", twice),
    ("/manifest", nothing),
    ("/manifest", garbage),
    ("/manifest", endless),
    ("/chunks", flipped),
    ("/chunks", cut),
    ("/chunks", twice),
    ("/chunks", nothing),
    ("/chunks", garbage),
    ("/chunks", foreign_chunks),
    ("/chunks", flipped_at::<0>),
    ("/chunks", flipped_at::<5>),
    ("/chunks", flipped_at::<7>),
    ("/chunks", flipped_at::<12>),
    ("/chunks", flipped_at::<16>),
    ("/chunks", flipped_at::<22>),
    ("/chunks", flipped_at::<24>),
    ("/chunks", flipped_at::<27>),
    ("/chunks", flipped_at::<70>),
    ("/recipes", flipped),
    ("/recipes", cut),
    ("/recipes", nothing),
    ("/recipes", garbage),
    ("/recipes", foreign_pages),
    ("/recipes", flipped_at::<24>),
    ("/tuf/", flipped),
    ("/tuf/", cut),
    ("/tuf/", endless),
    ("/packages/", garbage),
    ("/packages/", nothing),
    ("/packages/", endless),
];

#[test]
fn n7_n5_a_site_server_that_lies_is_left_for_the_hub_whatever_it_lies_about() {
    let (fleet, liar) = fleet_with_liar("always");
    let mut told = 0;
    for (round, (part, lie)) in (1..).zip(LIES) {
        let name = format!("tools{round}");
        let (source, dest) = (fleet.path(&name), fleet.path(&format!("installed{round}")));
        tree(&source, 900 + round);
        fleet.publish(&name, &source);
        liar.lie(part, lie);
        fleet.install(0, &name, &dest).ok();
        same(&source, &dest);
        let before = std::mem::replace(&mut told, liar.repent());
        assert!(told > before, "lie {round}, about {part}, was not told");
    }
}

#[test]
fn n7_n5_an_only_site_server_that_lies_is_blamed_until_it_tells_the_truth() {
    let (fleet, liar) = fleet_with_liar("never");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 95);
    fleet.publish("tools", &source);
    liar.lie("/chunks", flipped);
    let installing = fleet.install_in_background(0, "tools", &dest);
    let reason = until("the agent to say why it does not install", || {
        let seen = fleet.agent_package(0, "tools")?;
        seen["reason"].as_str().map(str::to_owned).ok_or_else(|| seen.to_string())
    });
    assert!(reason.contains(liar.address()), "{reason}");
    assert!(!dest.exists(), "something was installed");
    assert!(liar.repent() > 0);
    installing.join().expect("ended").ok();
    same(&source, &dest);
}

#[test]
fn n3_n7_patches_that_are_wrong_cost_bytes_and_nothing_else() {
    let (fleet, liar) = fleet_with_liar("never");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 96);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    let mut told = 0;
    // The list of patches and each patch are answers below this path.
    for (version, lie) in (2..).zip([flipped as Lie, cut, nothing, garbage, twice]) {
        liar.lie("/patches/", lie);
        edit(&source, version);
        fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
        fleet.agent_has(0, "tools", version);
        same(&source, &dest);
        let before = std::mem::replace(&mut told, liar.repent());
        assert!(told > before, "nobody asked for patches to version {version}");
    }
}

/// From here on a server may hang up before it has read the whole request, having answered or not.
const LONG_BYTES: usize = 100_000;

/// Asks for `path` at `server` with each of the bodies; every answer is a refusal that has a code.
fn refuses(dir: &Path, server: &Endpoint, path: &str, bodies: &[Vec<u8>]) {
    for (number, body) in bodies.iter().enumerate() {
        let refused = ask(dir, Role::Agent, server, path, Some(body.clone()));
        let (status, code) = refused.expect_err(&format!("body {number} for {path} was taken at {}", server.address));
        let hung_up = status == 0 && body.len() >= LONG_BYTES;
        assert!(hung_up || (400..500).contains(&status) && !code.is_empty(), "{status} {code} for body {number} of {path}");
    }
}

#[test]
fn n7_damaged_requests_are_refused_and_disturb_nobody() {
    let fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 97);
    let manifest = fleet.publish("tools", &source)["versions"][0]["manifest"].as_str().expect("an id").to_owned();
    let agent = &fleet.agents[0].dir;
    let hub = Endpoint { id: None, address: fleet.host.hub() };
    let attic = Endpoint { id: Some(member_id(&fleet.servers[0].dir)), address: fleet.host.server(0) };
    // Ranges: cut-off number, number too long, empty range, overflow, behind the end, too long a list.
    let ranges = [
        vec![0x80],
        vec![0xff; 6],
        vec![0, 0],
        vec![0xff, 0xff, 0xff, 0xff, 0x0f, 1],
        vec![0xff, 0xff, 0x7f, 1],
        vec![1; (512 << 10) + 1],
        noise(10_000, 8),
    ];
    let json = [Vec::new(), b"{".to_vec(), b"[]".to_vec(), noise(1000, 9), vec![b'['; LONG_BYTES], vec![b' '; 70 << 20]];
    for server in [&hub, &attic] {
        for part in ["chunks", "recipes"] {
            refuses(agent, server, &format!("/v1/versions/{manifest}/{part}"), &ranges);
        }
        refuses(agent, server, "/v1/reports", &json);
    }
    refuses(agent, &hub, "/v1/enrol", &json);
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
    until("hub and site server to say that all is well", || {
        let seen = fleet.package("tools");
        holds(seen["codebases"][0]["state"] == "ready", &seen)
    });
}
