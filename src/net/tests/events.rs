//! Event streams from end to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;

use super::fixture::{Act, Authority, SHORT, Served, client, scripted, serve, within};
use crate::net::error::Error;
use crate::net::event_stream::{EventStream, Feed, respond};
use crate::net::listener::Limits;
use crate::protocol::events::{EVENTS_PATH, Event};

struct Source {
    feed: Arc<Feed<u64>>,
    revision: Arc<AtomicU64>,
    served: Served,
}

/// Serves a feed of numbers: even ones are state events.
async fn source(authority: &Authority, queue_max: usize) -> Source {
    let feed = Arc::new(Feed::new(queue_max));
    let revision = Arc::new(AtomicU64::new(1));
    let (served_feed, current) = (Arc::clone(&feed), Arc::clone(&revision));
    let events = move || {
        let current = Arc::clone(&current);
        let translate = |number: u64| number.is_multiple_of(2).then_some(Event::State { revision: number });
        let answer = respond(served_feed.subscribe(), move || current.load(Ordering::SeqCst), translate);
        async { answer }
    };
    let served = serve(authority, Router::new().route(EVENTS_PATH, get(events)), Limits::default()).await;
    Source { feed, revision, served }
}

#[tokio::test]
async fn events_arrive_and_what_is_not_for_the_listener_does_not() {
    let authority = Authority::new();
    let source = source(&authority, 16).await;
    let client = client(&authority, source.served.address, None);
    let mut events = within(EventStream::open(&client, EVENTS_PATH)).await.unwrap();
    assert_eq!(within(events.next()).await.unwrap(), Event::Hello { revision: 1 });
    for number in [2, 3, 4] {
        source.feed.publish(number);
    }
    assert_eq!(within(events.next()).await.unwrap(), Event::State { revision: 2 });
    assert_eq!(within(events.next()).await.unwrap(), Event::State { revision: 4 });
    source.feed.close();
    let ended = within(events.next()).await.unwrap_err();
    assert!(matches!(ended, Error::Cut { .. }), "{ended:?}");
    // Nothing holds the listener up, and a late listener is sent home after its greeting.
    let mut late = within(EventStream::open(&client, EVENTS_PATH)).await.unwrap();
    assert_eq!(within(late.next()).await.unwrap(), Event::Hello { revision: 1 });
    assert!(within(late.next()).await.is_err());
    source.served.stop().await;
}

#[tokio::test]
async fn a_listener_that_fell_behind_is_told_the_state() {
    let feed = Feed::new(2);
    let receiver = feed.subscribe();
    for number in [2_u64, 4, 6, 8, 10] {
        feed.publish(number);
    }
    feed.close();
    let translate = |number| Some(Event::State { revision: number });
    let body = respond(receiver, || 77, translate).into_body();
    let text = within(axum::body::to_bytes(body, 10_000)).await.unwrap();
    let events: Vec<Event> =
        text.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
    let state = |revision| Event::State { revision };
    assert_eq!(events, [Event::Hello { revision: 77 }, state(77), state(8), state(10)]);
}

#[tokio::test]
async fn a_stopped_process_ends_the_stream() {
    let authority = Authority::new();
    let source = source(&authority, 16).await;
    let client = client(&authority, source.served.address, None);
    let mut events = within(EventStream::open(&client, EVENTS_PATH)).await.unwrap();
    within(events.next()).await.unwrap();
    source.revision.store(9, Ordering::SeqCst);
    source.feed.close();
    source.served.stop().await;
    assert!(matches!(within(events.next()).await, Err(Error::Cut { .. })));
}

#[tokio::test]
async fn silence_long_lines_and_nonsense_end_a_stream() {
    let authority = Authority::new();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let line = "{\"event\":\"ping\"}\n{\"event\":\"from-the-future\",\"x\":1}\n";
    let lines = format!("{head}{:x}\r\n{line}\r\n", line.len());
    let long = format!("{head}20000\r\n{}\r\n", "x".repeat(0x20000));
    let nonsense = format!("{head}8\r\nnonsense\r\n1\r\n\n\r\n");
    let script = [lines, long, nonsense].map(|text| Act::Hang(text.into_bytes())).to_vec();
    let server = scripted(&authority, script).await;
    let client = client(&authority, server.address, None);

    let mut events = within(EventStream::open(&client, EVENTS_PATH)).await.unwrap();
    assert_eq!(within(events.next()).await.unwrap(), Event::Unknown);
    events.set_silence(SHORT);
    let silent = within(events.next()).await.unwrap_err();
    assert!(matches!(silent, Error::Stalled { .. }), "{silent:?}");
    for _ in 0..2 {
        let mut events = within(EventStream::open(&client, EVENTS_PATH)).await.unwrap();
        let refused = within(events.next()).await.unwrap_err();
        assert!(matches!(refused, Error::Malformed { .. }), "{refused:?}");
    }
}
