//! A disk that takes no more bytes: the append fails, nothing is lost, and the store goes on when there is room again.

use std::path::{Path, PathBuf};
use std::process::Command;

use consign_store::chunk::ChunkKind;
use consign_store::chunk::record::encode;
use consign_store::store::Store;

use crate::store::assert_has;
use crate::support::{append, chunk, noise};

const FOLDER: &str = "CONSIGN_TEST_FULL_DISK";

/// Runs itself again in a process that may write no file beyond 64 KiB: a write across that border is short, the next one fails.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    if let Some(dir) = std::env::var_os(FOLDER) {
        return fill(&PathBuf::from(dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$0\" --exact full_disk::a_full_disk_leaves_the_store_as_it_was";
    let run = Command::new("sh").args(["-c", script]).arg(program).env(FOLDER, dir.path()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && text.contains("1 passed"), "{text}");
    let store = Store::open(dir.path()).unwrap();
    assert_has(&store, 0..20);
    assert_has(&store, 900..901);
    append(&store, 1000, 100);
    store.sync().unwrap();
    assert_has(&store, 1000..1100);
}

fn fill(dir: &Path) {
    let store = Store::open(dir).unwrap();
    append(&store, 0, 20);
    let before = store.stats().unwrap();
    let chunks = [chunk(500, 250_000)];
    for _ in 0..2 {
        let error = store.append_encoded(encode(ChunkKind::Content, &chunks, 3).unwrap()).unwrap_err();
        assert!(error.to_string().contains("append to"), "{error}");
        assert_eq!(store.stats().unwrap(), before);
        assert!(!store.contains(&chunks[0].id()).unwrap());
    }
    assert_has(&store, 0..20);
    append(&store, 900, 1);
    store.sync().unwrap();
    assert!(consign_store::fsx::write_durable(&dir.join("packs/note"), &noise(1, 250_000)).is_err());
    assert!(!dir.join("packs/note").exists());
}
