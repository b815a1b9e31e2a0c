//! Operations that fail while garbage is collected and while a site server replicates: as in `faults`.

use std::fs;
use std::path::Path;

use consign_store::Store;

use super::check::{self, Promise};
use super::faults::{FULL, Fault, RUNS, Stored, WRITES, by, clear, each, injected, on_small_disks, put, suffer};
use super::{edit, manifest_of, space, tree, version};
use crate::common::command::{Done, consign, text};
use crate::common::content::{copy, noise, write};
use crate::common::fleet::{Fleet, Options};
use crate::common::{holds, soak, soaked, until};

/// A store with a version that stays, and around it more that goes.
struct Full {
    stored: Stored,
    bytes: u64,
}

impl Full {
    fn new(seed: u64) -> Option<Self> {
        let stored = Stored::new(seed)?;
        let garbage = stored.path("garbage");
        copy(&stored.path("old"), &garbage);
        write(&garbage.join("more.bin"), &noise(600_000, seed + 11));
        let store = stored.path("made/store");
        put(&[], &store, &garbage).ok();
        let bytes = stored_bytes(&store);
        Some(Self { stored, bytes })
    }

    fn collect(&self, wrapper: &[String], store: &Path) -> Done {
        let keep = self.stored.first.to_string();
        by(wrapper, &["store", "gc", text(store), "--grace", "0", "--keep", &keep, "--json"])
    }

    /// What must hold after a fault, of the folder `root` that holds the store: what stays is whole, and the next run frees what goes.
    fn check(&self, root: &Path, what: &str) {
        let kept = [Promise::Version("old".to_owned(), 1, self.stored.first)];
        let whole = || check::store(root, &kept, &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
        whole();
        self.collect(&[], &root.join("store")).ok();
        whole();
        let left = stored_bytes(&root.join("store"));
        assert!(left < self.bytes / 2, "{what}: {left} of {} bytes are left", self.bytes);
    }
}

fn stored_bytes(store: &Path) -> u64 {
    Store::open_read_only(store).and_then(|store| store.stats()).expect("counted").stored_bytes
}

#[test]
fn soak_each_operation_of_a_collection_fails() {
    let (count, seed) = soak(RUNS);
    let Some(full) = Full::new(seed) else { return };
    let (root, out) = (full.stored.path("root"), full.stored.path("injected"));
    let runs = each(count, seed, &WRITES, |fault| {
        copy(&full.stored.path("made"), &root);
        let done = full.collect(&fault.words(&out), &root.join("store"));
        let reached = injected(&out);
        let what = format!("{fault:?}: {}", done.err);
        assert!(clear(&done, fault.told) || done.code == Some(0), "{what}");
        assert!(reached || done.code == Some(0), "{what}");
        full.check(&root, &what);
        fs::remove_dir_all(&root).expect("removed");
        reached
    });
    soaked("faults-of-a-collection", runs, seed);
}

#[test]
fn soak_a_disk_fills_at_each_page_of_a_collection() {
    let (count, seed) = soak(RUNS);
    let Some(full) = Full::new(seed) else { return };
    let runs = on_small_disks(
        &full.stored,
        count,
        |store| full.collect(&[], store),
        |root, done, what| {
            assert!(clear(done, FULL) || done.code == Some(0), "{what}");
            full.check(root, what);
        },
    );
    if let Some(runs) = runs {
        soaked("full-disks-of-a-collection", runs, seed);
    }
}

#[test]
fn soak_each_operation_of_a_replication_fails() {
    let Some(space) = space() else { return };
    let (count, seed) = soak(RUNS);
    let mut fleet = Fleet::hub_only(&Options::default());
    let (source, out) = (fleet.path("source"), fleet.path("injected"));
    tree(&source, seed);
    let dir = space.path().join("attic");
    let listen = fleet.host.server(0);
    fleet.join_server_in(&dir, "attic", &listen, None);
    fleet.start_server(0);
    let first = version("tools", &fleet.publish("tools", &source));
    fleet.servers[0].stop();
    edit(&source, 1);
    fleet.admin(&["package", "refresh", "tools"]).ok();
    let shown = fleet.refreshed("tools");
    let known = [manifest_of(&shown, 1), manifest_of(&shown, 2)];
    let made = space.path().join("made");
    fs::rename(&dir, &made).expect("moved");
    let status = || consign(&["site-server", "status", text(&dir), "--json"], &[]);
    let runs = each(count, seed, &[], |fault: &Fault| {
        let _ = fs::remove_dir_all(&dir);
        copy(&made, &dir);
        let mut server = fleet.servers.pop().expect("one");
        let (reached, told) = suffer(&mut server, fault, &out, |role| {
            let ready = until("the site server to be ready, to say why not, or to end", || {
                let ended = role.has_ended();
                let shown = status();
                let shown = if shown.code == Some(0) { shown.json() } else { serde_json::Value::Null };
                let here = |state: &str| {
                    let all = shown["codebases"].as_array().into_iter().flatten();
                    all.filter(|one| one["version"] == 2).any(|one| one["state"] == state)
                };
                let running = shown["running"] == true;
                let over = ended || (running && (here("ready") || here("failed")));
                holds(over, &shown).map(|()| running && here("ready"))
            });
            assert!(!role.log_end().contains("panicked"), "{fault:?}: {}", role.log_end());
            if ready { vec![version("tools", &shown)] } else { Vec::new() }
        });
        fleet.servers.push(server);
        let promises = [std::slice::from_ref(&first), &told].concat();
        let what = format!("{fault:?}");
        check::site_server(&dir, &promises, &known).unwrap_or_else(|error| panic!("{what}: {error}"));
        fleet.start_server(0);
        fleet.ready("tools", "attic", 2);
        fleet.servers[0].kill();
        let both = [first.clone(), version("tools", &shown)];
        check::site_server(&dir, &both, &known).unwrap_or_else(|error| panic!("{what}, without it: {error}"));
        reached
    });
    soaked("faults-of-a-replication", runs, seed);
}
