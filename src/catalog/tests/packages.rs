//! Packages, their refreshes and their releases.

use super::super::{Error, TufFiles};
use super::*;
use crate::domain::CodebaseState;
use crate::protocol::admin::RefreshState;

#[tokio::test]
async fn adding_queues_the_first_refresh_and_names_stay_unique() {
    let catalog = fixture();
    let mut add = package_add(1, "next");
    add.label = Some("14.2.14".into());
    let view = catalog.catalog.add_package(by(0), add.clone()).await.unwrap();
    assert_eq!(view.refresh, RefreshState::Queued { since: at(0), position: 0 });
    assert_eq!(catalog.catalog.add_package(by(1), add).await.unwrap(), view, "the same again is no error");

    let error = catalog.catalog.add_package(by(1), package_add(2, "next")).await.unwrap_err().to_string();
    assert!(error.contains(&uuid(1).to_string()) && error.contains(&uuid(2).to_string()), "both ids: {error}");
    assert!(
        matches!(catalog.catalog.add_package(by(1), package_add(1, "other")).await, Err(Error::Conflict { .. })),
        "one id, two names"
    );
    let mut odd = package_add(3, "odd");
    odd.platforms = vec!["amiga".into()];
    assert!(matches!(catalog.catalog.add_package(by(1), odd).await, Err(Error::Invalid { .. })));

    assert_eq!(catalog.package("next").await.unwrap(), catalog.package(&uuid(1).to_string()).await.unwrap());
    let missing = catalog.package("nothing").await.unwrap_err().to_string();
    assert!(missing.contains("\"nothing\"") && missing.contains("consign package list"), "{missing}");
    let job = catalog.take_refresh(at(2)).await.unwrap().unwrap();
    assert_eq!((job.label.as_deref(), job.source.as_str(), job.queued, job.started), (Some("14.2.14"), "/srv/1", at(0), at(2)));
    assert_eq!(job.current, None);
    catalog.release(1, 1, 1).await;
    catalog.queue("next", 3).await;
    let job = catalog.take_refresh(at(4)).await.unwrap().unwrap();
    assert_eq!(job.current.map(|current| (current.version, current.manifest)), Some((1, manifest(1).to_string())));
}

#[tokio::test]
async fn a_name_that_looks_like_an_id_does_not_hide_the_package_with_that_id() {
    let catalog = fixture();
    catalog.add_package(1, "next").await;
    catalog.add_package(2, &uuid(1).to_string()).await;
    assert_eq!(catalog.package(&uuid(1).to_string()).await.unwrap().name.as_str(), "next");
}

#[tokio::test]
async fn the_queue_is_first_come_first_served_and_merges_what_waits() {
    let catalog = fixture();
    catalog.add_package(1, "first").await;
    catalog.add_package(2, "second").await;
    let thorough = RefreshRequest { verify: true, label: None };
    catalog.queue_refresh(by(3), "second", thorough).await.unwrap();
    let view = catalog.queue_refresh(by(4), "second", RefreshRequest { verify: false, label: Some("2.0".into()) }).await.unwrap();
    assert_eq!(view.refresh, RefreshState::Queued { since: at(0), position: 1 }, "still the refresh that came first");
    assert_eq!(catalog.refresh_queue().await.unwrap().depth, 2);

    let first = catalog.take_refresh(at(5)).await.unwrap().unwrap();
    assert_eq!(first.name.as_str(), "first");
    assert!(matches!(catalog.package("first").await.unwrap().refresh, RefreshState::Hashing { .. }));
    let second = catalog.take_refresh(at(6)).await.unwrap().unwrap();
    assert_eq!((second.name.as_str(), second.verify, second.label.as_deref()), ("second", true, Some("2.0")));
    assert_eq!(catalog.take_refresh(at(7)).await.unwrap(), None);
}

#[tokio::test]
async fn a_refresh_asked_for_while_one_runs_runs_after_it() {
    let catalog = fixture();
    catalog.add_package(1, "next").await;
    catalog.take_refresh(at(1)).await.unwrap().unwrap();
    catalog.queue("next", 2).await;
    assert_eq!(catalog.take_refresh(at(3)).await.unwrap(), None, "never two of one package");
    catalog.refresh_unchanged(PackageId(uuid(1)), outcome(None, 1)).await.unwrap();
    let view = catalog.package("next").await.unwrap();
    assert_eq!(
        (view.refresh, view.refreshes_ended),
        (RefreshState::Queued { since: at(2), position: 0 }, 1),
        "not idle: a waiter waits on"
    );
    assert!(catalog.take_refresh(at(4)).await.unwrap().is_some());
    catalog.refresh_unchanged(PackageId(uuid(1)), outcome(None, 4)).await.unwrap();
    let view = catalog.package("next").await.unwrap();
    assert_eq!((view.refresh, view.refreshes_ended, view.last_refresh), (RefreshState::Idle, 2, Some(outcome(None, 4))));
}

#[tokio::test]
async fn interrupted_refreshes_wait_again_in_their_old_place() {
    let catalog = fixture();
    for (n, name) in [(1, "first"), (2, "second")] {
        catalog.add_package(n, name).await;
    }
    catalog.take_refresh(at(1)).await.unwrap().unwrap();
    let later = RefreshRequest { verify: true, label: Some("later".into()) };
    catalog.queue_refresh(by(2), "first", later).await.unwrap();
    assert_eq!(catalog.requeue_interrupted().await.unwrap(), 1);
    assert_eq!(catalog.requeue_interrupted().await.unwrap(), 0);
    assert_eq!(catalog.refresh_queue().await.unwrap().depth, 2, "the two of the first package are one now");
    let job = catalog.take_refresh(at(3)).await.unwrap().unwrap();
    assert_eq!((job.name.as_str(), job.verify, job.label.as_deref(), job.queued), ("first", true, Some("later"), at(0)));
}

#[tokio::test]
async fn a_failure_stands_until_the_next_refresh_ends_well() {
    let catalog = fixture();
    catalog.add_package(1, "next").await;
    catalog.take_refresh(at(1)).await.unwrap();
    catalog.refresh_failed(PackageId(uuid(1)), outcome(None, 1), "/srv/1/key: permission denied".into()).await.unwrap();
    let view = catalog.package("next").await.unwrap();
    assert_eq!(view.refresh, RefreshState::Failed { reason: "/srv/1/key: permission denied".into(), at: at(2) });
    catalog.queue("next", 3).await;
    catalog.take_refresh(at(4)).await.unwrap();
    catalog.release(1, 1, 1).await;
    let view = catalog.package("next").await.unwrap();
    assert_eq!((view.refresh, view.refreshes_ended), (RefreshState::Idle, 2));
    let unknown = catalog.refresh_unchanged(PackageId(uuid(9)), outcome(None, 1)).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn all_packages_are_refreshed_at_once() {
    let catalog = fixture();
    catalog.add_package(1, "first").await;
    catalog.add_package(2, "second").await;
    catalog.take_refresh(at(1)).await.unwrap();
    let views = catalog.queue_refresh_all(by(2), RefreshRequest::default()).await.unwrap();
    assert_eq!(views.len(), 2);
    assert_eq!(catalog.refresh_queue().await.unwrap(), super::super::RefreshQueue { depth: 3, oldest: Some(at(0)) });
}

#[tokio::test]
async fn a_release_is_whole_or_not_at_all() {
    let catalog = fixture();
    catalog.add_package(1, "next").await;
    catalog.join(Role::SiteServer, 50, "alpha", None).await;
    let before = catalog.revision().await.unwrap();
    assert_eq!(catalog.release(1, 1, 1).await, before + 1);
    let view = catalog.package("next").await.unwrap();
    let info = &view.versions[0];
    assert_eq!((info.version, info.label.as_deref(), info.manifest.clone()), (1, Some("1.0"), manifest(1).to_string()));
    assert_eq!((info.bytes, info.manifest_len, info.files, info.released), (1 << 33, 700, 12, at(6)));
    assert_eq!(view.codebases.len(), 1);
    assert_eq!((&view.codebases[0].state, view.codebases[0].version), (&CodebaseState::Assigned, 1));

    let id = PackageId(uuid(1));
    let tuf = |based_on| TufChange { based_on, files: vec![("timestamp.json".into(), vec![9])] };
    for (number, based_on, why) in [(1, 1, "a number again"), (3, 1, "a gap"), (2, 0, "metadata made from older metadata")] {
        let refused = catalog.catalog.release(id, version(number, 9), tuf(based_on), outcome(Some(number), 7), at(8)).await;
        assert!(matches!(refused, Err(Error::Conflict { .. })), "{why}: {refused:?}");
    }
    assert_eq!(catalog.package("next").await.unwrap(), view);
    assert_eq!(catalog.revision().await.unwrap(), before + 1);
    assert_eq!(catalog.tuf_file("timestamp.json").await.unwrap(), Some(vec![1]));
}

#[tokio::test]
async fn metadata_is_kept_for_readers_in_the_middle_of_an_update() {
    let catalog = fixture();
    let put = async |based_on: u64, names: &[&str]| {
        let files = names.iter().map(|name| (name.to_string(), name.as_bytes().to_vec())).collect();
        catalog.put_tuf(TufChange { based_on, files }).await
    };
    put(0, &["1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"]).await.unwrap();
    for n in 2..=20 {
        put(n - 1, &[&format!("{n}.targets.json"), &format!("{n}.snapshot.json"), "timestamp.json"]).await.unwrap();
    }
    let TufFiles { revision, files } = catalog.tuf_files().await.unwrap();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((revision, names), (20, vec!["1.root.json", "20.snapshot.json", "20.targets.json", "timestamp.json"]));
    assert!(catalog.tuf_file("19.targets.json").await.unwrap().is_some());
    assert!(catalog.tuf_file("1.root.json").await.unwrap().is_some(), "every root is kept");
    assert!(catalog.tuf_file("2.targets.json").await.unwrap().is_none(), "old ones do not pile up");

    assert!(matches!(put(19, &["timestamp.json"]).await, Err(Error::Conflict { .. })), "made from older metadata");
    assert!(matches!(put(20, &["20.targets.json"]).await, Err(Error::Conflict { .. })), "a numbered file never changes");
    for bad in ["targets", "../1.root.json", "x.root.json", ".json", "1..json"] {
        assert!(matches!(put(20, &[bad]).await, Err(Error::Invalid { .. })), "{bad}");
    }
    assert_eq!(catalog.tuf_files().await.unwrap().revision, 20);
}
