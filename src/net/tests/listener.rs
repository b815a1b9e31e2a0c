//! What strangers and clumsy members can do to a listener.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use super::fixture::{Authority, NAME, SHORT, client, read_all, serve, tls, within};
use crate::net::error::Error;
use crate::net::listener::{Limits, Listener};
use crate::net::peer::Peer;
use crate::net::problem::JsonBody;

#[derive(Debug, Serialize, Deserialize)]
struct Message {
    text: String,
}

fn hello() -> Router {
    Router::new().route("/hello", get(|| async { axum::Json(Message { text: "hello".to_owned() }) })).route(
        "/echo",
        post(|JsonBody(message): JsonBody<Message>| async { axum::Json(message) }).layer(DefaultBodyLimit::max(1000)),
    )
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_on_both_sides() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (reached, mut was_reached) = mpsc::unbounded_channel();
    let router = Router::new().route("/hello", get(|| async move { reached.send(()).unwrap() }));
    let served = serve(&ours, router, Limits::default()).await;

    let stranger = crate::net::Client::new(
        served.address.to_string(),
        NAME,
        ours.client(Some(&other.issue("stranger.consign"))),
        Arc::default(),
    );
    let refused = within(stranger.unwrap().get_bytes("/hello", 10)).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
    let refused = within(client(&other, served.address, None).get_bytes("/hello", 10)).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
    let elsewhere = crate::net::Client::new(served.address.to_string(), "other.consign", ours.client(None), Arc::default());
    let refused = within(elsewhere.unwrap().get_bytes("/hello", 10)).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
    assert!(was_reached.try_recv().is_err(), "a request of a stranger came through");
}

#[tokio::test]
async fn the_peer_is_known_by_its_key() {
    let authority = Authority::new();
    let router = Router::new().route("/key", get(|peer: Peer| async move { hex::encode(peer.key.unwrap_or_default()) }));
    let served = serve(&authority, router, Limits::default()).await;
    let member = authority.issue("member.consign");
    let known = within(client(&authority, served.address, Some(&member)).get_bytes("/key", 100)).await.unwrap();
    assert_eq!(known, hex::encode(member.fingerprint));
    let unknown = within(client(&authority, served.address, None).get_bytes("/key", 100)).await.unwrap();
    assert_eq!(unknown, hex::encode([0; 32]));
}

#[tokio::test]
async fn who_does_not_speak_tls_gets_no_byte() {
    let authority = Authority::new();
    let served = serve(&authority, hello(), Limits::default()).await;
    for sent in [&b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\0", b"SSH-2.0-x\r\n", &[0xff; 4000]] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        assert_eq!(read_all(&mut stream).await, b"", "{sent:x?}");
    }
    // What begins like TLS and goes on as garbage gets an alert at most, and the listener lives.
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&[&[0x16, 3, 1][..], &[0xff; 4000]].concat()).await.unwrap();
    assert!(read_all(&mut stream).await.len() <= 7);
    within(client(&authority, served.address, None).get_json::<Message>("/hello")).await.unwrap();
}

#[tokio::test]
async fn slow_heads_handshakes_and_bodies_are_cut_off() {
    let authority = Authority::new();
    let limits = Limits { handshake: SHORT, head: SHORT, body: SHORT, ..Limits::default() };
    let served = serve(&authority, hello(), limits).await;

    let mut silent = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(read_all(&mut silent).await, b"");
    let mut half = TcpStream::connect(served.address).await.unwrap();
    half.write_all(&[0x16, 3, 1, 0]).await.unwrap();
    assert_eq!(read_all(&mut half).await, b"");

    let mut drip = tls(&authority, served.address).await;
    drip.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-").await.unwrap();
    assert!(!String::from_utf8(read_all(&mut drip).await).unwrap().contains("200"));

    let mut body = tls(&authority, served.address).await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    body.write_all(head.as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_all(&mut body).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("malformed_body"), "{answer}");
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let authority = Authority::new();
    let served = serve(&authority, hello(), Limits::default()).await;
    let mut stream = tls(&authority, served.address).await;
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: ").await.unwrap();
    // The listener may close before all is written.
    let _ = stream.write_all(&vec![b'x'; 100 << 10]).await;
    let answer = String::from_utf8(read_all(&mut stream).await).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_its_request_id() {
    let authority = Authority::new();
    let served = serve(&authority, hello(), Limits::default()).await;
    let client = client(&authority, served.address, None);
    let post = |body: String, kind| client.post_stream("/echo", kind, Bytes::from(body));
    let json = "application/json";
    let refusals = [
        (within(client.get_bytes("/nothing", 10)).await.unwrap_err(), 404, "not_found"),
        (within(client.get_bytes("/echo", 10)).await.unwrap_err(), 405, "method_not_allowed"),
        (within(post(format!("{{\"text\":\"{}\"}}", "x".repeat(1000)), json)).await.unwrap_err(), 413, "body_too_large"),
        (within(post("{\"text\":".to_owned(), json)).await.unwrap_err(), 400, "malformed_body"),
        (within(post("{\"text\":7}".to_owned(), json)).await.unwrap_err(), 422, "wrong_fields"),
        (within(post("{}".to_owned(), "text/plain")).await.unwrap_err(), 415, "media_type"),
    ];
    for (error, status, code) in refusals {
        let problem = error.problem().unwrap_or_else(|| panic!("{error}"));
        assert_eq!((problem.status, problem.code.as_str()), (status, code), "{error}");
        assert_eq!(problem.request_id.as_ref().unwrap().len(), 8, "{error}");
    }
    let echoed: Message = within(client.post_json("/echo", &Message { text: "good".to_owned() })).await.unwrap();
    assert_eq!(echoed.text, "good");
}

#[tokio::test]
async fn a_body_over_the_limit_without_a_length_is_refused() {
    let authority = Authority::new();
    let served = serve(&authority, hello(), Limits::default()).await;
    let mut stream = tls(&authority, served.address).await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = format!("1f4\r\n{}\r\n", " ".repeat(500));
    stream.write_all(piece.repeat(3).as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    within(stream.read_exact(&mut begin)).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 413");
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let authority = Authority::new();
    let served = serve(&authority, hello(), Limits { connections_max: 2, ..Limits::default() }).await;
    let first = TcpStream::connect(served.address).await.unwrap();
    let second = TcpStream::connect(served.address).await.unwrap();
    let mut third = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(read_all(&mut third).await, b"");
    drop((first, second));
    let client = client(&authority, served.address, None);
    within(async { while client.get_json::<Message>("/hello").await.is_err() {} }).await;
}

/// Says when it is dropped.
struct Told(mpsc::UnboundedSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn endless(ended: mpsc::UnboundedSender<()>) -> Router {
    let body = move || {
        let told = Told(ended.clone());
        let body = stream::unfold(told, |told| async { Some((Ok::<_, Infallible>(Bytes::from(vec![7; 64 << 10])), told)) });
        async { Body::from_stream(body) }
    };
    Router::new().route("/endless", get(body))
}

#[tokio::test]
async fn a_reader_that_stops_reading_or_goes_away_is_let_go() {
    let authority = Authority::new();
    let (ended, mut was_ended) = mpsc::unbounded_channel();
    let served = serve(&authority, endless(ended), Limits { write_stall: SHORT, ..Limits::default() }).await;
    let mut stream = tls(&authority, served.address).await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    within(was_ended.recv()).await.unwrap();
    drop(stream);

    let mut body = client(&authority, served.address, None).get_stream("/endless").await.unwrap();
    within(body.chunk()).await.unwrap().unwrap();
    drop(body);
    within(was_ended.recv()).await.unwrap();
}

#[tokio::test]
async fn stopping_lets_short_answers_end_and_cuts_endless_ones() {
    let authority = Authority::new();
    let (ended, mut was_ended) = mpsc::unbounded_channel();
    let (arrived, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (tell, wait) = (Arc::clone(&arrived), Arc::clone(&go));
    let slow = get(|| async move {
        tell.add_permits(1);
        wait.acquire().await.unwrap().forget();
        "done"
    });
    let router = endless(ended).route("/slow", slow);
    let served = serve(&authority, router, Limits { shutdown: SHORT * 4, ..Limits::default() }).await;
    let address = served.address;
    let client = client(&authority, address, None);
    let mut endless = client.get_stream("/endless").await.unwrap();
    let slow = tokio::spawn(async move { client.get_bytes("/slow", 10).await });
    within(arrived.acquire()).await.unwrap().forget();
    let stopping = tokio::spawn(served.stop());
    within(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    go.add_permits(1);
    assert_eq!(within(slow).await.unwrap().unwrap(), "done");
    let cut = within(async {
        loop {
            if let Err(error) = endless.chunk().await {
                return error;
            }
        }
    });
    assert!(matches!(cut.await, Error::Cut { .. }));
    within(was_ended.recv()).await.unwrap();
    within(stopping).await.unwrap();
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let authority = Authority::new();
    let first = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), authority.server(), Limits::default()).await.unwrap();
    let second = Listener::bind(first.local_addr(), authority.server(), Limits::default()).await.unwrap_err();
    assert!(second.to_string().contains(&first.local_addr().to_string()), "{second}");
}
