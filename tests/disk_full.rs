//! A full disk at each role: a clear error, nothing lost, and on it goes when there is space.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::command::{run, text};
use crate::common::content::{noise, same, write};
use crate::common::fleet::{Fleet, Options, codebase, newest};
use crate::common::{holds, left_out, until};

/// Room on a small disk; what a role needs besides content fits in it.
const DISK_MIB: u64 = 24;
/// Content that does not fit.
const LARGE_BYTES: usize = 32 << 20;

/// A small disk, unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one; `None` where that is not permitted.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("folder").keep();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m"), "consign-test"]).arg(&dir);
        let done = run(mount);
        if done.code == Some(0) {
            return Some(Self(dir));
        }
        left_out("a full disk", &format!("mounting a small disk is not permitted: {}", done.err.trim()));
        fs::remove_dir(&dir).expect("removed");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes room.
    fn grow(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,size=200m"]).arg(&self.0);
        run(mount).ok();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        // Whoever still holds a file there keeps it until it ends.
        unmount.arg("--lazy").arg(&self.0);
        let _ = run(unmount);
        let _ = fs::remove_dir(&self.0);
    }
}

fn large(source: &Path) {
    write(&source.join("large.bin"), &noise(LARGE_BYTES, 91));
}

fn small(source: &Path) {
    write(&source.join("file"), b"small");
}

#[test]
fn a_full_disk_at_the_hub_leaves_the_last_version() {
    let Some(disk) = Disk::mount() else { return };
    let fleet = Fleet::hub_only(&Options { hub_dir: Some(disk.path("hub")), ..Options::default() });
    let source = fleet.path("source");
    small(&source);
    fleet.publish("tools", &source);
    large(&source);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).fails(1, &["No space left"]);
    let seen = fleet.package("tools");
    assert_eq!((newest(&seen), seen["refresh"].as_str()), (1, Some("failed")), "{seen}");
    disk.grow();
    assert_eq!(newest(&fleet.admin(&["package", "refresh", "tools", "--wait"]).json()), 2);
}

#[test]
fn a_full_disk_at_a_site_server_is_told_and_others_are_served() {
    let Some(disk) = Disk::mount() else { return };
    let mut fleet = Fleet::hub_only(&Options::default());
    let listen = fleet.host.server(0);
    fleet.join_server_in(&disk.path("attic"), "attic", &listen, None);
    fleet.start_server(0);
    fleet.add_agent("desk");
    let (source, other) = (fleet.path("source"), fleet.path("other"));
    small(&other);
    fleet.publish("other", &other);
    large(&source);
    fleet.add_package("tools", &source);
    let seen = until("the site server to say that its disk is full", || {
        let here = codebase(&fleet.package("tools"), "attic");
        holds(here["state"] == "failed", &here).map(|()| here)
    });
    let reason = seen["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("space") || reason.contains("No space left"), "{seen}");
    assert!(seen["next_attempt"].is_i64(), "{seen}");
    fleet.install(0, "other", &fleet.path("installed")).ok();
    same(&other, &fleet.path("installed"));
    disk.grow();
    fleet.servers[0].kill();
    fleet.start_server(0);
    fleet.ready("tools", "attic", 1);
}

#[test]
fn a_full_disk_at_an_agent_is_told_and_what_was_installed_stands() {
    let Some(disk) = Disk::mount() else { return };
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_server("attic", None);
    fleet.add_agent_in(&disk.path("desk"), "desk");
    let (source, dest) = (fleet.path("source"), disk.path("installed"));
    small(&source);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    let first = fleet.path("first");
    crate::common::content::copy(&source, &first);
    large(&source);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    let seen = until("the agent to say that its disk is full", || {
        let seen = fleet.agent_package(0, "tools")?;
        holds(seen["state"] == "failed", &seen).map(|()| seen)
    });
    let reason = seen["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("make room"), "{seen}");
    same(&first, &dest);
    until("the hub to know", || {
        let seen = fleet.package("tools");
        let reason = seen["installs"][0]["reason"].as_str().unwrap_or_default().to_owned();
        holds(reason.contains("make room"), &seen["installs"])
    });
    disk.grow();
    fleet.install(0, "tools", &dest).ok();
    same(&source, &dest);
    assert!(text(&dest).starts_with(text(&disk.0)));
}

#[test]
fn an_agent_without_room_for_what_a_patch_makes_says_how_much_is_needed() {
    const LARGE: usize = 13 << 20;
    let Some(disk) = Disk::mount() else { return };
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_server("attic", None);
    fleet.add_agent_in(&disk.path("desk"), "desk");
    fleet.agents[0].kill();
    fleet.agents[0].with(&["--prefer", "bytes"]);
    fleet.start_agent(0);
    let (source, dest) = (fleet.path("source"), disk.path("installed"));
    let mut bytes = noise(LARGE, 92);
    write(&source.join("large.bin"), &bytes);
    fleet.publish("tools", &source);
    fleet.install(0, "tools", &dest).ok();
    bytes[LARGE / 2..LARGE / 2 + 100].fill(0);
    write(&source.join("large.bin"), &bytes);
    fleet.admin(&["package", "refresh", "tools", "--wait"]).ok();
    let words = format!("{LARGE} bytes are needed");
    until("the agent to say how much is needed", || {
        let seen = fleet.agent_package(0, "tools")?;
        holds(seen["state"] == "failed" && seen["reason"].as_str().is_some_and(|reason| reason.contains(&words)), &seen)
    });
    disk.grow();
    fleet.agent_has(0, "tools", 2);
    same(&source, &dest);
}
