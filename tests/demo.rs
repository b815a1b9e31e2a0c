//! The demo: what a newcomer sees, what a script reads, and what is left behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::command::{PROGRAM, kept, run, text};
use crate::common::content::{copy, edit, tree};
use crate::common::process::processes_of;
use crate::common::{holds, until};

/// Runs the demo with `folder` as the place for temporary folders.
fn demo(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("demo").args(words).env_clear().envs(kept()).env("TMPDIR", folder);
    command
}

fn pair(folder: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (old, new) = (folder.join("old"), folder.join("new"));
    tree(&old, 101);
    copy(&old, &new);
    edit(&new, 1);
    (old, new)
}

#[test]
fn p14_n3_the_demo_brings_a_package_and_its_update_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).expect("folder");
    let (old, new) = pair(folder.path());
    let seen = run(demo(&temporary, &[text(&old), text(&new), "--json"])).json();
    assert_eq!(seen["verified"], true, "{seen}");
    let (full, update) = (seen["full_wire_bytes"].as_u64(), seen["update_wire_bytes"].as_u64());
    assert!(full > Some(2_500_000) && update > Some(0) && update < full.map(|full| full / 4), "{seen}");
    assert!(seen["update_socket_bytes"].as_u64() > update, "{seen}");
    assert_eq!(fs::read_dir(&temporary).expect("listed").count(), 0);
    assert_eq!(processes_of(&temporary), Vec::<String>::new());
}

#[test]
fn a_demo_without_an_update_says_that_nothing_changed() {
    let folder = tempfile::tempdir().expect("folder");
    let (old, _) = pair(folder.path());
    let done = run(demo(folder.path(), &[text(&old), text(&old)])).ok();
    assert!(done.out.contains("nothing changed") && done.out.contains("byte for byte"), "{}", done.out);
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).expect("folder");
    let (old, new) = pair(folder.path());
    let mut child =
        demo(&temporary, &[text(&old), text(&new)]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    // As soon as its first process is there.
    until("the demo to start its hub", || {
        let found = processes_of(&temporary);
        let ended = child.try_wait().expect("looked").is_some();
        holds(ended || found.iter().any(|words| words.contains("hub run")), found.join("; "))
    });
    kill_process(Pid::from_child(&child), Signal::INT).expect("signalled");
    let ended = child.wait_with_output().expect("waited");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && said.contains("asked to stop"), "{:?}: {said}", ended.status);
    assert_eq!(processes_of(&temporary), Vec::<String>::new());
    assert_eq!(fs::read_dir(&temporary).expect("listed").count(), 0);
}

#[test]
fn a_source_that_cannot_be_published_ends_the_demo_with_the_reason() {
    let folder = tempfile::tempdir().expect("folder");
    let (old, new) = pair(folder.path());
    std::os::unix::fs::symlink("/etc/passwd", old.join("lib/out")).expect("link");
    run(demo(folder.path(), &[text(&old), text(&new)])).fails(1, &["lib/out", "/etc/passwd"]);
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
}
