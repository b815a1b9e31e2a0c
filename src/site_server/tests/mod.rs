//! A site server whose hub is away: what it believes, whom it admits, what it serves. Real folder, listener, certificates, content.

mod fixture;

use consign_store::Store;

use self::fixture::{Place, within};
use super::error::Error;
use super::known::{Known, Stored};
use crate::domain::{CodebaseState, Millis};
use crate::net::clock::now;
use crate::net::data_plane::BoxFuture;
use crate::net::fetch::fetch_manifest;
use crate::net::{Client, error};
use crate::protocol::fleet::{CODEBASES_PATH, Resolution, SITE_MAP_PATH, SITE_STATE_PATH, SiteMap};
use crate::protocol::hello::{HELLO_PATH, Hello, Role};
use crate::protocol::signed::Signed;
use crate::trust::Error as TrustError;
use crate::trust::error::StatementFault;

const DAY: i64 = 24 * 3600;

fn fault(place: &Place, expires: Millis, now: Millis, floor: u64) -> StatementFault {
    match Known::verify(&place.stored(expires), &place.member(), now, floor) {
        Err(Error::Trust(TrustError::Statement { why, .. })) => why,
        other => panic!("accepted or another error: {other:?}"),
    }
}

#[test]
fn a_state_is_believed_only_as_signed_for_this_server_in_time_and_never_older() {
    let place = Place::new();
    let (start, expires) = (now(), now().plus_secs(DAY));
    let known = Known::verify(&place.stored(expires), &place.member(), start, fixture::REVISION).unwrap();
    assert_eq!((known.state.revision, known.expires), (fixture::REVISION, expires));

    assert!(matches!(fault(&place, expires, expires, 0), StatementFault::Expired(_)));
    let floor = fixture::REVISION + 1;
    assert_eq!(fault(&place, expires, start, floor), StatementFault::Sequence { found: fixture::REVISION, floor });

    let (other, mut stored) = (Place::new(), place.stored(expires));
    let refused = |stored: &Stored, of: &Place| Known::verify(stored, &of.member(), now(), 0).is_err();
    assert!(refused(&stored, &other), "another fleet's");
    stored.signed.payload = stored.signed.payload.replace("\"open\":false", "\"open\":true");
    assert!(refused(&stored, &place), "changed on the way");
}

#[tokio::test]
async fn an_agent_gets_what_it_may_read_while_the_hub_is_away() {
    let place = Place::new();
    let running = place.run(now().plus_secs(DAY)).await;
    let client = running.client(&place.reader);

    let hello: Hello = client.get_json(HELLO_PATH).await.unwrap();
    assert_eq!((hello.role, hello.id), (Role::SiteServer, Some(place.id)));
    let map: Signed = client.get_json(SITE_MAP_PATH).await.unwrap();
    assert!(map.payload.contains("\"kind\":\"site-map\""));
    assert_eq!(serde_json::from_str::<crate::protocol::signed::Statement<SiteMap>>(&map.payload).unwrap().body.site, place.site);

    let resolution = running.resolved(&client, "given").await;
    assert_eq!(resolution.version.as_ref().map(|version| version.version), Some(1));
    assert_eq!(resolution.codebases.len(), 1);
    assert_eq!(resolution.codebases[0].id, Some(place.id));
    let by_id = running.resolved(&client, &resolution.package.to_string()).await;
    assert_eq!(by_id, resolution);

    let length = resolution.version.unwrap().manifest_len;
    let into = place.dir.path().join("received");
    let (manifest, _) = fetch_manifest(&client, place.manifest, length, None, &into).await.unwrap();
    assert_eq!(manifest.totals().files, 1);
    let timestamp = client.get_bytes("/v1/tuf/timestamp.json", 1 << 20).await.unwrap();
    assert_eq!(timestamp, place.timestamp.as_bytes());
    running.stop().await;
}

#[tokio::test]
async fn absent_and_forbidden_look_the_same() {
    let place = Place::new();
    let running = place.run(now().plus_secs(DAY)).await;
    running.resolved(&running.client(&place.reader), "given").await;

    let stranger = running.client(&place.other);
    let problem = |error: error::Error| error.problem().cloned().unwrap();
    let mut forbidden = problem(stranger.get_json::<Resolution>("/v1/packages/given").await.unwrap_err());
    let absent = problem(stranger.get_json::<Resolution>("/v1/packages/never").await.unwrap_err());
    assert_eq!(forbidden.status, 404);
    forbidden.detail = forbidden.detail.replace("given", "never");
    forbidden.request_id.clone_from(&absent.request_id);
    assert_eq!(forbidden, absent);

    let versions = |client: Client, manifest: String| -> BoxFuture<'static, String> {
        Box::pin(async move {
            let error = client.get_bytes(&format!("/v1/versions/{manifest}/manifest"), 1 << 20).await.unwrap_err();
            let problem = error.problem().unwrap();
            format!("{} {} {}", problem.status, problem.code, problem.detail)
        })
    };
    let nowhere = consign_store::ManifestId([7; 32]).to_string();
    assert_eq!(versions(stranger.clone(), place.manifest.to_string()).await, versions(stranger.clone(), nowhere).await);
    running.stop().await;
}

#[tokio::test]
async fn only_agents_of_the_site_are_admitted_and_only_to_their_paths() {
    let place = Place::new();
    let running = place.run(now().plus_secs(DAY)).await;
    let code = |error: error::Error| {
        let problem = error.problem().cloned().unwrap();
        assert!(problem.hint.is_some(), "{problem}");
        (problem.status, problem.code)
    };
    for path in [SITE_MAP_PATH, "/v1/packages/open", "/v1/tuf/timestamp.json", "/v1/events"] {
        let nobody = running.nobody().get_bytes(path, 1 << 20).await.unwrap_err();
        assert_eq!(code(nobody), (401, "no_certificate".to_owned()), "{path}");
        for unknown in [&place.unknown, &place.server] {
            let unknown = running.client(unknown).get_bytes(path, 1 << 20).await.unwrap_err();
            assert_eq!(code(unknown), (403, "unknown_machine".to_owned()), "{path}");
        }
    }
    for path in [SITE_STATE_PATH, CODEBASES_PATH, "/v1/enrol", "/v1/admin/status", "/v1/tuf/../state.json"] {
        let error = running.client(&place.reader).get_bytes(path, 1 << 20).await.unwrap_err();
        assert_eq!(error.problem().unwrap().status, 404, "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn an_expired_state_is_not_used_and_the_reason_says_since_when() {
    let place = Place::new();
    let running = place.run(now().plus_secs(-1)).await;
    for path in [SITE_MAP_PATH, "/v1/packages/open"] {
        let error = running.client(&place.reader).get_bytes(path, 1 << 20).await.unwrap_err();
        let problem = error.problem().unwrap();
        assert_eq!((problem.status, problem.code.as_str()), (503, "hub_away"), "{path}");
        assert!(problem.detail.contains(&fixture::RECEIVED.to_rfc3339()), "{problem}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_here_has_a_reason_and_what_is_not_signed_is_not_fetched() {
    let place = Place::new();
    let running = place.run(now().plus_secs(DAY)).await;
    let client = running.client(&place.reader);
    // Assigned, but no metadata names it: the state alone is not enough to bring content here.
    let resolution = running.until(&client, "open", |resolution| matches!(resolution.state, CodebaseState::Failed { .. })).await;
    assert!(resolution.codebases.is_empty());
    assert!(resolution.reason.contains("no signed metadata names it"), "{}", resolution.reason);
    assert!(!resolution.changes_when.is_empty());

    let view = within(super::status(place.folder())).await.unwrap();
    assert!(view.running);
    assert!(view.waits.iter().any(|wait| wait.what == "version 1 of open"), "{:?}", view.waits);
    running.stop().await;
    let at_rest = super::status(place.folder()).await.unwrap();
    assert!(!at_rest.running);
    assert_eq!(at_rest.codebases.len(), view.codebases.len());
}

#[tokio::test]
async fn content_that_is_gone_is_noticed_at_the_next_start() {
    let place = Place::new();
    std::fs::remove_dir_all(place.folder().join("store")).unwrap();
    drop(Store::open(&place.folder().join("store")).unwrap());
    let running = place.run(now().plus_secs(DAY)).await;
    let client = running.client(&place.reader);
    let failed = |resolution: &Resolution| matches!(resolution.state, CodebaseState::Failed { .. });
    let resolution = running.until(&client, "given", failed).await;
    assert!(resolution.codebases.is_empty(), "{resolution:?}");
    running.stop().await;
}

#[tokio::test]
async fn one_folder_runs_once() {
    let place = Place::new();
    let running = place.run(now().plus_secs(DAY)).await;
    let second =
        super::run(place.folder(), &super::RunOptions::default(), |_| panic!("it must not run"), std::future::pending()).await;
    assert!(matches!(second, Err(Error::Store(consign_store::Error::Locked(_)))), "{second:?}");
    running.stop().await;
}
