//! What was acknowledged before a SIGKILL is there after it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const FOLDER: &str = "CONSIGN_TEST_KILL_FOLDER";
const ROUNDS: u32 = 5;

/// The child: releases one version after the other and says so after each, until it is killed.
#[tokio::test]
#[ignore = "run by the test below, in a process of its own"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let catalog = Fixture {
        catalog: Catalog::open(&Path::new(&folder).join("catalog.db")).unwrap(),
        _folder: tempfile::tempdir().unwrap(),
    };
    let mut number = catalog.package("next").await.unwrap().versions.last().map_or(0, |version| version.version);
    loop {
        number += 1;
        let revision = catalog.release(1, number, (number % 250) as u8).await;
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nreleased {number} {revision}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn acknowledged_releases_survive_a_kill_and_none_is_half_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    Catalog::create(&path).unwrap().add_package(by(0), package_add(1, "next")).await.unwrap();
    for round in 1..=ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "catalog::tests::kill::child", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let told = |line: String| {
            line.strip_prefix("released ")
                .map(|rest| rest.split_once(' ').map(|(n, r)| (n.parse().unwrap(), r.parse().unwrap())).unwrap())
        };
        // A different point in the stream each time; the kill lands wherever the child is by then.
        let mut acknowledged: (u32, u64) =
            lines.by_ref().filter_map(told).nth(3 + 2 * round as usize).expect("the child ended before its time");
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = lines.filter_map(told).last().unwrap_or(acknowledged);

        let catalog = Catalog::open(&path).unwrap();
        let numbers: Vec<u32> = catalog.package("next").await.unwrap().versions.iter().map(|v| v.version).collect();
        let last = *numbers.last().unwrap();
        assert!(
            last == acknowledged.0 || last == acknowledged.0 + 1,
            "round {round}: {acknowledged:?} acknowledged, {last} there"
        );
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
        assert_eq!(catalog.tuf_files().await.unwrap().revision, u64::from(last), "each version has its metadata");
        assert_eq!(catalog.tuf_file("timestamp.json").await.unwrap(), Some(vec![(last % 250) as u8]));
        assert_eq!(catalog.revision().await.unwrap(), acknowledged.1 + u64::from(last - acknowledged.0));
        let check: String =
            catalog.read("checking", |db| Ok(db.pragma_query_value(None, "integrity_check", |row| row.get(0))?)).await.unwrap();
        assert_eq!(check, "ok");
    }
}
