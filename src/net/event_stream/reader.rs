//! The listener's side.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::net::client::{BodyStream, Client};
use crate::net::error::{Error, Result};
use crate::protocol::events::{Event, SILENCE_SECS_MAX};

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 64 << 10;

/// An open stream of events.
#[derive(Debug)]
pub struct EventStream {
    body: BodyStream,
    buffer: Vec<u8>,
    /// When the last byte came.
    heard: Instant,
    silence: Duration,
}

impl EventStream {
    /// Opens the stream at `path`.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn open(client: &Client, path: &str) -> Result<Self> {
        let mut body = client.get_stream(path).await?;
        let silence = Duration::from_secs(SILENCE_SECS_MAX);
        body.set_stall(silence);
        Ok(Self { body, buffer: Vec::new(), heard: Instant::now(), silence })
    }

    /// Sets how long silence may last from now on.
    pub fn set_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// Waits for the next event, pings aside. Cancelling the call loses nothing.
    ///
    /// # Errors
    /// [`Error::Stalled`] after [`SILENCE_SECS_MAX`] without a byte, [`Error::Cut`] when the stream ends, [`Error::Malformed`]: open it again.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            while let Some(event) = self.buffered()? {
                if event != Event::Ping {
                    return Ok(event);
                }
            }
            let Ok(chunk) = timeout_at(self.heard + self.silence, self.body.chunk()).await else {
                return Err(self.stalled());
            };
            let Some(data) = chunk? else { return Err(self.body.cut("the server closed the stream")) };
            self.heard = Instant::now();
            self.buffer.extend_from_slice(&data);
        }
    }

    fn buffered(&mut self) -> Result<Option<Event>> {
        let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') else {
            let fits = self.buffer.len() <= LINE_BYTES_MAX;
            return if fits { Ok(None) } else { Err(self.body.malformed(format!("a line is over {LINE_BYTES_MAX} bytes"))) };
        };
        let parsed = serde_json::from_slice(&self.buffer[..end]);
        self.buffer.drain(..=end);
        parsed.map(Some).map_err(|error| self.body.malformed(error.to_string()))
    }

    fn stalled(&self) -> Error {
        let (server, path) = (self.body.server(), self.body.path().to_owned());
        Error::Stalled { server, path, received_bytes: self.body.received_bytes(), limit: self.silence }
    }
}
