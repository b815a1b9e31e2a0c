//! The server's side: who listens, and what reaches them.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};
use tokio::time::{Instant, timeout_at};

use crate::protocol::events::{Event, PING_SECS};

/// Media type of a stream of events.
const EVENTS_TYPE: &str = "application/x-ndjson";

/// A source of messages for any number of listeners; one that falls behind loses messages and is told so.
#[derive(Debug)]
pub struct Feed<T> {
    /// `None` once closed.
    sender: Mutex<Option<Sender<T>>>,
}

impl<T: Clone> Feed<T> {
    /// Makes a feed that keeps the last `queue_max` messages for listeners that are behind.
    #[must_use]
    pub fn new(queue_max: usize) -> Self {
        Self { sender: Mutex::new(Some(broadcast::channel(queue_max.max(1)).0)) }
    }

    /// Tells every listener; nobody listening is no error.
    pub fn publish(&self, message: T) {
        if let Some(sender) = &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
            // An error says only that nobody listens.
            let _ = sender.send(message);
        }
    }

    /// Begins to listen; after [`Feed::close`] the stream ends at once.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().map_or_else(|| broadcast::channel(1).1, Sender::subscribe)
    }

    /// Ends every stream when it has sent what is queued: called when the process stops, since an answer that does not end holds it up.
    pub fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Answers with a stream: [`Event::Hello`] with `revision()`, then what `translate` makes of each message, pings in between.
///
/// A listener that lost messages gets [`Event::State`] with `revision()` instead, so that it reads the state again. Subscribe before reading
/// the state that the first revision stands for.
pub fn respond<T: Clone + Send + 'static>(
    receiver: Receiver<T>,
    revision: impl Fn() -> u64 + Send + 'static,
    translate: impl FnMut(T) -> Option<Event> + Send + 'static,
) -> Response {
    let hello = Event::Hello { revision: revision() };
    let lines = Lines { receiver, revision, translate, hello: Some(hello), ping_at: Instant::now() + PING };
    let body =
        stream::unfold(lines, |mut lines| async move { lines.next().await.map(|line| (Ok::<_, Infallible>(line), lines)) });
    ([(CONTENT_TYPE, EVENTS_TYPE)], Body::from_stream(body)).into_response()
}

const PING: Duration = Duration::from_secs(PING_SECS);

struct Lines<T, R, F> {
    receiver: Receiver<T>,
    revision: R,
    translate: F,
    hello: Option<Event>,
    ping_at: Instant,
}

impl<T: Clone, R: Fn() -> u64, F: FnMut(T) -> Option<Event>> Lines<T, R, F> {
    async fn next(&mut self) -> Option<Bytes> {
        let event = match self.hello.take() {
            Some(hello) => hello,
            None => self.event().await?,
        };
        self.ping_at = Instant::now() + PING;
        let mut line = serde_json::to_vec(&event).ok()?;
        line.push(b'\n');
        Some(line.into())
    }

    async fn event(&mut self) -> Option<Event> {
        loop {
            match timeout_at(self.ping_at, self.receiver.recv()).await {
                Ok(Ok(message)) => {
                    if let Some(event) = (self.translate)(message) {
                        return Some(event);
                    }
                }
                Ok(Err(RecvError::Lagged(_))) => return Some(Event::State { revision: (self.revision)() }),
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => return Some(Event::Ping),
            }
        }
    }
}
