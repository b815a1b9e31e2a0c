//! A believable package in two versions for `consign demo`: made by a seeded generator, the same on every machine.
//!
//! Programs in which addresses shift because one function grew, documents and data of which a few change, a library whose file name bears
//! its version, a file added, one removed, one moved, one that becomes executable, a link that points elsewhere.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::error::CliError;

/// What everything is derived from.
const SEED: u64 = 0x0063_6f6e_7369_676e;
const PROGRAMS: u64 = 7;
const DOCUMENTS: u64 = 700;
const TABLES: u64 = 380;
const SCRIPTS: u64 = 420;

/// Which of the two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 4.2.0.
    Old,
    /// 4.2.1.
    New,
}

impl Version {
    /// The publisher's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Old => "4.2.0",
            Self::New => "4.2.1",
        }
    }
}

/// Makes `version` of the package in the new folder `root`.
///
/// # Errors
/// The folder exists or cannot be written.
pub fn make(root: &Path, version: Version) -> Result<(), CliError> {
    let new = version == Version::New;
    let tree = Tree { root };
    for folder in ["bin", "lib", "share/doc", "share/data", "share/scripts", "share/legacy"] {
        let path = root.join(folder);
        fs::create_dir_all(&path).map_err(|e| CliError::io("create", &path, &e))?;
    }
    for number in 0..PROGRAMS {
        tree.program(&format!("bin/tool{number}"), &program(number, 4_000 + number * 1_100, new && number < 2))?;
    }
    let library = format!("lib/libtool-{}.so", version.label());
    tree.program(&library, &program(90, 6_000, new))?;
    tree.link("lib/libtool.so", library.trim_start_matches("lib/"))?;
    for number in 0..DOCUMENTS {
        tree.file(&format!("share/doc/chapter-{number:03}.md"), document(number, new && number % 47 == 0).as_bytes())?;
    }
    for number in 0..TABLES {
        tree.file(&format!("share/data/table-{number:03}.json"), table(number, new && number % 60 == 0).as_bytes())?;
    }
    for number in 0..SCRIPTS {
        tree.file(&format!("share/scripts/step-{number:03}.sh"), script(number, version).as_bytes())?;
    }
    tree.file("VERSION", format!("{}\n", version.label()).as_bytes())?;
    // What moves between the two.
    tree.file(if new { "share/notes.md" } else { "share/legacy/notes.md" }, document(9_001, false).as_bytes())?;
    tree.file(
        if new { "share/doc/whats-new.md" } else { "share/legacy/import.md" },
        document(9_002 + u64::from(new), false).as_bytes(),
    )?;
    tree.file("bin/tool-config", script(9_004, Version::Old).as_bytes())?;
    if new {
        tree.executable("bin/tool-config")?;
    }
    Ok(())
}

struct Tree<'a> {
    root: &'a Path,
}

impl Tree<'_> {
    fn file(&self, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        let path = self.root.join(name);
        fs::write(&path, bytes).map_err(|e| CliError::io("write", &path, &e))
    }

    fn program(&self, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        self.file(name, bytes)?;
        self.executable(name)
    }

    fn executable(&self, name: &str) -> Result<(), CliError> {
        let path = self.root.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(|e| CliError::io("change the mode of", &path, &e))
    }

    fn link(&self, name: &str, target: &str) -> Result<(), CliError> {
        let path = self.root.join(name);
        symlink(target, &path).map_err(|e| CliError::io("link", &path, &e))
    }
}

/// `SplitMix64`: small, fast, and the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn new(kind: u64, number: u64) -> Self {
        let mut numbers = Self(SEED ^ kind.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03));
        numbers.next();
        numbers
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Small values often, large ones seldom: how words and instructions are spread.
    fn skewed(&mut self, limit: u64) -> u64 {
        let first = self.below(limit);
        self.below(first + 1)
    }
}

/// Bytes like those of a linked program: functions of instructions, some of which name the address of another function. With `changed` one
/// function near the start grows, so every address behind it shifts by the same amount: what a new build of a small mend looks like.
fn program(number: u64, functions: u64, changed: bool) -> Vec<u8> {
    const BASE: u32 = 0x0040_1000;
    let grown = functions / 9;
    let lengths = |function: u64| {
        let plain = 24 + Numbers::new(1 + number, function).skewed(160);
        plain + if changed && function == grown { 12 } else { 0 }
    };
    let mut addresses = Vec::new();
    let mut at = BASE;
    for function in 0..functions {
        addresses.push(at);
        at += u32::try_from(lengths(function) * 8).unwrap_or(0);
    }
    let mut out = format!("\x7fPRG demo tool {number}\n").into_bytes();
    for function in 0..functions {
        let mut numbers = Numbers::new(1_000 + number, function);
        for _ in 0..lengths(function) {
            let operation = numbers.skewed(48);
            let operand = if operation == 0 {
                let target = numbers.below(functions);
                usize::try_from(target).ok().and_then(|target| addresses.get(target)).copied().unwrap_or(BASE)
            } else {
                u32::try_from(numbers.skewed(512)).unwrap_or(0)
            };
            let registers = numbers.skewed(96);
            out.extend_from_slice(&u32::try_from(operation * 7 + (registers << 8)).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(&operand.to_le_bytes());
        }
    }
    out
}

const SYLLABLES: [&str; 24] = [
    "an", "ba", "con", "de", "er", "for", "gra", "hu", "in", "ka", "le", "mo", "net", "or", "pa", "qui", "ra", "sig", "ta", "un",
    "ver", "wa", "xi", "zo",
];

fn word(numbers: &mut Numbers) -> String {
    let mut spelled = Numbers::new(2, numbers.skewed(1_500));
    (0..=spelled.below(3)).map(|_| SYLLABLES[usize::try_from(spelled.below(24)).unwrap_or(0)]).collect()
}

fn sentence(out: &mut String, numbers: &mut Numbers) {
    for place in 0..6 + numbers.below(12) {
        if place > 0 {
            out.push(' ');
        }
        out.push_str(&word(numbers));
    }
    out.push_str(".\n");
}

fn document(number: u64, changed: bool) -> String {
    let mut numbers = Numbers::new(3, number);
    let mut out = format!("# Chapter {number}\n\n");
    for line in 0..60 + numbers.below(160) {
        sentence(&mut out, &mut numbers);
        if changed && line == 20 {
            out.push_str("Since 4.2.1 this is also true of relative paths.\n");
        }
    }
    out
}

fn table(number: u64, changed: bool) -> String {
    let mut numbers = Numbers::new(4, number);
    let mut out = String::from("[\n");
    for row in 0..150 + numbers.below(350) {
        let (name, weight, on) = (word(&mut numbers), numbers.below(10_000), numbers.below(2) == 0);
        let weight = if changed && row % 97 == 13 { weight + 1 } else { weight };
        // Writing into a String cannot fail.
        let _ = writeln!(out, r#"  {{"row": {row}, "name": "{name}", "weight": {weight}, "on": {on}}},"#);
    }
    out.push_str("  {}\n]\n");
    out
}

fn script(number: u64, version: Version) -> String {
    let mut numbers = Numbers::new(5, number);
    let shown = if number.is_multiple_of(50) { version.label() } else { Version::Old.label() };
    let mut out = format!("#!/bin/sh\n# step {number} of the tool, {shown}\nset -eu\n");
    for _ in 0..10 + numbers.below(40) {
        let (verb, name, value) = (word(&mut numbers), word(&mut numbers), numbers.below(1_000));
        let _ = writeln!(out, "tool{} {verb} --{name} {value}", value % PROGRAMS);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::tree;

    #[test]
    fn the_pair_is_the_same_each_time_and_differs_as_a_small_release_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, version) in [("old", Version::Old), ("again", Version::Old), ("new", Version::New)] {
            make(&path(name), version).unwrap();
        }
        assert_eq!(tree::difference(&path("old"), &path("again")).unwrap(), None);
        assert!(tree::difference(&path("old"), &path("new")).unwrap().is_some());
        let (files, bytes) = tree::measure(&path("old")).unwrap();
        assert!((1_400..1_700).contains(&files), "{files} files");
        assert!((30 << 20..50 << 20).contains(&bytes), "{bytes} bytes");
        assert!(!path("new").join("share/legacy/notes.md").exists() && path("new").join("share/notes.md").exists());
        assert_eq!(fs::read_link(path("new").join("lib/libtool.so")).unwrap(), Path::new("libtool-4.2.1.so"));
        // A grown function shifts addresses; the bytes of most instructions stay.
        let (a, b) = (program(0, 9_000, false), program(0, 9_000, true));
        assert_eq!(b.len() - a.len(), 12 * 8);
        let same = a.iter().rev().zip(b.iter().rev()).filter(|(a, b)| a == b).count();
        assert!(same * 10 > a.len() * 6 && same < a.len(), "{same} of {}", a.len());
    }
}
