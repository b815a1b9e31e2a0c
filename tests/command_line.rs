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
