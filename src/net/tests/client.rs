//! What a client does with good, bad and dying servers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::RETRY_AFTER;
use axum::routing::{get, post};

use super::fixture::{Act, Authority, NAME, SHORT, client, relay, scripted, serve, within};
use crate::net::client::{Client, Limits};
use crate::net::error::{Error, Result};
use crate::net::listener;
use crate::net::meter::{Meter, Reading};
use crate::net::retry::with_back_off;
use crate::protocol::problem::Problem;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";

#[tokio::test]
async fn an_answer_cut_at_any_byte_is_an_error() {
    let authority = Authority::new();
    for whole in [GOOD, CHUNKED] {
        let script = (0..whole.len()).flat_map(|len| [Act::Drop(whole[..len].to_vec()), Act::Close(whole[..len].to_vec())]);
        let server = scripted(&authority, script.collect()).await;
        for len in 0..whole.len() * 2 {
            // A fresh client each time, so that every answer comes on a fresh connection.
            let cut = within(client(&authority, server.address, None).get_bytes("/x", 100)).await.unwrap_err();
            let head = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            let fits = if len / 2 < head { matches!(cut, Error::Connect { .. }) } else { matches!(cut, Error::Cut { .. }) };
            assert!(fits, "after {} bytes: {cut:?}", len / 2);
            assert!(cut.is_temporary());
        }
    }
}

#[tokio::test]
async fn silence_before_and_within_an_answer_ends() {
    let authority = Authority::new();
    let server =
        scripted(&authority, vec![Act::Hang(vec![]), Act::Hang(GOOD[..20].to_vec()), Act::Hang(GOOD[..40].to_vec())]).await;
    let client = client(&authority, server.address, None).with_limits(Limits { head: SHORT, stall: SHORT, ..Limits::default() });
    for _ in 0..2 {
        let late = within(client.get_bytes("/x", 100)).await.unwrap_err();
        assert!(matches!(late, Error::Late { .. }), "{late:?}");
    }
    let stalled = within(client.get_bytes("/x", 100)).await.unwrap_err();
    assert!(matches!(stalled, Error::Stalled { received_bytes: 2, .. }), "{stalled:?}");
}

#[tokio::test]
async fn nobody_there_and_nobody_answering_the_handshake() {
    let authority = Authority::new();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let client = client(&authority, address, None).with_limits(Limits { connect: SHORT, ..Limits::default() });
    let late = within(client.get_bytes("/x", 100)).await.unwrap_err();
    assert!(matches!(late, Error::Late { .. }), "{late:?}");
    drop(socket);
    let refused = within(client.get_bytes("/x", 100)).await.unwrap_err();
    assert!(matches!(refused, Error::Connect { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&address.to_string()));
}

#[tokio::test]
async fn a_kept_connection_is_used_again_and_replaced_when_dead() {
    let authority = Authority::new();
    let good = || Act::Send(GOOD.to_vec());
    let script = vec![good(), good(), Act::Close(GOOD.to_vec()), good(), Act::Drop(vec![]), good(), Act::Drop(vec![])];
    let server = scripted(&authority, script).await;
    let client = client(&authority, server.address, None);
    let connections = || server.connections.load(Ordering::SeqCst);
    for expected in [1, 1, 1, 2, 3] {
        // The fifth request finds the kept connection dying under it and is sent again.
        assert_eq!(within(client.get_bytes("/x", 100)).await.unwrap(), "hello");
        assert_eq!(connections(), expected);
    }
    // A message that may have had its effect is not sent twice.
    let once = within(client.post_json::<_, u8>("/x", &1)).await.unwrap_err();
    assert!(matches!(once, Error::Connect { .. }), "{once:?}");
    assert_eq!(connections(), 3);
}

#[tokio::test]
async fn answers_over_the_limit_are_refused_before_they_are_read() {
    let authority = Authority::new();
    let huge = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n".to_vec();
    let undelimited = b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec();
    let script = vec![Act::Hang(huge.clone()), Act::Hang(huge), Act::Hang(CHUNKED.to_vec()), Act::Close(undelimited)];
    let server = scripted(&authority, script).await;
    let client = client(&authority, server.address, None);
    let refusals = [
        within(client.get_bytes("/x", 4)).await.unwrap_err(),
        within(client.get_json::<u8>("/x")).await.unwrap_err(),
        within(client.get_bytes("/x", 4)).await.unwrap_err(),
    ];
    assert!(refusals.iter().all(|error| matches!(error, Error::TooLarge { .. })), "{refusals:?}");
    let undelimited = within(client.get_bytes("/x", 100)).await.unwrap_err();
    assert!(matches!(undelimited, Error::Malformed { .. }), "{undelimited:?}");
}

#[tokio::test]
async fn nonsense_is_malformed() {
    let authority = Authority::new();
    let script = vec![Act::Hang(b"SSH-2.0-nonsense\r\n\r\n".to_vec()), Act::Hang(GOOD.to_vec())];
    let server = scripted(&authority, script).await;
    let client = client(&authority, server.address, None);
    let no_http = within(client.get_bytes("/x", 100)).await.unwrap_err();
    assert!(matches!(no_http, Error::Malformed { .. }), "{no_http:?}");
    let no_json = within(client.get_json::<u8>("/x")).await.unwrap_err();
    assert!(matches!(no_json, Error::Malformed { .. }), "{no_json:?}");
}

#[tokio::test]
async fn problems_arrive_whole_and_other_failures_become_problems() {
    let authority = Authority::new();
    let busy = || async { ([(RETRY_AFTER, "7")], Problem::new(503, "busy", "too many ask").hint("ask again")) };
    let served = serve(&authority, Router::new().route("/busy", get(busy)), listener::Limits::default()).await;
    let told = within(client(&authority, served.address, None).get_bytes("/busy", 10)).await.unwrap_err();
    assert!(told.is_temporary());
    let Error::Problem { problem, retry_after, .. } = told else { panic!("{told:?}") };
    assert_eq!((problem.code.as_str(), problem.hint.as_deref()), ("busy", Some("ask again")));
    assert_eq!(retry_after, Some(Duration::from_secs(7)));

    let odd = vec![
        Act::Hang(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        Act::Hang(b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ];
    let script_server = scripted(&authority, odd).await;
    for status in [502, 302] {
        let told = within(client(&authority, script_server.address, None).get_bytes("/x", 10)).await.unwrap_err();
        assert_eq!(told.problem().unwrap().status, status);
    }
}

#[tokio::test]
async fn the_meter_counts_what_a_relay_saw() {
    let authority = Authority::new();
    let big = "x".repeat(3_000_000);
    let router = Router::new()
        .route("/big", get(|| async { big }))
        .route("/count", post(|body: String| async move { axum::Json(body.len()) }));
    let served = serve(&authority, router, listener::Limits::default()).await;
    let (address, relayed, _tasks) = relay(served.address).await;
    let meter = Arc::new(Meter::default());
    let client = Client::new(address.to_string(), NAME, authority.client(None), Arc::clone(&meter)).unwrap();
    within(client.get_bytes("/big", 4_000_000)).await.unwrap();
    let before = meter.read();
    assert_eq!(before.wire_bytes, 3_000_000);
    let count: usize = within(client.post_json("/count", &"y".repeat(100_000))).await.unwrap();
    assert_eq!(count, 100_002);
    assert_eq!((meter.read() - before).wire_bytes, 6);
    // Everything that either side sends has been read before the count is compared.
    served.stop().await;
    drop(client);
    let equal = async {
        while meter.read().socket_bytes != relayed.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    };
    within(equal).await;
    assert!(meter.read().socket_bytes > 3_100_000);
    assert_eq!(Reading::default() - meter.read(), Reading::default());
}

#[tokio::test]
async fn the_token_is_sent_and_never_shown() {
    let authority = Authority::new();
    let echo = |headers: HeaderMap| async move { headers["authorization"].to_str().unwrap().to_owned() };
    let served = serve(&authority, Router::new().route("/token", get(echo)), listener::Limits::default()).await;
    let client = client(&authority, served.address, None).with_bearer("s3cret").unwrap();
    assert_eq!(within(client.get_bytes("/token", 100)).await.unwrap(), "Bearer s3cret");
    assert!(!format!("{client:?}").contains("s3cret"));
    let refused = client.with_bearer("s3c\nret").unwrap_err();
    assert!(!refused.to_string().contains("s3c"), "{refused}");
}

#[tokio::test]
async fn trying_again_waits_as_told_and_ends() {
    let failing = |status: u16| {
        move || Error::Problem {
            server: "x".to_owned(),
            problem: Box::new(Problem::new(status, "x", "x")),
            retry_after: (status == 503).then_some(SHORT / 10),
        }
    };
    let mut waits = Vec::new();
    let result: Result<()> =
        with_back_off(3, |_| Duration::ZERO, |wait| waits.push((wait.attempt, wait.wait)), |_| async { Err(failing(503)()) })
            .await;
    assert!(result.is_err());
    assert_eq!(waits, [(1, SHORT / 10), (2, SHORT / 10)]);
    let mut tries = 0;
    let result: Result<()> = with_back_off(
        3,
        |_| Duration::ZERO,
        |_| (),
        |attempt| {
            tries = attempt;
            async { Err(failing(404)()) }
        },
    )
    .await;
    assert!(result.is_err());
    assert_eq!(tries, 1, "what cannot succeed is not tried again");
}
