//! Many files: what a command holds in memory does not grow with their number.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::command::PROGRAM;
use crate::common::process::memory_of;

const FEW: u32 = 20_000;
const MANY: u32 = 140_000;
/// Most bytes that each file more may cost: below what its path and digest alone would.
const BYTES_A_FILE_MAX: u64 = 40;

/// Runs `consign store` with `words`; returns its answer and the most anonymous memory that it was seen with, bytes.
fn store(words: &[&Path]) -> (serde_json::Value, u64) {
    let mut command = Command::new(PROGRAM);
    command.arg("store").args(words).arg("--json").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut peak = 0;
    while child.try_wait().expect("looked").is_none() {
        peak = peak.max(memory_of(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    let done = child.wait_with_output().expect("waited");
    assert!(done.status.success(), "{words:?}");
    (serde_json::from_slice(&done.stdout).expect("JSON"), peak)
}

/// The most memory of putting `count` small files again, unchanged, and of getting them.
fn peaks(count: u32) -> [u64; 2] {
    let dir = tempfile::tempdir().expect("a folder");
    let (source, kept, out) = (dir.path().join("source"), dir.path().join("store"), dir.path().join("out"));
    for number in 0..count {
        let folder = source.join((number / 1000).to_string());
        if number % 1000 == 0 {
            fs::create_dir_all(&folder).expect("folder");
        }
        fs::write(folder.join(format!("a name of usual length {number}.txt")), number.to_string()).expect("written");
    }
    // What was changed just now is not known as unchanged.
    std::thread::sleep(Duration::from_secs(3));
    let put = [Path::new("put"), &kept, &source];
    store(&put);
    let (answer, again) = store(&put);
    assert_eq!((&answer["files"], &answer["new_chunks"]), (&count.into(), &0.into()));
    let manifest = Path::new(answer["manifest"].as_str().expect("an id")).to_owned();
    let (answer, get) = store(&[Path::new("get"), &kept, &manifest, &out]);
    assert_eq!(answer["files"], count);
    [again, get]
}

#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    let (few, many) = (peaks(FEW), peaks(MANY));
    for (what, few, many) in [("put again", few[0], many[0]), ("get", few[1], many[1])] {
        assert!(few > 0 && many > 0, "{what}: not seen while it ran");
        let growth = many.saturating_sub(few) / u64::from(MANY - FEW);
        assert!(growth <= BYTES_A_FILE_MAX, "{what}: {few} bytes of memory, and with more files {many}: {growth} bytes a file");
    }
}
