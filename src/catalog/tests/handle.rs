//! Making, opening, copying; a full disk; a panic; the queue.

use std::fs;

use rusqlite::Connection;

use super::super::{Catalog, Error};
use super::*;

#[test]
fn create_refuses_what_is_there_and_takes_over_what_was_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    assert!(matches!(Catalog::open(&path), Err(Error::Database { .. })), "there is nothing to open");
    fs::write(&path, b"").unwrap();
    assert!(matches!(Catalog::open(&path), Err(Error::NotACatalog { .. })), "an empty file is no catalog yet");
    drop(Catalog::create(&path).unwrap());
    assert!(matches!(Catalog::create(&path), Err(Error::Exists { .. })));
    drop(Catalog::open(&path).unwrap());
}

#[test]
fn open_refuses_other_files_and_newer_catalogs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    fs::write(&path, vec![b'x'; 8192]).unwrap();
    assert!(matches!(Catalog::open(&path), Err(Error::NotACatalog { .. })), "not SQLite");
    assert!(matches!(Catalog::create(&path), Err(Error::NotACatalog { .. })));

    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = fs::read(&other).unwrap();
    assert!(matches!(Catalog::open(&other), Err(Error::NotACatalog { .. })), "another program's database");
    assert!(matches!(Catalog::create(&other), Err(Error::Exists { .. })));
    assert_eq!(fs::read(&other).unwrap(), before, "which was left as it was");

    let newer = folder.path().join("newer.db");
    drop(Catalog::create(&newer).unwrap());
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let Err(Error::TooNew { found: 99, known: 2, .. }) = Catalog::open(&newer) else { panic!("a newer catalog was opened") };
}

#[tokio::test]
async fn a_catalog_of_the_first_version_is_brought_to_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../schema/0001.sql")).unwrap();
    old.pragma_update(None, "application_id", 0x436e_7343).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    for _ in 0..2 {
        let catalog = Catalog::open(&path).unwrap();
        assert!(catalog.traffic().await.unwrap().is_empty());
        assert_eq!(catalog.sites().await.unwrap().len(), 1, "what was there is kept");
    }
}

#[tokio::test]
async fn the_connections_keep_the_promises_on_disk() {
    let catalog = fixture();
    let pragma = |name: &'static str| move |db: &Connection| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (synchronous, keys) =
        catalog.write("asking", move |tx| Ok((pragma("synchronous")(tx)?, pragma("foreign_keys")(tx)?))).await.unwrap();
    assert_eq!((synchronous, keys), (2, 1), "FULL, on");
    let mode: String =
        catalog.read("asking", |db| Ok(db.pragma_query_value(None, "journal_mode", |row| row.get(0))?)).await.unwrap();
    assert_eq!(mode, "wal");
    let written = catalog.read("writing where one reads", |db| Ok(db.execute("DELETE FROM site", [])?)).await;
    assert!(matches!(written, Err(Error::Database { .. })), "a reader cannot write: {written:?}");
}

#[tokio::test]
async fn a_backup_holds_what_was_committed_and_opens() {
    let catalog = fixture();
    catalog.add_package(1, "next").await;
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("copy.db");
    catalog.backup(&to).await.unwrap();
    assert!(matches!(catalog.backup(&to).await, Err(Error::Exists { .. })));
    catalog.add_package(2, "cmake").await;
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["copy.db"], "one file and nothing beside it");

    let copy = Catalog::open(&to).unwrap();
    assert_eq!(copy.packages().await.unwrap().len(), 1);
    copy.add_package(by(0), package_add(3, "typescript")).await.unwrap();
    let nowhere = catalog.backup(&folder.path().join("missing/copy.db")).await;
    assert!(nowhere.is_err_and(|e| e.to_string().contains("missing/copy.db")), "the error names the place");
}

#[tokio::test]
async fn a_full_disk_is_named_and_changes_nothing() {
    let catalog = fixture();
    catalog.add_package(1, "next").await;
    let room = |pages: i64| {
        move |tx: &super::super::tx::Tx<'_>| Ok(tx.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
    };
    let pages: i64 = catalog.read("asking", |db| Ok(db.pragma_query_value(None, "page_count", |row| row.get(0))?)).await.unwrap();
    catalog.write("taking the room away", room(pages)).await.unwrap();

    let before = catalog.package("next").await.unwrap();
    let tuf = TufChange { based_on: 0, files: vec![("timestamp.json".into(), vec![7; 1 << 20])] };
    let full = catalog.catalog.release(before.id, version(1, 1), tuf.clone(), outcome(Some(1), 5), at(6)).await;
    let Err(Error::Full { path, .. }) = &full else { panic!("expected a full disk, got {full:?}") };
    assert_eq!(path, catalog.path());
    assert_eq!(catalog.package("next").await.unwrap(), before, "no half of the release is there");
    assert_eq!(catalog.tuf_files().await.unwrap().files, []);

    catalog.write("giving room", room(pages + 10_000)).await.unwrap();
    catalog.catalog.release(before.id, version(1, 1), tuf, outcome(Some(1), 5), at(6)).await.unwrap();
    assert_eq!(catalog.package("next").await.unwrap().versions.len(), 1);
}

#[tokio::test]
async fn a_panic_rolls_back_answers_and_leaves_the_catalog_usable() {
    let catalog = fixture();
    let broken = catalog
        .write::<()>("breaking off", |tx| {
            tx.execute("DELETE FROM site", [])?;
            panic!("a test's panic in a write");
        })
        .await;
    assert!(matches!(broken, Err(Error::Stopped { operation: "breaking off", .. })), "{broken:?}");
    assert_eq!(catalog.sites().await.unwrap().len(), 1, "rolled back");
    for _ in 0..10 {
        let broken = catalog.read::<()>("breaking off", |_| panic!("a test's panic in a read")).await;
        assert!(matches!(broken, Err(Error::Stopped { .. })), "{broken:?}");
    }
    catalog.add_package(1, "next").await;
    assert_eq!(catalog.writer_queue(), super::super::WriterQueue::default(), "nothing waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_shows_what_waits_and_is_worked_off_though_callers_leave() {
    let catalog = fixture();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let first = tokio::spawn({
        let catalog = catalog.catalog.clone();
        async move { catalog.write("holding the writer", move |_| Ok(gate.recv().is_ok())).await }
    });
    while catalog.writer_queue().depth < 1 {
        tokio::task::yield_now().await;
    }
    let second = tokio::spawn({
        let catalog = catalog.catalog.clone();
        async move { catalog.add_package(by(0), package_add(1, "next")).await }
    });
    while catalog.writer_queue().depth < 2 {
        tokio::task::yield_now().await;
    }
    assert!(catalog.writer_queue().oldest.is_some());
    assert_eq!(catalog.packages().await.unwrap().len(), 0, "readers do not wait for the writer");
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    assert!(first.await.unwrap().unwrap());
    catalog.write("waiting for the queue", |_| Ok(())).await.unwrap();
    assert_eq!(catalog.packages().await.unwrap().len(), 1, "what was queued is done");
    assert_eq!(catalog.writer_queue().depth, 0);
}

#[tokio::test]
async fn revisions_are_told_after_their_commit_and_only_if_they_rose() {
    let catalog = fixture();
    let mut revisions = catalog.revisions();
    let start = *revisions.borrow_and_update();
    assert_eq!(catalog.revision().await.unwrap(), start);
    catalog.put_setting("hub address", b"hub:8443".to_vec()).await.unwrap();
    assert!(!revisions.has_changed().unwrap(), "a setting is no news to the fleet");
    assert_eq!(catalog.setting("hub address").await.unwrap().as_deref(), Some(&b"hub:8443"[..]));
    assert_eq!(catalog.setting("nothing").await.unwrap(), None);

    let failed = catalog.write::<()>("failing", |tx| {
        tx.bump()?;
        Err(super::super::error::invalid("test", "fails after raising the revision"))
    });
    assert!(failed.await.is_err());
    assert!(!revisions.has_changed().unwrap());
    catalog.add_package(1, "next").await;
    assert!(revisions.has_changed().unwrap());
    let told = *revisions.borrow_and_update();
    assert_eq!((told, catalog.revision().await.unwrap()), (start + 1, start + 1));
}

#[tokio::test]
async fn after_a_failed_sync_every_write_is_refused_and_none_hangs() {
    let catalog = fixture();
    let failed = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    let first = catalog.write::<()>("syncing", move |_| Err(rusqlite::Error::SqliteFailure(failed, None).into())).await;
    assert!(matches!(first, Err(Error::Database { .. })), "{first:?}");
    for _ in 0..3 {
        let later = catalog.put_setting("a", vec![]).await;
        assert!(matches!(later, Err(Error::Stopped { .. })), "{later:?}");
    }
    assert_eq!(catalog.sites().await.unwrap().len(), 1, "reading goes on");
    assert_eq!(catalog.writer_queue().depth, 0);
    let reopened = Catalog::open(catalog.path()).unwrap();
    reopened.put_setting("a", vec![]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_callers_than_places_all_get_their_turn() {
    let catalog = fixture();
    let tasks: Vec<_> = (0..600)
        .map(|_| {
            let catalog = catalog.catalog.clone();
            tokio::spawn(async move {
                let risen =
                    catalog.write("raising the revision", |tx| tx.bump().and_then(|_| super::super::tx::revision(tx))).await?;
                Ok::<_, Error>((risen, catalog.revision().await?))
            })
        })
        .collect();
    let mut all = std::collections::BTreeSet::new();
    for task in tasks {
        let (risen, read) = task.await.unwrap().unwrap();
        assert!(read >= risen, "a reader sees what was written before it asked");
        all.insert(risen);
    }
    assert_eq!(all.len(), 600);
}
