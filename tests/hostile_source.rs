//! Sources that cannot be published: the reason is in `package show`, and the last version stands.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, mkfifoat, openat};

use crate::common::command::{run, text};
use crate::common::content::{mode, noise, same, tree, write};
use crate::common::fleet::{Fleet, Options, newest};
use crate::common::{holds, left_out, until};

/// A hub with one published version of `tools`, and its source.
struct Published {
    fleet: Fleet,
    source: PathBuf,
}

impl Published {
    fn new() -> Self {
        let fleet = Fleet::hub_only(&Options::default());
        let source = fleet.path("source");
        write(&source.join("dir/file"), b"good");
        fleet.publish("tools", &source);
        Self { fleet, source }
    }

    /// Refreshes and expects that it fails for a reason that holds all `words`, at the command and in `package show`.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        self.fleet.admin(&["package", "refresh", "tools", "--wait"]).fails(1, words);
        let seen = self.fleet.package("tools");
        assert_eq!(seen["refresh"], "failed", "{seen}");
        let reason = seen["reason"].as_str().expect("a reason");
        for word in words {
            assert!(reason.contains(word), "{word:?} is not in: {reason}");
        }
        assert_eq!(newest(&seen), 1, "the last version stands");
    }

    /// Expects that a mended source is taken.
    #[track_caller]
    fn accepted(&self) -> u64 {
        let seen = self.fleet.admin(&["package", "refresh", "tools", "--wait"]).json();
        assert_eq!(seen["refresh"], "idle", "{seen}");
        newest(&seen)
    }
}

#[test]
fn p21_a_source_that_is_missing_is_named_and_comes_back() {
    let published = Published::new();
    let away = published.fleet.path("away");
    fs::rename(&published.source, &away).expect("renamed");
    published.refused(&[text(&published.source), "No such file"]);
    fs::rename(&away, &published.source).expect("renamed");
    assert_eq!(published.accepted(), 1, "nothing changed");
    let words = ["package", "add", "other", "--source", "/nonsuch/folder"];
    published.fleet.admin(&words).fails(1, &["/nonsuch/folder", "No such file"]);
    assert_eq!(published.fleet.admin(&["package", "list"]).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn p21_a_file_that_cannot_be_read_is_named() {
    if rustix::process::geteuid().is_root() && run(command("setpriv", &["--version"])).code != Some(0) {
        return left_out("an unreadable file", "this is root, and setpriv is missing");
    }
    let mut published = Published::new();
    published.fleet.hub.stop();
    published.fleet.hub.without_override();
    published.fleet.start_hub();
    write(&published.source.join("dir/secret"), b"x");
    mode(&published.source.join("dir/secret"), 0);
    published.refused(&["dir/secret", "Permission denied"]);
    mode(&published.source.join("dir/secret"), 0o600);
    assert_eq!(published.accepted(), 2);
}

#[test]
fn p23_fifos_and_devices_are_refused() {
    let published = Published::new();
    let pipe = published.source.join("dir/pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR).expect("fifo");
    published.refused(&["dir/pipe", "FIFO"]);
    fs::remove_file(&pipe).expect("removed");
    if run(command("mknod", &[text(&pipe), "c", "1", "5"])).code == Some(0) {
        published.refused(&["dir/pipe", "device"]);
        fs::remove_file(&pipe).expect("removed");
    } else {
        left_out("a device file", "mknod is not permitted");
    }
    assert_eq!(published.accepted(), 1);
}

#[test]
fn p23_paths_that_are_too_deep_or_too_long_are_refused() {
    let published = Published::new();
    let deep = published.source.join("deep");
    chain(&published.source, "deep", "d", 10_000);
    published.refused(&["deep/d/d", "128 folders deep"]);
    run(command("rm", &["-rf", text(&deep)])).ok();
    chain(&published.source, "deep", &"n".repeat(250), 20);
    published.refused(&["nnn", "4096"]);
    run(command("rm", &["-rf", text(&deep)])).ok();
    assert_eq!(published.accepted(), 1);
}

/// Makes a chain of folders below `root/first`, each called `name`, one opened from the other.
fn chain(root: &Path, first: &str, name: &str, count: usize) {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut folder = openat(CWD, root, flags, Mode::empty()).expect("opened");
    for name in std::iter::once(first).chain(std::iter::repeat_n(name, count)) {
        mkdirat(&folder, name, Mode::RWXU).expect("folder");
        folder = openat(&folder, name, flags, Mode::empty()).expect("opened");
    }
}

#[test]
fn p23_names_that_are_not_utf8_are_refused() {
    let published = Published::new();
    let odd = published.source.join("dir").join(OsStr::from_bytes(b"caf\xe9"));
    fs::write(&odd, b"x").expect("written");
    published.refused(&["dir/caf", "xe9", "UTF-8"]);
    fs::remove_file(odd).expect("removed");
    assert_eq!(published.accepted(), 1);
}

#[test]
fn p23_names_that_differ_only_in_case_are_refused_where_a_system_cannot_hold_them() {
    let published = Published::new();
    write(&published.source.join("dir/FILE"), b"x");
    assert_eq!(published.accepted(), 2, "Linux can");
    let source = text(&published.source);
    let words = ["package", "add", "wide", "--source", source, "--platform", "linux", "--platform", "windows", "--wait"];
    published.fleet.admin(&words).fails(1, &["dir/FILE", "file", "Windows"]);
}

#[test]
fn p23_links_that_leave_the_folder_are_refused() {
    let published = Published::new();
    let link = published.source.join("dir/link");
    for target in ["../../outside", "/etc/passwd"] {
        symlink(target, &link).expect("link");
        published.refused(&["dir/link", target]);
        fs::remove_file(&link).expect("removed");
    }
    symlink("file", &link).expect("link");
    assert_eq!(published.accepted(), 2);
}

/// Does something to the source again and again, in a thread of its own.
struct Meddler {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Meddler {
    fn start(mut meddle: impl FnMut(u64) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut round = 0;
            while !told.load(Ordering::Relaxed) {
                meddle(round);
                round += 1;
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("ended");
        }
    }
}

/// Publishes a source that changes all the time: no version comes of it but an error that names what changes; at rest, all is well.
fn changing(name: &str, meddle: impl FnMut(u64) + Send + 'static, fleet: &Fleet, source: &Path) {
    tree(source, 51);
    fleet.publish("tools", source);
    let meddler = Meddler::start(meddle);
    // The machine may be too busy for the meddler to come in between; then nothing changed, and it is tried again.
    until("a refresh to notice the change", || {
        let done = fleet.admin(&["package", "refresh", "tools", "--wait"]);
        holds(done.code == Some(1) && done.err.contains("keeps changing"), &done.err)
    });
    let seen = fleet.package("tools");
    assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains(name)), "{seen}");
    drop(meddler);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    let last = fleet.package("tools");
    let manifest =
        last["versions"].as_array().and_then(|all| all.last()).and_then(|last| last["manifest"].as_str()).expect("one");
    let (store, out) = (fleet.hub.dir.join("store"), fleet.path("out"));
    crate::common::command::consign(&["store", "get", text(&store), manifest, text(&out)], &[]).ok();
    same(source, &out);
}

#[test]
fn p23_a_file_that_grows_while_it_is_hashed() {
    let fleet = Fleet::hub_only(&Options::default());
    let (source, file) = (fleet.path("source"), fleet.path("source/data/log"));
    let grow = move |round: u64| {
        use std::io::Write;
        let log = fs::File::options().create(true).append(true).open(&file);
        log.and_then(|mut log| log.write_all(&noise(100, round))).expect("written");
        if round > 20_000 {
            fs::remove_file(&file).expect("removed");
        }
    };
    changing("data/log", grow, &fleet, &source);
}

#[test]
fn p23_a_file_that_shrinks_while_it_is_hashed() {
    let fleet = Fleet::hub_only(&Options::default());
    let (source, file) = (fleet.path("source"), fleet.path("source/lib/large.bin"));
    let shrink = move |round: u64| {
        let large = fs::File::options().write(true).open(&file).expect("opened");
        large.set_len(2_500_000 - round % 2_000 * 1_000).expect("cut");
    };
    changing("lib/large.bin", shrink, &fleet, &source);
}

#[test]
fn p23_a_file_that_comes_and_goes_while_it_is_hashed() {
    let fleet = Fleet::hub_only(&Options::default());
    let (source, folder) = (fleet.path("source"), fleet.path("source/data/part3"));
    let vanish = move |round: u64| {
        let file = folder.join(format!("passing{}", round % 50));
        if round % 100 < 50 {
            fs::write(file, b"here").expect("written");
        } else {
            let _ = fs::remove_file(file);
        }
    };
    changing("data/part3", vanish, &fleet, &source);
}

fn command(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}
