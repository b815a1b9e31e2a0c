//! Our metadata read by an independent TUF client (python-tuf), the whole client workflow.

use std::path::Path;
use std::process::Command;

use super::*;

/// Finds a Python that has python-tuf: `CONSIGN_TUF_PYTHON`, else `python3`.
fn python() -> Option<String> {
    let python = std::env::var("CONSIGN_TUF_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import tuf.ngclient"]).output().ok()?.status.success();
    found.then_some(python)
}

fn store(world: &World, folder: &Path) {
    for (file, bytes) in &world.source {
        std::fs::write(folder.join(file), bytes).unwrap();
    }
}

#[test]
fn an_independent_client_accepts_our_metadata_and_refuses_the_same_attacks() {
    let Some(python) = python() else {
        eprintln!(
            "SKIPPED: no python-tuf here; pip install tuf and set CONSIGN_TUF_PYTHON to compare with the independent client"
        );
        return;
    };
    let now = Millis(i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap());
    let mut world = world();
    world.repository = Repository::create(&world.root_key, &world.keys, now).unwrap();
    world.source.clear();
    world.publish();
    let first = world.source.clone();
    let odd = Release { label: Some("cafe\u{301} \"3\" \n".to_owned()), ..release(1, 1) };
    world.repository = world.repository.release(&world.keys, std::slice::from_ref(&odd), now).unwrap();
    world.publish();
    let folder = tempfile::tempdir().unwrap();
    let (served, kept) = (folder.path().join("served"), folder.path().join("kept"));
    std::fs::create_dir(&served).unwrap();
    let path = target_path(odd.package, 1, &odd.manifest);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/tuf_client.py");
    let run = || Command::new(&python).arg(&script).args([&served, &kept]).arg(&path).output().unwrap();

    store(&world, &served);
    let output = run();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}");
    let target: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (target["length"].as_u64(), target["sha256"].as_str()),
        (Some(odd.length), Some(hex::encode(odd.sha256).as_str()))
    );

    // The same folder rolled back is refused by the other client too.
    std::fs::write(served.join("timestamp.json"), &first["timestamp.json"]).unwrap();
    assert!(!run().status.success(), "the independent client took a rolled-back timestamp");
}
