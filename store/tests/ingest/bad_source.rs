//! Sources that cannot be taken: each a clear error, and the store goes on.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use consign_store::ingest::{Options, ingest, survey};
use consign_store::manifest::{Platform, Platforms};
use consign_store::{Error, Store};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, mkfifoat, openat, unlinkat};

use crate::support::{Bench, options};

/// Ingests, expects an error that contains all `words`, and shows that the store still works.
fn refused(bench: &Bench, words: &[&str]) -> Error {
    let error = bench.ingest().expect_err("refused");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    let good = bench.dir.path().join("good");
    fs::create_dir_all(&good).expect("folder");
    fs::write(good.join("file"), b"good").expect("written");
    ingest(&bench.store, &good, &options()).expect("the store goes on");
    error
}

#[test]
fn a_missing_source_is_named() {
    let bench = Bench::new();
    fs::remove_dir(bench.source()).expect("removed");
    let name = bench.source().display().to_string();
    assert!(matches!(refused(&bench, &[&name, "No such file"]), Error::Io { .. }));
    fs::write(bench.source(), b"a file").expect("written");
    refused(&bench, &[&name, "Not a directory"]);
}

#[test]
fn fifos_sockets_and_devices_are_refused() {
    let bench = Bench::new();
    bench.write("dir/file", b"x");
    let pipe = bench.source().join("dir/pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR).expect("fifo");
    refused(&bench, &["dir/pipe", "FIFO", "remove it"]);
    fs::remove_file(&pipe).expect("removed");
    let _socket = UnixListener::bind(&pipe).expect("socket");
    refused(&bench, &["dir/pipe", "socket"]);
    let options = options();
    let out = bench.dir.path();
    let error = survey(Path::new("/dev"), &options, &out.join("m"), &out.join("t")).expect_err("devices").to_string();
    assert!(error.contains("device") || error.contains("link"), "{error}");
}

#[test]
fn a_tree_of_10_000_folders_is_refused_at_the_limit() {
    let bench = Bench::new();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut folder = openat(CWD, bench.source(), flags, Mode::empty()).expect("source");
    for _ in 0..10_000 {
        mkdirat(&folder, "d", Mode::RWXU).expect("folder");
        folder = openat(&folder, "d", flags, Mode::empty()).expect("opened");
    }
    refused(&bench, &["d/d/d", "128 folders deep", "flatten it"]);
    // From the bottom up: what removes whole trees takes seconds for this one.
    for _ in 0..10_000 {
        folder = openat(&folder, "..", flags, Mode::empty()).expect("above");
        unlinkat(&folder, "d", AtFlags::REMOVEDIR).expect("removed");
    }
}

#[test]
fn a_path_of_5_000_bytes_is_refused() {
    let bench = Bench::new();
    let name = "n".repeat(250);
    let mut folder = openat(CWD, bench.source(), OFlags::RDONLY, Mode::empty()).expect("source");
    for _ in 0..20 {
        mkdirat(&folder, &*name, Mode::RWXU).expect("folder");
        folder = openat(&folder, &*name, OFlags::RDONLY, Mode::empty()).expect("opened");
    }
    refused(&bench, &["nnn", "more than 4096", "shorten it"]);
}

#[test]
fn the_longest_path_of_the_format_is_taken() {
    let bench = Bench::new();
    bench.write("near", b"near");
    let mut folder = openat(CWD, bench.source(), OFlags::RDONLY, Mode::empty()).expect("source");
    let name = "n".repeat(240);
    for _ in 0..16 {
        mkdirat(&folder, &*name, Mode::RWXU).expect("folder");
        folder = openat(&folder, &*name, OFlags::RDONLY, Mode::empty()).expect("opened");
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let last = "f".repeat(4096 - 16 * 241);
    let file = openat(&folder, &*last, flags, Mode::RUSR).expect("created");
    rustix::io::write(file, b"far away").expect("written");
    let done = bench.ingest().expect("ingested");
    assert_eq!((done.files, done.bytes), (2, 12));
}

#[test]
fn names_that_are_not_utf8_are_shown_with_escapes() {
    let bench = Bench::new();
    bench.write("dir/plain", b"x");
    fs::write(bench.source().join("dir").join(OsStr::from_bytes(b"caf\xe9")), b"x").expect("written");
    assert!(matches!(refused(&bench, &["dir/caf\\xe9", "UTF-8"]), Error::Refused { .. }));
}

#[test]
fn control_characters_in_names_are_refused() {
    let bench = Bench::new();
    bench.write("two\nlines", b"x");
    refused(&bench, &["two\\nlines", "control character"]);
}

#[test]
fn case_twins_and_device_names_are_refused_for_systems_that_cannot_hold_them() {
    let bench = Bench::new();
    bench.write("Lib/a", b"x");
    bench.write("lib/b", b"x");
    let windows = Options { platforms: Platforms::default().with(Platform::Windows), ..options() };
    let error = ingest(&bench.store, &bench.source(), &windows).expect_err("twins").to_string();
    assert!(error.contains("Lib") && error.contains("lib") && error.contains("Windows"), "{error}");
    bench.ingest().expect("other systems can");
    fs::remove_dir_all(bench.source().join("Lib")).expect("removed");
    bench.write("lib/aux.h", b"x");
    let error = ingest(&bench.store, &bench.source(), &windows).expect_err("device").to_string();
    assert!(error.contains("lib/aux.h") && error.contains("AUX"), "{error}");
}

#[test]
fn links_that_leave_the_folder_are_refused() {
    let bench = Bench::new();
    bench.write("dir/file", b"x");
    for target in ["../../outside", "/etc/passwd", "file/../../.."] {
        let at = bench.source().join("dir/link");
        symlink(target, &at).expect("link");
        refused(&bench, &["dir/link", target]);
        fs::remove_file(at).expect("removed");
    }
}

#[test]
fn a_source_that_holds_the_store_is_refused() {
    let bench = Bench::new();
    let error = ingest(&bench.store, bench.dir.path(), &options()).expect_err("inside").to_string();
    assert!(error.contains("holds the store"), "{error}");
}

/// Runs this test binary again for the one test `name`, which then does its part.
fn again(name: &str, bench: &Bench) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", "--nocapture", name]).env("CONSIGN_TEST_DIR", bench.dir.path());
    command
}

#[test]
fn an_unreadable_file_is_named() {
    if let Some(dir) = std::env::var_os("CONSIGN_TEST_DIR") {
        let store = Store::open(&Path::new(&dir).join("own-store")).expect("store");
        let error = ingest(&store, &Path::new(&dir).join("source"), &options()).expect_err("unreadable").to_string();
        assert!(error.contains("source/dir/secret") && error.contains("Permission denied"), "{error}");
        return;
    }
    let bench = Bench::new();
    bench.write("dir/secret", b"x");
    bench.write("dir/open", b"x");
    fs::set_permissions(bench.dir.path(), fs::Permissions::from_mode(0o777)).expect("mode");
    fs::set_permissions(bench.source().join("dir/secret"), fs::Permissions::from_mode(0o000)).expect("mode");
    let mut child = again("bad_source::an_unreadable_file_is_named", &bench);
    if rustix::process::geteuid().is_root() {
        child.uid(65534).gid(65534);
    }
    let done = child.output().expect("started");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_full_disk_is_an_error_and_everything_ends() {
    if let Some(dir) = std::env::var_os("CONSIGN_TEST_DIR") {
        let store = Store::open(&Path::new(&dir).join("own-store")).expect("store");
        for _ in 0..2 {
            let error = ingest(&store, &Path::new(&dir).join("source"), &options()).expect_err("full");
            assert!(matches!(error, Error::Io { .. }), "{error}");
        }
        ingest(&store, &Path::new(&dir).join("small"), &options()).expect("what fits goes in");
        return;
    }
    let bench = Bench::new();
    bench.write("large", &crate::support::noise(40 << 20, 3));
    fs::create_dir(bench.dir.path().join("small")).expect("folder");
    fs::write(bench.dir.path().join("small/file"), b"small").expect("written");
    // A limit on file sizes stands for the full disk; 12 MiB in units of 512 bytes.
    let child = again("bad_source::a_full_disk_is_an_error_and_everything_ends", &bench);
    let done = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 24576; exec \"$@\"", "sh"])
        .arg(child.get_program())
        .args(child.get_args())
        .env("CONSIGN_TEST_DIR", bench.dir.path())
        .output()
        .expect("started");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
