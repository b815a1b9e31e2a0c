//! Workers are processes of their own: none outlives who started it.

use std::path::{Path, PathBuf};

use crate::common::command::text;
use crate::common::content::{noise, write};
use crate::common::fleet::Fleet;
use crate::common::process::processes_of;
use crate::common::{holds, until};

/// What takes a worker seconds: every fiftieth byte of it changes.
const BYTES: usize = 48 << 20;

/// Folders of patches that are being built at the hub in `dir`.
fn building(dir: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(dir.join("tables/patches")).into_iter().flatten().flatten();
    found.map(|folder| folder.path()).filter(|path| text(path).contains("/.building-")).collect()
}

#[test]
fn a_worker_ends_with_the_hub_that_started_it_and_leaves_nothing() {
    let mut fleet = Fleet::whole();
    let source = fleet.path("source");
    let mut content = noise(BYTES, 1);
    write(&source.join("much.bin"), &content);
    fleet.publish("tools", &source);
    for byte in content.iter_mut().step_by(50) {
        *byte ^= 0x55;
    }
    write(&source.join("much.bin"), &content);
    fleet.admin(&["package", "refresh", "tools"]).ok();
    let hub = fleet.hub.dir.clone();
    let workers = || processes_of(&hub).into_iter().filter(|words| words.contains("store patch")).collect::<Vec<_>>();
    until("the hub to build patches", || holds(!workers().is_empty(), "no worker"));
    fleet.hub.kill();
    until("its worker to end", || holds(workers().is_empty(), workers().join("; ")));
    let left = building(&hub);
    assert_eq!(left.len(), 1, "the worker was done before");
    assert!(!left[0].join("set.json").exists(), "the worker went on");
    fleet.start_hub();
    // It may be building anew already.
    assert!(!left[0].exists(), "{}", left[0].display());
}
