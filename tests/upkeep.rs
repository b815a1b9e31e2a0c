//! Stores that are looked after by the servers that serve them: what no version needs goes, what the disk loses comes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign::net::client::BodyStream;
use consign::net::fetch::fetch_manifest;
use consign::net::member::Member;
use consign::protocol::fleet::{Endpoint, RANGES_TYPE};
use consign::protocol::hello::Role;
use consign::protocol::ranges::encode;
use consign_store::Store;
use consign_store::chunk::record::{RecordSplitter, VerifiedRecord};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::common::command::{consign, text};
use crate::common::content::{noise, same, tree, write};
use crate::common::fleet::{Fleet, Options, codebase, member_id, newest};
use crate::common::{holds, until};

/// What stays; with what the sockets hold of it, much is left to be sent.
const LIVE_BYTES: usize = 24 << 20;
/// What goes: more than stays, so that the pack they share is poor.
const DEAD_BYTES: usize = 36 << 20;
/// Garbage is collected all the time and waits for nothing but leases.
const EAGER: [&str; 6] = ["--gc-every", "1", "--gc-grace", "0", "--upkeep-rate", "1G"];
/// Everything is read all the time.
const WATCHFUL: [&str; 4] = ["--scrub-every", "1", "--upkeep-rate", "1G"];
/// Versions of a package that a site server holds.
const HELD: u64 = 8;

/// What a site server or the hub shows of its upkeep.
fn upkeep_of_server(fleet: &Fleet) -> Value {
    consign(&["site-server", "status", text(&fleet.servers[0].dir), "--json"], &[]).json()["upkeep"].clone()
}

fn upkeep_of_hub(fleet: &Fleet) -> Value {
    fleet.admin(&["status"]).json()["upkeep"].clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// A download of a whole version that is read only as far as its test wants.
struct Download {
    runtime: Runtime,
    body: BodyStream,
    splitter: RecordSplitter,
    raw_bytes: u64,
}

impl Download {
    /// Begins one with the identity of the member in `dir`.
    fn begin(dir: &Path, role: Role, server: &Endpoint, version: &Value) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a reactor");
        let client = Member::open(dir, role).expect("a member").client(server, Arc::default()).expect("a client");
        let id = version["manifest"].as_str().expect("an id").to_owned();
        let into = tempfile::tempdir().expect("folder");
        let body = runtime.block_on(async {
            let place = into.path().join("manifest");
            let (manifest, _) =
                fetch_manifest(&client, id.parse().expect("an id"), number(&version["manifest_len"]), None, &place)
                    .await
                    .expect("a manifest");
            let chunks = u32::try_from(manifest.totals().chunks).expect("few");
            let ranges = encode(std::slice::from_ref(&(0..chunks)));
            client.post_stream(&format!("/v1/versions/{id}/chunks"), RANGES_TYPE, ranges.into()).await.expect("an answer")
        });
        let mut begun = Self { runtime, body, splitter: RecordSplitter::default(), raw_bytes: 0 };
        assert!(begun.read(), "nothing came");
        begun
    }

    /// Takes what came next, verified; false at the end.
    fn read(&mut self) -> bool {
        let Some(data) = self.runtime.block_on(self.body.chunk()).expect("the download goes on") else { return false };
        self.splitter.push(&data);
        while let Some(record) = self.splitter.next_record().expect("records") {
            let record = VerifiedRecord::decode(record).expect("verified");
            self.raw_bytes += record.chunks().map(|chunk| chunk.bytes().len() as u64).sum::<u64>();
        }
        true
    }

    /// Takes the rest, and expects that it is all there.
    fn finish(mut self) {
        while self.read() {}
        assert_eq!((self.splitter.pending(), self.raw_bytes), (0, LIVE_BYTES as u64));
    }
}

/// Expects that `make_garbage` and its collection disturb no download: one that runs already defers it, one that begins later goes on.
fn goes_on(begin: impl Fn() -> Download, make_garbage: impl FnOnce(), upkeep: impl Fn() -> Value) {
    let earlier = begin();
    let before = number(&upkeep()["gc"]["freed_bytes"]);
    make_garbage();
    until("the garbage to be found", || {
        let seen = upkeep();
        holds(seen["gc"]["last"]["waiting_bytes"].as_u64() > Some(DEAD_BYTES as u64 / 2), &seen)
    });
    let again = number(&upkeep()["gc"]["last"]["started"]);
    until("another run", || {
        let seen = upkeep();
        holds(seen["gc"]["last"]["started"].as_u64() > Some(again), &seen)
    });
    assert_eq!(number(&upkeep()["gc"]["freed_bytes"]), before, "taken from under a download");
    let later = begin();
    earlier.finish();
    until("the garbage to go", || {
        let seen = upkeep();
        holds(number(&seen["gc"]["freed_bytes"]) >= before + DEAD_BYTES as u64 / 4 * 3, &seen)
    });
    later.finish();
}

/// Publishes what stays and versions of another package, of which a site server holds no more; the next one pushes out the large first.
fn full_site(fleet: &mut Fleet, flags: &[&str]) -> PathBuf {
    fleet.join_server("attic", None);
    fleet.servers[0].with(flags);
    fleet.start_server(0);
    fleet.add_agent("desk");
    let (live, source) = (fleet.path("live"), fleet.path("source"));
    write(&live.join("file"), &noise(LIVE_BYTES, 1));
    write(&source.join("file"), &noise(DEAD_BYTES, 2));
    fleet.publish("live", &live);
    fleet.publish("tools", &source);
    for version in 2..=HELD {
        write(&source.join("file"), format!("version {version}").as_bytes());
        fleet.admin(&["package", "refresh", "tools"]).ok();
        fleet.refreshed("tools");
    }
    fleet.ready("tools", "attic", HELD);
    source
}

fn push_out(fleet: &Fleet, source: &Path) {
    write(&source.join("file"), b"the version that is one too many");
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
}

fn packs_bytes(store: &Path) -> u64 {
    let packs = fs::read_dir(store.join("packs")).expect("listed");
    packs.map(|pack| pack.expect("listed").metadata().map_or(0, |pack| pack.len())).sum()
}

#[test]
fn what_no_version_of_a_site_needs_goes_while_others_are_downloaded() {
    let mut fleet = Fleet::hub_only(&Options::default());
    let source = full_site(&mut fleet, &EAGER);
    let version = fleet.package("live")["versions"][0].clone();
    let server = Endpoint { id: Some(member_id(&fleet.servers[0].dir)), address: fleet.host.server(0) };
    let tables = fleet.servers[0].dir.join("tables");
    let manifests = || {
        fs::read_dir(&tables)
            .expect("listed")
            .filter(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|ending| ending == "manifest")))
            .count() as u64
    };
    goes_on(
        || Download::begin(&fleet.agents[0].dir, Role::Agent, &server, &version),
        || push_out(&fleet, &source),
        || upkeep_of_server(&fleet),
    );
    assert!(packs_bytes(&fleet.servers[0].dir.join("store")) < (LIVE_BYTES + DEAD_BYTES / 2) as u64);
    assert_eq!(manifests(), HELD + 1, "what a version left beside the store stays");
    let dest = fleet.path("installed");
    fleet.install(0, "live", &dest).ok();
    same(&fleet.path("live"), &dest);
    fleet.install(0, "tools", &fleet.path("tools")).ok();
    same(&source, &fleet.path("tools"));
}

#[test]
fn what_a_refresh_left_at_the_hub_goes_while_others_are_downloaded() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.hub.kill();
    fleet.hub.with(&EAGER);
    fleet.start_hub();
    fleet.add_server("attic", None);
    let (live, source) = (fleet.path("live"), fleet.path("source"));
    write(&live.join("file"), &noise(LIVE_BYTES, 3));
    write(&source.join("file"), &noise(DEAD_BYTES, 4));
    fleet.publish("live", &live);
    let version = fleet.package("live")["versions"][0].clone();
    let hub = Endpoint { id: None, address: fleet.host.hub() };
    let cut_short = || {
        // The first reading does not come to an end: what it stored of `file` is of no use to the version that is released.
        let endless = fs::File::create(source.join("zeros")).expect("made");
        endless.set_len(1 << 40).expect("sparse");
        let before = packs_bytes(&fleet.hub.dir.join("store"));
        fleet.add_package("tools", &source);
        until("the content to be stored", || {
            let stored = packs_bytes(&fleet.hub.dir.join("store"));
            holds(stored >= before + DEAD_BYTES as u64 / 4 * 3, stored)
        });
        write(&source.join("file"), b"small");
        endless.set_len(0).expect("ended");
        let seen = fleet.refreshed("tools");
        assert_eq!((seen["refresh"].as_str(), newest(&seen)), (Some("idle"), 1), "{seen}");
    };
    goes_on(|| Download::begin(&fleet.servers[0].dir, Role::SiteServer, &hub, &version), cut_short, || upkeep_of_hub(&fleet));
    assert!(packs_bytes(&fleet.hub.dir.join("store")) < (LIVE_BYTES + DEAD_BYTES / 2) as u64);
    fleet.ready("tools", "attic", 1);
}

#[test]
fn a_site_server_killed_while_it_collects_goes_on() {
    let mut fleet = Fleet::hub_only(&Options::default());
    let source = full_site(&mut fleet, &EAGER);
    fleet.servers[0].kill();
    // So slow that every kill comes in the middle.
    fleet.servers[0].with(&["--gc-every", "1", "--gc-grace", "0", "--upkeep-rate", "3M"]);
    fleet.start_server(0);
    push_out(&fleet, &source);
    let store = fleet.servers[0].dir.join("store");
    for _ in 0..3 {
        let full = packs_bytes(&store);
        until("copying to begin", || holds(packs_bytes(&store) > full + (3 << 20), packs_bytes(&store)));
        fleet.servers[0].kill();
        fleet.start_server(0);
        fleet.ready("live", "attic", 1);
    }
    fleet.servers[0].kill();
    fleet.servers[0].with(&EAGER);
    fleet.start_server(0);
    until("the garbage to go", || {
        let bytes = packs_bytes(&store);
        holds(bytes < (LIVE_BYTES + DEAD_BYTES / 2) as u64, bytes)
    });
    fleet.install(0, "live", &fleet.path("installed")).ok();
    same(&fleet.path("live"), &fleet.path("installed"));
    fleet.servers[0].kill();
    consign(&["store", "scrub", text(&store), "--json"], &[]).ok();
}

/// Flips one bit in the content of each pack of a store, where it lies.
fn flip(store: &Path) {
    for pack in fs::read_dir(store.join("packs")).expect("listed") {
        let path = pack.expect("listed").path();
        let place = fs::metadata(&path).expect("there").len() / 2;
        let file = fs::File::options().read(true).write(true).open(&path).expect("opened");
        let mut byte = [0];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, place).expect("read");
        byte[0] ^= 0x10;
        std::os::unix::fs::FileExt::write_all_at(&file, &byte, place).expect("written");
    }
}

#[test]
fn a_bit_that_flips_at_a_site_server_is_found_and_healed_from_the_hub() {
    let mut fleet = Fleet::whole();
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    tree(&source, 91);
    fleet.publish("tools", &source);
    assert!(fleet.servers[0].stop());
    let store = fleet.servers[0].dir.join("store");
    Store::open(&store).expect("opened").seal().expect("sealed");
    fleet.servers[0].with(&WATCHFUL);
    fleet.start_server(0);
    fleet.ready("tools", "attic", 1);
    fleet.hub.kill();
    flip(&store);
    let dir = fleet.servers[0].dir.clone();
    let status = || consign(&["site-server", "status", text(&dir), "--json"], &[]).json();
    let seen = until("the damage to be found", || {
        let seen = status();
        let here = seen["codebases"][0].clone();
        let found = here["state"] != "ready" && here["reason"].is_string() && seen["upkeep"]["damaged_chunks"] != 0;
        holds(found, &seen).map(|()| seen)
    });
    assert!(
        seen["waits"].as_array().is_some_and(|waits| waits.iter().any(|wait| wait["what"] == "version 1 of tools")),
        "{seen}"
    );
    fleet.start_hub();
    until("the damage to be healed", || {
        let seen = status();
        holds(seen["codebases"][0]["state"] == "ready" && seen["upkeep"]["damaged_chunks"] == 0, &seen)
    });
    fleet.ready("tools", "attic", 1);
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
}

/// A hub that reads everything again all the time, with a package; and its source.
fn watchful_hub(seed: u64) -> (Fleet, PathBuf) {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.hub.kill();
    fleet.hub.with(&WATCHFUL);
    fleet.start_hub();
    let source = fleet.path("source");
    tree(&source, seed);
    fleet.publish("tools", &source);
    (fleet, source)
}

fn until_healed(fleet: &Fleet) {
    until("the damage to be healed", || {
        let seen = upkeep_of_hub(fleet);
        holds(seen["damaged"].as_array().is_some_and(Vec::is_empty) && seen["damaged_chunks"] == 0, &seen)
    });
}

#[test]
fn a_bit_that_flips_at_the_hub_is_healed_from_the_source_by_itself() {
    let (mut fleet, _) = watchful_hub(92);
    flip(&fleet.hub.dir.join("store"));
    until("the damage to be found and the source to be read", || {
        holds(fleet.hub.has_logged("taking what its source still has"), upkeep_of_hub(&fleet))
    });
    until_healed(&fleet);
    assert_eq!(newest(&fleet.package("tools")), 1, "nothing is released");
    fleet.add_server("attic", None);
    fleet.ready("tools", "attic", 1);
}

#[test]
fn a_bit_that_flips_at_the_hub_is_shown_where_the_source_no_longer_has_it() {
    let (mut fleet, source) = watchful_hub(93);
    let aside = fleet.path("aside");
    fs::rename(&source, &aside).expect("moved");
    flip(&fleet.hub.dir.join("store"));
    let seen = until("the damage to be shown", || {
        let seen = upkeep_of_hub(&fleet);
        holds(seen["damaged"][0]["package"] == "tools" && seen["damaged_chunks"] != 0, &seen).map(|()| seen)
    });
    let next = seen["damaged"][0]["next_step"].as_str().unwrap_or_default();
    assert!(next.contains("consign package refresh tools --verify"), "{seen}");
    let warned = fleet.package("tools")["warnings"].to_string();
    assert!(warned.contains("--verify"), "{warned}");
    fs::rename(&aside, &source).expect("moved");
    fleet.admin(&["package", "refresh", "tools", "--verify", "--wait"]).ok();
    until_healed(&fleet);
    fleet.add_server("attic", None);
    fleet.ready("tools", "attic", 1);
}

#[test]
fn a_quota_gives_up_what_nobody_needs_and_says_what_does_not_fit() {
    const MIB: usize = 1 << 20;
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.join_server("attic", None);
    fleet.servers[0].with(&["--quota", "40M"]);
    fleet.start_server(0);
    fleet.add_agent("desk");
    let (source, large) = (fleet.path("source"), fleet.path("large"));
    let dir = fleet.servers[0].dir.clone();
    let status = || consign(&["site-server", "status", text(&dir), "--json"], &[]).json();
    write(&source.join("file"), &noise(24 * MIB, 5));
    fleet.publish("tools", &source);
    // The first version is superseded and nobody has it: it makes room for the second.
    write(&source.join("file"), &noise(24 * MIB, 6));
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    fleet.ready("tools", "attic", 2);
    let seen = status();
    assert_eq!((number(&seen["given_up"]), number(&seen["quota_bytes"])), (1, 40 * MIB as u64), "{seen}");
    assert!(number(&seen["used_bytes"]) < 40 * MIB as u64, "{seen}");
    fleet.install(0, "tools", &fleet.path("installed")).ok();
    same(&source, &fleet.path("installed"));
    // What is assigned and does not fit is told, and takes nothing away.
    write(&large.join("file"), &noise(20 * MIB, 7));
    fleet.add_package("large", &large);
    let reason = until("the site server to say that there is no room", || {
        let here = codebase(&fleet.package("large"), "attic");
        let reason = here["reason"].as_str().unwrap_or_default().to_owned();
        holds(here["state"] == "failed" && reason.contains("nothing can be given up"), &here).map(|()| reason)
    });
    for words in [format!("{} bytes are needed", 20 * MIB), format!("quota of {} bytes", 40 * MIB), "--quota".to_owned()] {
        assert!(reason.contains(&words), "{reason}");
    }
    fleet.ready("tools", "attic", 2);
    // What an agent has is not given up either: the update says so and waits.
    write(&source.join("file"), &noise(24 * MIB, 8));
    fleet.admin(&["package", "refresh", "tools"]).ok();
    until("the site server to say that there is no room", || {
        let here = codebase(&fleet.package("tools"), "attic");
        let reason = here["reason"].as_str().unwrap_or_default();
        holds(here["version"] == 3 && here["state"] == "failed" && reason.contains("installed at an agent"), &here)
    });
    let seen = status();
    let held = seen["codebases"].as_array().into_iter().flatten();
    let held = held.filter(|one| one["name"] == "tools" && one["state"] == "ready").map(|one| number(&one["version"]));
    assert_eq!(held.collect::<Vec<_>>(), [2], "{seen}");
    // More room, and everything comes.
    assert!(fleet.servers[0].stop());
    fleet.servers[0].with(&["--quota", "200M"]);
    fleet.start_server(0);
    fleet.ready("tools", "attic", 3);
    fleet.ready("large", "attic", 1);
    fleet.agent_has(0, "tools", 3);
    same(&source, &fleet.path("installed"));
}
