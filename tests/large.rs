//! Large files: an update costs what changed, whatever the size of the file, on the wire and in memory.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::common::content::{noise, same};
use crate::common::fleet::Fleet;
use crate::common::process::memory_of;
use crate::common::{Dice, holds, until};

const MIB: u64 = 1 << 20;
/// Length of the file: ten parts.
const IMAGE_BYTES: u64 = 300 * MIB;
/// Most bytes on the wire for its update.
const WIRE_BYTES_MAX: u64 = 300_000;
/// Most memory for building patches.
const BUILD_BYTES_MAX: u64 = 512 * MIB;
/// Most memory of an agent that applies two patches at once: less than the 128 MB that a role may have, and less than is kept where what was
/// freed does not go back to the system.
const AGENT_BYTES_MAX: u64 = 96 * MIB;

/// Writes a file with stretches of noise between holes; in the second version all that is behind the first few bytes has moved, and bytes
/// here and there are others.
fn image(path: &Path, version: u64) {
    let file = File::create(path).expect("created");
    let moved = if version == 1 { 0 } else { 12_345 };
    file.write_all_at(&noise(5_000 + usize::try_from(moved).expect("small"), version), 0).expect("written");
    for number in 1..60 {
        let mut bytes = noise(2 << 20, 1_000 + number);
        if version == 2 {
            let mut dice = Dice::new(number);
            (0..3).for_each(|_| bytes[usize::try_from(dice.below(2 << 20)).expect("small")] ^= 0x55);
        }
        file.write_all_at(&bytes, number * 5 * MIB + moved).expect("written");
    }
    file.set_len(IMAGE_BYTES + moved).expect("as long");
}

#[test]
fn n3_n4_a_large_file_is_updated_by_little_though_the_agent_is_killed() {
    let mut fleet = Fleet::hub_only(&crate::common::fleet::Options::default());
    fleet.add_agent("desk");
    let (source, dest) = (fleet.path("source"), fleet.path("installed"));
    fs::create_dir(&source).expect("folder");
    image(&source.join("image.bin"), 1);
    fleet.publish("images", &source);
    fleet.install(0, "images", &dest).ok();
    fleet.agents[0].kill();
    fleet.agents[0].with(&["--prefer", "bytes"]);
    fleet.start_agent(0);
    image(&source.join("image.bin"), 2);
    fleet.admin(&["package", "refresh", "images", "--wait"]).ok();
    let (mut build_bytes, mut agent_bytes, mut killed) = (0, 0, false);
    let staged = fleet.path(".installed.consign-staging/tree/0");
    let seen = until("the agent to have the version in place", || {
        let memory = fleet.hub.children().into_iter().filter_map(memory_of);
        build_bytes = memory.fold(build_bytes, u64::max);
        agent_bytes = memory_of(fleet.agents[0].pid()).into_iter().fold(agent_bytes, u64::max);
        // Some parts are made then, and some are not.
        if !killed && fs::metadata(&staged).is_ok_and(|staged| staged.len() > 100 * MIB) {
            fleet.agents[0].kill();
            fleet.start_agent(0);
            killed = true;
        }
        let seen = fleet.agent_package(0, "images")?;
        holds(seen["installed"]["version"] == 2 && seen["state"] == "installed", &seen).map(|()| seen)
    });
    same(&source, &dest);
    let wire = seen["cost"]["wire_bytes"].as_u64().expect("a number");
    assert!(killed && wire < WIRE_BYTES_MAX, "killed: {killed}, {}", seen["cost"]);
    assert!((MIB..BUILD_BYTES_MAX).contains(&build_bytes), "{build_bytes} bytes of memory for building");
    assert!((MIB..AGENT_BYTES_MAX).contains(&agent_bytes), "{agent_bytes} bytes of memory of the agent");
    assert!(fs::metadata(dest.join("image.bin")).expect("there").size() > IMAGE_BYTES);
}
