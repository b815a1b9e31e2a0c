//! The command line as a process: what it answers, where, and with which exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn consign(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consign"));
    command.args(words).env_remove("CONSIGN_HUB").stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = consign(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("no signal ended it"), text(stdout), text(stderr))
}

fn json(words: &[&str]) -> Value {
    let (code, out, err) = run(&[words, &["--json"]].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{words:?} answered {out}");
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn store_put_and_get_answer_as_the_contract_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (store, source, dest) = (path("store"), path("source"), path("dest"));
    fs::create_dir_all(source.join("deep/er")).unwrap();
    let large: Vec<u8> = (0..700_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    fs::write(source.join("deep/er/large"), &large).unwrap();
    fs::write(source.join("empty"), "").unwrap();
    std::os::unix::fs::symlink("deep/er/large", source.join("link")).unwrap();

    let put = json(&["store", "put", text(&store), text(&source)]);
    assert_eq!(put["files"], 2);
    assert_eq!(put["bytes"], large.len());
    assert!(put["new_chunks"].as_u64().unwrap() > 8 && put["new_stored_bytes"].as_u64().unwrap() > 0, "{put}");
    let manifest = put["manifest"].as_str().unwrap();
    assert!(manifest.starts_with("b3:"));

    let again = json(&["store", "put", text(&store), text(&source), "--verify"]);
    assert_eq!((&again["manifest"], &again["new_chunks"], &again["new_stored_bytes"]), (&put["manifest"], &0.into(), &0.into()));

    let got = json(&["store", "get", text(&store), manifest, text(&dest)]);
    assert_eq!((&got["files"], &got["from_store_bytes"], &got["from_seed_bytes"]), (&2.into(), &large.len().into(), &0.into()));
    assert_eq!(fs::read(dest.join("link")).unwrap(), large);

    let seeded = json(&["store", "get", text(&store), manifest, text(&path("seeded")), "--seed", text(&dest)]);
    assert_eq!((&seeded["from_seed_bytes"], &seeded["from_store_bytes"]), (&large.len().into(), &0.into()));

    let stats = json(&["store", "stats", text(&store)]);
    assert!(stats["raw_bytes"].as_u64().unwrap() >= large.len() as u64, "{stats}");
}

#[test]
fn store_gc_scrub_and_repair_answer_as_the_contract_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (store, other, source) = (path("store"), path("other"), path("source"));
    fs::create_dir(&source).unwrap();
    let noise = |seed: u32| -> Vec<u8> {
        (0..60_000_u32).flat_map(|n| ((n ^ seed).wrapping_mul(2_654_435_761).rotate_left(seed) >> 3).to_le_bytes()).collect()
    };
    fs::write(source.join("old"), noise(7)).unwrap();
    let old = json(&["store", "put", text(&store), text(&source)]);
    fs::remove_file(source.join("old")).unwrap();
    // Less than half of what is there.
    let kept = &noise(11)[..100_000];
    fs::write(source.join("new"), kept).unwrap();
    let new = json(&["store", "put", text(&store), text(&source)])["manifest"].as_str().unwrap().to_owned();
    json(&["store", "put", text(&other), text(&source)]);

    let told = json(&["store", "gc", text(&store), "--keep", &new]);
    assert_eq!((&told["freed_bytes"], &told["dry_run"]), (&0.into(), &false.into()));
    assert!(told["chunks_waiting"].as_u64().unwrap() >= old["new_chunks"].as_u64().unwrap(), "{told}");
    let gc = ["store", "gc", text(&store), "--grace", "0", "--keep", &new];
    let dry = json(&[&gc[..], &["--dry-run"]].concat());
    let done = json(&gc);
    assert_eq!(dry["freed_bytes"], done["freed_bytes"]);
    assert!(done["freed_bytes"].as_u64().unwrap() > 0, "{done}");

    let clean = json(&["store", "scrub", text(&store)]);
    assert_eq!((clean["damaged"].as_array().unwrap().len(), clean["damaged_packs"].as_array().unwrap().len()), (0, 0));
    let pack = fs::read_dir(store.join("packs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let (code, out, err) = run(&["store", "scrub", text(&store), "--json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &serde_json::from_str::<Value>(&err).unwrap()["error"]["code"]), (1, &"damaged".into()));
    assert_eq!(found["damaged"][0]["file"], text(&pack));
    assert_eq!(run(&["store", "scrub", text(&store)]).0, 1, "known damage remains damage");

    let healed = json(&["store", "repair", text(&store), "--from", text(&other)]);
    assert_eq!(healed["repaired"], found["damaged"].as_array().unwrap().len());
    assert_eq!(run(&["store", "scrub", text(&store)]).0, 0);
    json(&["store", "get", text(&store), &new, text(&path("dest"))]);
    assert_eq!(fs::read(path("dest").join("new")).unwrap(), kept);
    assert_eq!(run(&["store", "gc", text(&path("absent")), "--keep", &new]).0, 1);
    assert!(!path("absent").exists());
}

#[test]
fn a_mistyped_source_leaves_no_store_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let (code, out, err) = run(&["store", "put", text(&store), text(&folder.path().join("absent"))]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("error: cannot find ") && err.contains("hint: "), "{err}");
    assert!(!store.exists());
}

#[test]
fn errors_are_words_for_people_and_json_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = text(folder.path());
    let (code, out, err) = run(&["package", "list", "--hub", nowhere]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("error: there is no hub at ") && err.contains("\nhint: ") && !err.contains('\x1b'), "{err}");

    let (code, out, err) = run(&["package", "list", "--hub", nowhere, "--json"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let told: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(told["error"]["code"], "no_hub");
    assert!(told["error"]["hint"].as_str().unwrap().contains("consign hub init"));
}

#[test]
fn wrong_usage_is_two_and_help_is_zero() {
    for words in [
        &["bogus"][..],
        &["store", "get", "s", "no-id", "d"],
        &["package", "add", "x"],
        &["package", "add", "a/b", "--source", "d"],
        &[],
    ] {
        assert_eq!(run(words).0, 2, "{words:?}");
    }
    let (code, _, err) = run(&["bogus", "--json"]);
    assert_eq!((code, &serde_json::from_str::<Value>(&err).unwrap()["error"]["code"]), (2, &"usage".into()));
    for words in [&["--help"][..], &["--version"], &["store", "put", "--help"], &["completions", "bash"]] {
        let (code, out, err) = run(words);
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        assert!(out.contains("consign"), "{words:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let mut child = consign(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let err = String::from_utf8(stderr).unwrap();
    assert!(
        status.success() || status.code() == Some(1) && err.starts_with("error: cannot write to standard output"),
        "{status}: {err}"
    );
}
