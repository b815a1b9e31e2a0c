//! Folders with content, and whether two of them are equal.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Dice;
use super::command::run;

/// Bytes that no compressor makes smaller, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&dice.roll().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Writes a file and the folders above it; a file that is there is replaced by a new one.
pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("in a folder")).expect("folders");
    let _ = fs::remove_file(path);
    fs::write(path, bytes).expect("written");
}

/// Makes a tree with a bit of everything that a package may hold, about 4 MiB, different for each seed.
pub fn tree(root: &Path, seed: u64) {
    let mut dice = Dice::new(seed);
    write(&root.join("lib/large.bin"), &noise(2_500_000, seed));
    write(&root.join("lib/deep/er/still/small.bin"), &noise(900, seed + 1));
    for number in 0..60 {
        let len = usize::try_from(dice.below(30_000)).expect("small");
        write(&root.join(format!("data/part{}/file{number:02}.dat", number % 7)), &noise(len, seed + 100 + number));
    }
    let text = format!("line of a text that compresses well, seed {seed}\n").repeat(9_000);
    write(&root.join("share/readme.txt"), text.as_bytes());
    write(&root.join("share/again.txt"), text.as_bytes());
    write(&root.join("share/empty"), b"");
    write(&root.join("share/grüße 日本.txt"), "names in every script".as_bytes());
    write(&root.join("bin/run"), b"#!/bin/sh\necho hello\n");
    mode(&root.join("bin/run"), 0o755);
    mode(&root.join("share/readme.txt"), 0o444);
    fs::create_dir_all(root.join("var/empty")).expect("folder");
    symlink("../bin/run", root.join("share/run")).expect("link");
    symlink("large.bin", root.join("lib/current")).expect("link");
}

/// Changes a tree as a new version would: small edits in large files, files that come, go, move, change kind, mode or target.
pub fn edit(root: &Path, seed: u64) {
    let large = root.join("lib/large.bin");
    let mut bytes = fs::read(&large).expect("read");
    let at = usize::try_from(Dice::new(seed).below(2_000_000)).expect("small");
    bytes.splice(at..at + 10, noise(700, seed));
    write(&large, &bytes);
    write(&root.join("data/part0/file00.dat"), &noise(3_000, seed + 7));
    write(&root.join(format!("data/new{seed}/come.dat")), &noise(5_000, seed + 8));
    let (old, new) = (root.join("data/part1/file01.dat"), root.join("moved/file01.dat"));
    if old.exists() {
        fs::create_dir_all(root.join("moved")).expect("folder");
        fs::rename(old, new).expect("moved");
        fs::remove_file(root.join("share/empty")).expect("removed");
        write(&root.join("share/empty/no longer a file"), b"a folder now");
        fs::remove_dir_all(root.join("data/part2")).expect("removed");
        write(&root.join("data/part2"), b"a file now");
        fs::remove_file(root.join("share/run")).expect("removed");
        symlink("readme.txt", root.join("share/run")).expect("link");
    }
    let other = if Dice::new(seed).below(2) == 0 { 0o700 } else { 0o644 };
    mode(&root.join("bin/run"), other);
}

/// Sets permission bits.
pub fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).expect("mode");
}

/// Copies a tree as it is.
pub fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    run(command).ok();
}

/// Expects that two trees are equal: names, kinds, contents (`diff -r`), permissions and link targets.
#[track_caller]
pub fn same(a: &Path, b: &Path) {
    if let Some(difference) = difference(a, b) {
        panic!("{} and {} differ:\n{difference}", a.display(), b.display());
    }
}

/// Says how two trees differ; `None` if they are equal.
pub fn difference(a: &Path, b: &Path) -> Option<String> {
    let mut diff = Command::new("diff");
    diff.args(["-r", "--no-dereference", "--brief"]).arg(a).arg(b);
    let done = run(diff);
    if done.code != Some(0) {
        return Some(format!("{}{}", done.out, done.err));
    }
    let (in_a, in_b) = (listing(a), listing(b));
    (in_a != in_b).then(|| {
        let lines = |one: &str, other: &str| one.lines().filter(|line| !other.contains(line)).collect::<Vec<_>>().join("\n");
        format!("{}\n--\n{}", lines(&in_a, &in_b), lines(&in_b, &in_a))
    })
}

/// Every entry with kind, permissions and link target; of links no permissions, of which Linux has none. Folders that came to be on the way to
/// a file have whatever mode the system gave, in the source as well.
fn listing(root: &Path) -> String {
    let mut find = Command::new("sh");
    find.args([
        "-c",
        "cd \"$0\" && find . -mindepth 1 \\( -type l -printf '%P l %l\\n' -o -printf '%P %y %m\\n' \\) | LC_ALL=C sort",
    ])
    .arg(root);
    run(find).ok().out
}

/// Real packages, an older and a newer version each, that `scripts/corpus.sh` has brought; by name.
pub fn corpus() -> Vec<(&'static str, PathBuf, PathBuf)> {
    const PAIRS: [(&str, &str, &str); 4] = [
        ("typescript", "5.6.2", "5.6.3"),
        ("next", "14.2.14", "14.2.15"),
        ("cmake", "3.30.1", "3.30.2"),
        ("swc", "1.7.35", "1.7.36"),
    ];
    let target = Path::new(super::command::PROGRAM).ancestors().nth(2).expect("a target folder");
    let dir = std::env::var_os("CONSIGN_CORPUS").map_or_else(|| target.join("corpus"), PathBuf::from);
    let pair = |(name, old, new)| (name, dir.join(format!("{name}-{old}")), dir.join(format!("{name}-{new}")));
    PAIRS.map(pair).into_iter().filter(|(_, old, new)| old.is_dir() && new.is_dir()).collect()
}
