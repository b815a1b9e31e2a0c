//! Who may know whom: the rules of ARCHITECTURE.md, held over every source file.

#[path = "layering/paths.rs"]
mod paths;

use std::path::{Path, PathBuf};

/// Most lines of a source file.
const FILE_LINES_MAX: usize = 500;

/// What each room of the fleet may know of the others; `store` stands for the crate below.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["hub", "site_server", "agent", "catalog", "net", "trust", "policy", "protocol", "domain", "store"]),
    ("hub", &["catalog", "net", "trust", "policy", "protocol", "domain", "store"]),
    ("site_server", &["catalog", "net", "trust", "policy", "protocol", "domain", "store"]),
    ("agent", &["catalog", "net", "trust", "policy", "protocol", "domain", "store"]),
    ("catalog", &["trust", "policy", "protocol", "domain", "store"]),
    ("net", &["trust", "policy", "protocol", "domain", "store"]),
    ("trust", &["protocol", "domain", "store"]),
    ("policy", &["protocol", "domain", "store"]),
    ("protocol", &["domain", "store"]),
    ("domain", &["store"]),
];

/// The part of the crate below that is plain types: all that rooms without I/O may use of it.
const PLAIN_STORE: &[&str] =
    &["consign_store::id", "consign_store::ChunkId", "consign_store::FileDigest", "consign_store::ManifestId"];

/// Rooms that do no I/O and read no clock.
const PURE: &[&str] = &["domain", "policy"];

/// What a room must not touch, each a path prefix.
const PURE_NEVER: &[&str] = &[
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "tokio",
    "hyper",
    "hyper_util",
    "axum",
    "rusqlite",
    "rustix",
    "tempfile",
];
const PROTOCOL_NEVER: &[&str] =
    &["std::fs", "std::process", "std::thread", "tokio", "hyper", "hyper_util", "axum", "rusqlite", "rustix"];
const STORE_NEVER: &[&str] =
    &["std::net", "tokio", "hyper", "hyper_util", "axum", "rustls", "tokio_rustls", "rusqlite", "jiff", "futures_util"];

/// Addresses are plain types; everything else in `std::net` opens sockets.
const PLAIN_NET: &[&str] = &["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr", "std::net::SocketAddr"];

/// Clocks, as the last two parts of a path.
const CLOCKS: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "Uuid::now_v7",
    "SystemTime::elapsed",
    "UNIX_EPOCH::elapsed",
];
/// Clocks of the wall: what the store is told by its caller.
const WALL_CLOCKS: &[&str] = &["SystemTime::now", "Timestamp::now", "Zoned::now"];

/// Checks one source file, named relative to the repository; returns what is wrong, a sentence each.
fn violations(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("{file} has {lines} lines; a file over {FILE_LINES_MAX} is two ideas"));
    }
    let Some(module) = module_of(file) else { return found };
    if module.iter().any(|part| part == "tests") {
        return found;
    }
    for path in paths::of(text) {
        let path = resolve(&module, &path);
        if let Some(why) = refusal(&module, &path) {
            found.push(format!("{file} uses {path}: {why}"));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Names the module of a file: crate first (`consign` or `store`). The root of a crate is that alone, except for `main`.
fn module_of(file: &str) -> Option<Vec<String>> {
    let (root, rest) = match file.strip_prefix("store/src/") {
        Some(rest) => ("store", rest),
        None => ("consign", file.strip_prefix("src/")?),
    };
    let parts = rest.strip_suffix(".rs")?.split('/').map(str::to_owned);
    let mut module: Vec<String> = std::iter::once(root.to_owned()).chain(parts).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    Some(module)
}

/// Turns `crate::`, `super::`, `self::` and the crate's own name into a path from the crate's root.
fn resolve(module: &[String], path: &str) -> String {
    let parts: Vec<&str> = path.split("::").collect();
    let base: Vec<&str> = module.iter().map(String::as_str).collect();
    let ups = parts.iter().take_while(|part| **part == "super").count();
    match parts[0] {
        "crate" => [&base[..1], &parts[1..]].concat().join("::"),
        "self" => [&base[..], &parts[1..]].concat().join("::"),
        "super" => [&base[..base.len().saturating_sub(ups).max(1)], &parts[ups..]].concat().join("::"),
        _ => path.to_owned(),
    }
}

fn under(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

fn ends(path: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| path == *ending || path.strip_suffix(ending).is_some_and(|rest| rest.ends_with("::")))
}

/// Says why a module must not use `path`; `None` if it may.
fn refusal(module: &[String], path: &str) -> Option<String> {
    if module[0] == "store" {
        return if under(path, STORE_NEVER) || under(path, &["consign"]) {
            Some("the store knows no network, no async runtime and no fleet".to_owned())
        } else if ends(path, WALL_CLOCKS) {
            Some("the store reads no clock: time is an argument".to_owned())
        } else {
            None
        };
    }
    let room = module.get(1)?;
    let (_, known) = MAY_KNOW.iter().find(|(name, _)| name == room)?;
    let other = match path.strip_prefix("consign::") {
        Some(inside) => inside.split("::").next().filter(|first| MAY_KNOW.iter().any(|(name, _)| name == first)),
        None => under(path, &["consign_store"]).then_some("store"),
    };
    if let Some(other) = other
        && other != room
        && !known.contains(&other)
    {
        return Some(format!("{room} must not know {other}"));
    }
    if PURE.contains(&room.as_str()) {
        let plain = under(path, PLAIN_NET) || under(path, PLAIN_STORE);
        if !plain && (under(path, PURE_NEVER) || under(path, &["std::net", "consign_store"])) {
            return Some(format!("{room} does no I/O"));
        }
        if ends(path, CLOCKS) {
            return Some(format!("{room} reads no clock"));
        }
    }
    (room == "protocol" && under(path, PROTOCOL_NEVER)).then(|| "protocol does no I/O".to_owned())
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn everyone_knows_only_those_below() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "store/src", "tests", "store/tests", "benches", "store/benches"] {
        if top.join(folder).is_dir() {
            sources(&top.join(folder), &mut files);
        }
    }
    assert!(files.len() > 30, "found only {} source files under {}", files.len(), top.display());
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let name = path.strip_prefix(top).unwrap().to_str().unwrap();
            violations(name, &std::fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_has_its_rule() {
    let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let rooms = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let lawless: Vec<&str> = rooms.filter(|room| !MAY_KNOW.iter().any(|(name, _)| name == room)).collect();
    assert!(lawless.is_empty(), "no rule for {lawless:?}; add it to MAY_KNOW");
}

#[test]
fn what_breaks_a_rule_is_found() {
    for (file, text) in [
        ("src/hub/mod.rs", "use crate::agent::Plan;"),
        ("src/hub/mod.rs", "fn f() { crate::site_server::run(); }"),
        ("src/site_server/a/b.rs", "use super::super::super::hub::Hub;"),
        ("src/agent/mod.rs", "use crate::{net::Client, cli::Output};"),
        ("src/catalog/mod.rs", "use crate::net;"),
        ("src/net/mod.rs", "use crate::{\n    domain::Name,\n    catalog::{Catalog, self},\n};"),
        ("src/trust/mod.rs", "use crate::policy as p;"),
        ("src/protocol/mod.rs", "use crate::trust::Key;"),
        ("src/protocol/mod.rs", "use tokio::fs;"),
        ("src/domain/name.rs", "use crate::protocol::hello::Role;"),
        ("src/domain/name.rs", "use std::{fmt, fs::File};"),
        ("src/domain/name.rs", "use consign_store::Store;"),
        ("src/policy/mod.rs", "fn f() { std::net::TcpStream::connect(x); }"),
        ("src/policy/mod.rs", "use std::time::Instant; fn f() { let a = Instant::now(); }"),
        ("src/policy/mod.rs", "#[cfg(test)] mod tests { } use tokio::time;"),
        ("src/main.rs", "use consign::hub;"),
        ("store/src/pack/mod.rs", "use std::net::SocketAddr;"),
        ("store/src/pack/mod.rs", "async fn f() { tokio::spawn(g()); }"),
        ("store/src/pack/mod.rs", "use std::time; fn f() -> u64 { time::SystemTime::now() }"),
        ("store/src/pack/mod.rs", "extern crate tokio;"),
        ("src/cli/mod.rs", &"\n".repeat(FILE_LINES_MAX + 1)),
    ] {
        assert!(!violations(file, text).is_empty(), "{file}: {}", text.trim());
    }
}

#[test]
fn what_keeps_the_rules_is_left_alone() {
    for (file, text) in [
        ("src/hub/mod.rs", "use crate::{catalog::Catalog, hub::worker::Worker}; use super::lib;"),
        ("src/hub/mod.rs", "// use crate::agent::Plan;\n/* crate::agent */ const A: &str = \"crate::agent::X\"; // tokio::spawn"),
        ("src/main.rs", "fn main() { consign::cli::main() }"),
        ("src/policy/mod.rs", "use std::net::IpAddr; use crate::domain::Name; fn f(a: &'static str, b: char) -> char { '\"' }"),
        ("src/policy/mod.rs", "#[cfg(test)]\nmod tests {\n    fn f() { if x { std::fs::read(y); } }\n}\n"),
        ("src/policy/tests.rs", "use std::fs;"),
        ("src/net/mod.rs", "use tokio::net::TcpListener; use crate::trust::tls; let r = r#\"crate::hub\"#;"),
        ("store/src/pack/mod.rs", "use crate::chunk; use std::fs::File; fn f() { std::time::Instant::now(); }"),
    ] {
        assert_eq!(violations(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}
