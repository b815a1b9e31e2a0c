//! Repeating a write, and the audit.

use super::super::{Error, IdempotencyKey};
use super::*;

fn keyed(seconds: i64, key: &str, request: u8) -> AdminWrite {
    AdminWrite { key: Some(IdempotencyKey { key: key.into(), request: [request; 32] }), ..by(seconds) }
}

#[tokio::test]
async fn a_repeated_write_gets_the_first_answer_and_does_nothing() {
    let catalog = fixture();
    let first = catalog.catalog.add_package(keyed(0, "k", 1), package_add(1, "next")).await.unwrap();
    catalog.take_refresh(at(1)).await.unwrap();
    catalog.release(1, 1, 1).await;
    let revision = catalog.revision().await.unwrap();
    let again = catalog.catalog.add_package(keyed(10, "k", 1), package_add(1, "next")).await.unwrap();
    assert_eq!(again, first, "as it was answered then, not as it is now");
    let refresh = async |write| catalog.queue_refresh(write, "next", RefreshRequest::default()).await;
    let queued = refresh(keyed(11, "r", 2)).await.unwrap();
    catalog.take_refresh(at(12)).await.unwrap().unwrap();
    assert_eq!(refresh(keyed(13, "r", 2)).await.unwrap(), queued, "a view with versions and states reads back the same");
    assert_eq!(catalog.take_refresh(at(14)).await.unwrap(), None, "nothing was queued again");
    assert_eq!(catalog.revision().await.unwrap(), revision);

    let other = catalog.catalog.add_package(keyed(20, "k", 9), package_add(2, "other")).await;
    assert!(matches!(other, Err(Error::Conflict { what: "idempotency key", .. })), "{other:?}");
    assert!(matches!(refresh(keyed(20, "", 2)).await, Err(Error::Invalid { .. })));
    assert!(matches!(refresh(keyed(20, &"x".repeat(129), 2)).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn a_failed_write_keeps_no_answer() {
    let catalog = fixture();
    assert!(catalog.queue_refresh(keyed(0, "k", 1), "next", RefreshRequest::default()).await.is_err());
    catalog.add_package(1, "next").await;
    catalog.queue_refresh(keyed(1, "k", 1), "next", RefreshRequest::default()).await.unwrap();
}

#[tokio::test]
async fn answers_are_forgotten_after_a_day() {
    let catalog = fixture();
    catalog.catalog.add_package(keyed(0, "k", 1), package_add(1, "next")).await.unwrap();
    let day = 24 * 3600;
    catalog.queue_refresh(keyed(day + 1, "k", 2), "next", RefreshRequest::default()).await.expect("the key is free again");
    let kept: i64 = catalog
        .read("counting", |db| Ok(db.query_row("SELECT count(*) FROM admin_answer", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_repeated_invite_is_refused_because_its_secret_was_not_kept() {
    let catalog = fixture();
    catalog.add_invite(keyed(0, "k", 1), invite(Role::Agent, None, 1), [1; 32]).await.unwrap();
    let again = catalog.add_invite(keyed(1, "k", 1), invite(Role::Agent, None, 1), [2; 32]).await;
    assert!(matches!(again, Err(Error::Conflict { what: "invite", .. })), "{again:?}");
}

#[tokio::test]
async fn the_audit_names_every_write_once_and_cannot_be_changed() {
    let catalog = fixture();
    catalog.catalog.add_package(keyed(0, "k", 1), package_add(1, "next")).await.unwrap();
    catalog.catalog.add_package(keyed(1, "k", 1), package_add(1, "next")).await.unwrap();
    assert!(catalog.catalog.add_package(by(2), package_add(2, "next")).await.is_err());
    catalog.add_invite(by(3), invite(Role::Agent, Some("default"), 5), [1; 32]).await.unwrap();
    let entries = catalog.audit(10).await.unwrap();
    let brief: Vec<_> = entries.iter().map(|e| (e.actor.as_str(), e.action.as_str(), e.subject.as_str(), e.time)).collect();
    assert_eq!(
        brief,
        [("ada", "inviting machines", "5 × agent for site default", at(3)), ("ada", "adding a package", "next", at(0))]
    );
    assert_eq!(catalog.audit(1).await.unwrap(), entries[..1]);
    for sql in ["DELETE FROM audit", "UPDATE audit SET actor = 'eve'"] {
        assert!(catalog.write("tampering", move |tx| Ok(tx.execute(sql, [])?)).await.is_err(), "{sql}");
    }
}
