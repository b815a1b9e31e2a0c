//! Many files: what a put holds in memory does not grow with their number.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::command::PROGRAM;
use crate::common::process::memory_of;

const FILES: u32 = 140_000;
/// Most memory: buffers and the manifest on its way, and nothing for each file. What is known of each in memory would alone be more.
const BYTES_MAX: u64 = 24 << 20;

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

#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    // In memory where that is possible: it is the number of files that matters here, not the disk.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let (source, kept) = (dir.path().join("source"), dir.path().join("store"));
    for number in 0..FILES {
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
    // Nothing is read or stored this time, so what is in flight does not hide the rest.
    let (answer, peak) = store(&put);
    assert_eq!((&answer["files"], &answer["new_chunks"]), (&FILES.into(), &0.into()));
    assert!((1..BYTES_MAX).contains(&peak), "{peak} bytes of memory for {FILES} files");
}
