//! Operations that fail: the first, the second, and so on until none is left to fail, once or from then on; and disks with room for one
//! page more each time. The error is clear, what was acknowledged stays, and without the fault all goes well.
//!
//! The fault is injected into the system calls of the real program, counted in each of its threads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use consign_store::ManifestId;

use super::check::{self, Promise};
use super::{edit, manifest_of, space, tree, version};
use crate::common::command::{Done, PROGRAM, consign, kept, run, text};
use crate::common::content::{copy, noise, same, write};
use crate::common::fleet::{Fleet, Options, newest};
use crate::common::process::Role;
use crate::common::{Dice, holds, left_out, soak, soaked, until};

/// How a failed operation is told, by the system and by SQLite, which does not tell a full disk from a broken one when it grows the file that
/// its connections share.
const BROKEN: &[&str] = &["Input/output error", "disk I/O error"];
pub(super) const FULL: &[&str] = &["No space left", "is full", "disk I/O error"];
/// Calls, their error, and the words by which a person recognises it.
type Kind = (&'static str, &'static str, &'static [&'static str]);
const FAULTS: [Kind; 6] = [
    ("fsync,fdatasync,syncfs", "EIO", BROKEN),
    ("pwrite64", "EIO", BROKEN),
    ("pwrite64", "ENOSPC", FULL),
    ("rename,renameat,renameat2", "EIO", BROKEN),
    ("mkdir,mkdirat", "ENOSPC", FULL),
    ("ftruncate", "EIO", BROKEN),
];
/// What only commands are made to suffer, and once: a role's threads wake each other by writing, and whoever cannot write cannot say so.
pub(super) const WRITES: [Kind; 2] = [("write", "EIO", BROKEN), ("write", "ENOSPC", FULL)];
/// More operations of one kind than any story has in one thread.
const NUMBER_MAX: u64 = 400;
/// Runs in an ordinary test run, of each story.
pub(super) const RUNS: u64 = 14;

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    calls: &'static str,
    error: &'static str,
    pub(super) told: &'static [&'static str],
    number: u64,
    for_good: bool,
}

impl Fault {
    /// The words that inject it; what was injected is written to `out`.
    pub(super) fn words(&self, out: &Path) -> Vec<String> {
        let Self { calls, error, number, for_good, .. } = self;
        let inject = format!("inject={calls}:error={error}:when={number}{}", if *for_good { "+" } else { "" });
        let words =
            ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-e", &format!("trace={calls}"), "-e", &inject, "-o", text(out)];
        words.map(str::to_owned).to_vec()
    }
}

/// Whether anything was injected; waits until the tracer is done.
pub(super) fn injected(out: &Path) -> bool {
    let mut before = None;
    let text = until("strace to end", || {
        let now = fs::read_to_string(out).unwrap_or_default();
        let same = before.as_ref() == Some(&now);
        before = Some(now.clone());
        holds(same, "it writes").map(|()| now)
    });
    text.contains("(INJECTED)")
}

/// Calls `story` with each fault, those `once` and all others, until there is nothing left to fail; in an ordinary run with some of them. Returns how
/// often.
pub(super) fn each(count: u64, seed: u64, once: &[Kind], mut story: impl FnMut(&Fault) -> bool) -> u64 {
    let mut dice = Dice::new(seed);
    let mut runs = 0;
    let both = FAULTS.iter().flat_map(|kind| [(kind, false), (kind, true)]);
    for (&(calls, error, told), for_good) in once.iter().map(|kind| (kind, false)).chain(both) {
        let mut number = if count > RUNS { 1 } else { 1 + dice.below(12) };
        while number < NUMBER_MAX {
            runs += 1;
            let reached = story(&Fault { calls, error, told, number, for_good });
            if !reached || count <= RUNS {
                break;
            }
            number += 1;
        }
        assert!(number < NUMBER_MAX, "{calls} never came to an end");
        if count <= RUNS && runs >= count {
            break;
        }
    }
    runs
}

/// A failure that a person understands.
pub(super) fn clear(done: &Done, told: &[&str]) -> bool {
    done.code == Some(1) && names(&done.err, told) && !done.err.contains("panicked")
}

fn names(text: &str, told: &[&str]) -> bool {
    told.iter().any(|words| text.contains(words))
}

/// Runs the program with `words`, by `wrapper` if there is one.
pub(super) fn by(wrapper: &[String], words: &[&str]) -> Done {
    let mut command = Command::new(wrapper.first().map_or(PROGRAM, String::as_str));
    command.args(wrapper.iter().skip(1)).args(wrapper.first().map(|_| PROGRAM));
    command.args(words).env_clear().envs(kept());
    run(command)
}

pub(super) fn put(wrapper: &[String], store: &Path, source: &Path) -> Done {
    by(wrapper, &["store", "put", text(store), text(source), "--json"])
}

fn put_manifest(done: Done) -> ManifestId {
    done.json()["manifest"].as_str().and_then(|text| text.parse().ok()).expect("a manifest")
}

/// A store with one version, and the source of the next.
pub(super) struct Stored {
    space: tempfile::TempDir,
    pub(super) first: ManifestId,
}

impl Stored {
    pub(super) fn new(seed: u64) -> Option<Self> {
        let space = space()?;
        let path = |name: &str| space.path().join(name);
        tree(&path("old"), seed);
        fs::create_dir(path("made")).expect("made");
        let first = put_manifest(put(&[], &path("made/store"), &path("old")));
        copy(&path("old"), &path("new"));
        edit(&path("new"), 1);
        write(&path("new/more.bin"), &noise(200_000, seed + 9));
        Some(Self { space, first })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.space.path().join(name)
    }

    /// What must hold after a fault, of the folder `root` that holds the store.
    fn check(&self, root: &Path, what: &str) {
        let kept = [Promise::Version("old".to_owned(), 1, self.first)];
        let second = put_manifest(put(&[], &root.join("store"), &self.path("new")));
        let kept = [kept.as_slice(), &[Promise::Version("new".to_owned(), 2, second)]].concat();
        check::store(root, &kept, &[]).unwrap_or_else(|error| panic!("{what}: {error}"));
        let dest = self.path("got");
        consign(&["store", "get", text(&root.join("store")), &second.to_string(), text(&dest)], &[]).ok();
        same(&self.path("new"), &dest);
        fs::remove_dir_all(dest).expect("removed");
    }
}

#[test]
fn soak_each_operation_of_a_put_fails() {
    let (count, seed) = soak(RUNS);
    let Some(stored) = Stored::new(seed) else { return };
    let (root, out) = (stored.path("root"), stored.path("injected"));
    let runs = each(count, seed, &WRITES, |fault| {
        copy(&stored.path("made"), &root);
        let done = put(&fault.words(&out), &root.join("store"), &stored.path("new"));
        let reached = injected(&out);
        let what = format!("{fault:?}: {}", done.err);
        assert!(clear(&done, fault.told) || done.code == Some(0), "{what}");
        assert!(reached || done.code == Some(0), "{what}");
        stored.check(&root, &what);
        fs::remove_dir_all(&root).expect("removed");
        reached
    });
    soaked("faults-of-a-put", runs, seed);
}

#[test]
fn soak_each_operation_of_a_get_fails() {
    let (count, seed) = soak(RUNS);
    let Some(stored) = Stored::new(seed) else { return };
    let (store, root, out) = (stored.path("made/store"), stored.path("root"), stored.path("injected"));
    let dest = root.join("got");
    let get = |wrapper: &[String]| by(wrapper, &["store", "get", text(&store), &stored.first.to_string(), text(&dest)]);
    let runs = each(count, seed, &WRITES, |fault| {
        fs::create_dir(&root).expect("made");
        let done = get(&fault.words(&out));
        let reached = injected(&out);
        let what = format!("{fault:?}: {}", done.err);
        assert!(clear(&done, fault.told) || done.code == Some(0), "{what}");
        assert!(reached || done.code == Some(0), "{what}");
        // All of it is there, or nothing that could be taken for it.
        if done.code == Some(0) || dest.exists() {
            same(&stored.path("old"), &dest);
            fs::remove_dir_all(&dest).expect("removed");
        }
        get(&[]).ok();
        same(&stored.path("old"), &dest);
        fs::remove_dir_all(&root).expect("removed");
        reached
    });
    soaked("faults-of-a-get", runs, seed);
}

/// Copies a store to disks with room for one page more each time and does `work` there, until it goes well; then `check` looks at a copy of the
/// folder, with what the work said. Returns how often, or nothing where small disks are not permitted.
pub(super) fn on_small_disks(
    stored: &Stored,
    count: u64,
    work: impl Fn(&Path) -> Done,
    check: impl Fn(&Path, &Done, &str),
) -> Option<u64> {
    let small = stored.path("small");
    fs::create_dir(&small).expect("made");
    let (mut pages, mut runs) = (40, 0);
    loop {
        let mount = format!("size={}k", pages * 4);
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &mount, "consign-test"]).arg(&small);
        if run(command).code != Some(0) {
            left_out("full disks", "mounting a small disk is not permitted");
            return None;
        }
        let mut command = Command::new("cp");
        command.arg("-a").arg(stored.path("made/.")).arg(&small);
        let copied = run(command).code == Some(0);
        let done = copied.then(|| work(&small.join("store")));
        let root = stored.path("root");
        if copied {
            copy(&small, &root);
        }
        let mut command = Command::new("umount");
        command.arg(&small);
        run(command).ok();
        if let Some(done) = done {
            runs += 1;
            check(&root, &done, &format!("{pages} pages: {}", done.err));
            fs::remove_dir_all(&root).expect("removed");
            if done.code == Some(0) {
                return Some(runs);
            }
        }
        pages += if count > RUNS { 1 } else { 23 };
    }
}

#[test]
fn soak_a_disk_fills_at_each_page_of_a_put() {
    let (count, seed) = soak(RUNS);
    let Some(stored) = Stored::new(seed) else { return };
    let work = |store: &Path| put(&[], store, &stored.path("new"));
    let runs = on_small_disks(&stored, count, work, |root, done, what| {
        assert!(clear(done, FULL) || done.code == Some(0), "{what}");
        stored.check(root, what);
    });
    if let Some(runs) = runs {
        soaked("full-disks-of-a-put", runs, seed);
    }
}

/// Starts `role` with a fault and does `work`, which says what was acknowledged; ends it. Returns whether the fault was reached.
pub(super) fn suffer(
    role: &mut Role,
    fault: &Fault,
    out: &Path,
    work: impl FnOnce(&mut Role) -> Vec<Promise>,
) -> (bool, Vec<Promise>) {
    let words = fault.words(out);
    role.run_by(&words.iter().map(String::as_str).collect::<Vec<_>>());
    role.start();
    let told = work(role);
    role.kill();
    role.run_by(&[]);
    (injected(out), told)
}

#[test]
fn soak_each_operation_of_a_hub_fails() {
    let Some(space) = space() else { return };
    let (count, seed) = soak(RUNS);
    let hub_dir = space.path().join("hub");
    let mut fleet = Fleet::hub_only(&Options { hub_dir: Some(hub_dir.clone()), ..Options::default() });
    let (source, out) = (fleet.path("source"), fleet.path("injected"));
    tree(&source, seed);
    let first = version("tools", &fleet.publish("tools", &source));
    edit(&source, 1);
    fleet.hub.stop();
    let made = space.path().join("made");
    fs::rename(&hub_dir, &made).expect("moved");
    let runs = each(count, seed, &[], |fault| {
        let _ = fs::remove_dir_all(&hub_dir);
        copy(&made, &hub_dir);
        let (mut told, run_file) = (vec![first.clone()], hub_dir.join("run.json"));
        let host = fleet.host;
        let mut hub = std::mem::replace(&mut fleet.hub, Role::new("none", &hub_dir, &[]));
        let (reached, more) = suffer(&mut hub, fault, &out, |role| {
            // It listens, or it has said why not and ended.
            let up = until("the hub to listen or to end", || {
                let listens =
                    fs::read(&run_file).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&role.pid().to_string()));
                if listens { Ok(true) } else { holds(role.has_ended(), "it starts").map(|()| false) }
            });
            assert!(up || names(&role.log_end(), fault.told), "{fault:?}: {}", role.log_end());
            if !up {
                return Vec::new();
            }
            let words = ["package", "refresh", "tools", "--wait", "--timeout", "1", "--json", "--hub", text(&hub_dir)];
            let done = consign(&words, &[]);
            assert!(!role.log_end().contains("panicked"), "{fault:?}: {}", role.log_end());
            if done.code == Some(0) { vec![version("tools", &done.json())] } else { Vec::new() }
        });
        fleet.hub = hub;
        told.extend(more);
        let what = format!("{fault:?} at {}", host.hub());
        check::hub(&hub_dir, &told, std::slice::from_ref(&source)).unwrap_or_else(|error| panic!("{what}: {error}"));
        fleet.start_hub();
        let shown = fleet.admin(&["package", "refresh", "tools", "--wait"]).json();
        assert_eq!(newest(&shown), 2, "{what}: {shown}");
        fleet.hub.kill();
        reached
    });
    soaked("faults-of-a-hub", runs, seed);
}

#[test]
fn soak_each_operation_of_an_install_fails() {
    let Some(space) = space() else { return };
    let (count, seed) = soak(RUNS);
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_server("attic", None);
    let (source, out) = (fleet.path("source"), fleet.path("injected"));
    tree(&source, seed);
    fleet.publish("tools", &source);
    let root = space.path().join("machine");
    fs::create_dir(&root).expect("made");
    let (dir, dest) = (root.join("desk"), root.join("installed"));
    fleet.add_agent_in(&dir, "desk");
    fleet.install(0, "tools", &dest).ok();
    let first = version("tools", &fleet.package("tools"));
    fleet.agents[0].stop();
    edit(&source, 1);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    fleet.ready("tools", "attic", 2);
    let shown = fleet.package("tools");
    let hub = consign_store::Store::open_read_only(&fleet.hub.dir.join("store")).expect("the hub's store");
    let second = manifest_of(&shown, 2);
    let made = space.path().join("made");
    fs::rename(&root, &made).expect("moved");
    let runs = each(count, seed, &[], |fault| {
        let _ = fs::remove_dir_all(&root);
        copy(&made, &root);
        let mut agent = fleet.agents.pop().expect("one");
        let (reached, _) = suffer(&mut agent, fault, &out, |role| {
            until("the agent to have it, to say why not, or to end", || {
                let shown = consign(&["agent", "status", text(&dir), "--json"], &[]);
                let ended = role.has_ended();
                let shown = if shown.code == Some(0) { shown.json()["packages"][0].clone() } else { serde_json::Value::Null };
                let over = shown["installed"]["version"] == 2 || shown["reason"].is_string() || ended;
                holds(over, shown)
            });
            assert!(!role.log_end().contains("panicked"), "{fault:?}: {}", role.log_end());
            Vec::new()
        });
        fleet.agents.push(agent);
        let what = format!("{fault:?}");
        check::agent(&dir, std::slice::from_ref(&first), &hub, Some(second)).unwrap_or_else(|error| panic!("{what}: {error}"));
        reached
    });
    soaked("faults-of-an-install", runs, seed);
}
