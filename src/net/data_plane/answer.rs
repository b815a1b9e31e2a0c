//! Answers that are made while they are sent: manifests on a blocking thread each, records one at a time.

use std::io::{self, Write};

use axum::body::Body;
use bytes::Bytes;
use consign_store::manifest::ManifestFile;
use consign_store::manifest::encoded::{Against, encode};
use consign_store::{Error, Result};
use futures_util::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;

use super::versions::Version;
use crate::net::blocking;
use crate::protocol::problem::Problem;

/// Parts that wait for the socket; a part is at most one record.
const QUEUE_PARTS_MAX: usize = 2;
/// Bytes of one part of an encoded manifest.
const MANIFEST_PART_BYTES: usize = 128 << 10;

enum Part {
    Bytes(Bytes),
    /// Everything was sent; a stream without it was cut off.
    End,
}

/// Where the maker of an answer puts it.
pub(super) struct Outlet(mpsc::Sender<Part>);

impl Outlet {
    /// Hands on the next bytes, waiting while the receiver is behind.
    pub(super) fn send(&self, bytes: Bytes) -> Result<()> {
        self.0.blocking_send(Part::Bytes(bytes)).map_err(|_| Error::Cancelled)
    }
}

/// Makes a body of what `make` sends, on a blocking thread that holds `turn` and stops when the body is dropped.
///
/// If `make` fails before it has sent anything, the answer is a problem. If it fails later, the body fails too, and with it the connection: a
/// cut answer never looks like a complete one.
pub(super) async fn stream(
    what: &'static str,
    turn: OwnedSemaphorePermit,
    make: impl FnOnce(&Outlet) -> Result<()> + Send + 'static,
) -> Result<Body, Problem> {
    let (sender, mut receiver) = mpsc::channel(QUEUE_PARTS_MAX);
    blocking::start(what, move || {
        let outlet = Outlet(sender);
        match make(&outlet) {
            // The receiver may be gone; then nobody misses the end.
            Ok(()) => drop(outlet.0.blocking_send(Part::End)),
            Err(Error::Cancelled) => tracing::debug!(what, "the receiver went away"),
            Err(error) => tracing::error!(what, %error, "an answer could not be completed"),
        }
        drop(turn);
    });
    let first = receiver.recv().await.ok_or_else(unreadable)?;
    Ok(Body::from_stream(unfold(Some((Some(first), receiver)), |state| async {
        let (first, mut receiver) = state?;
        let part = if first.is_some() { first } else { receiver.recv().await };
        match part {
            Some(Part::Bytes(bytes)) => Some((Ok(bytes), Some((None, receiver)))),
            Some(Part::End) => None,
            None => Some((Err(io::Error::other("the answer could not be completed")), None)),
        }
    })))
}

/// The answer when what is here cannot be read; why stands in the log.
pub(super) fn unreadable() -> Problem {
    Problem::new(500, "unreadable", "this version cannot be read here now")
        .hint("ask another server; the reason is in this one's log")
}

/// Sends the manifest, encoded.
pub(super) fn manifest(version: &Version, against: Against<'_>, outlet: &Outlet) -> Result<()> {
    let mut parts = Parts { outlet, buffer: Vec::new() };
    encode(&version.manifest, against, &mut parts).map_err(|error| {
        if outlet.0.is_closed() {
            Error::Cancelled
        } else {
            Error::damaged(format!("the encoding of manifest {}", version.manifest.id()), error.to_string())
        }
    })
}

/// Encodes the manifest; `None` if that takes more than `bytes_max`.
pub(super) fn short_manifest(manifest: &ManifestFile, against: Against<'_>, bytes_max: usize) -> Option<Bytes> {
    let mut short = Short { bytes: Vec::new(), bytes_max };
    encode(manifest, against, &mut short).ok().map(|()| short.bytes.into())
}

/// Collects what is written, and fails when it is too much.
struct Short {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Short {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts the bytes that a manifest costs a receiver that has `base`.
///
/// # Errors
/// The encoder.
pub fn manifest_wire_bytes(manifest: &ManifestFile, base: Option<&ManifestFile>) -> Result<u64> {
    let mut counted = Counted(0);
    encode(manifest, Against::of(base, manifest, true), &mut counted)
        .map_err(|error| Error::damaged(format!("the encoding of manifest {}", manifest.id()), error.to_string()))?;
    Ok(counted.0)
}

/// Counts what is written.
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects what an encoder writes into parts.
struct Parts<'a> {
    outlet: &'a Outlet,
    buffer: Vec<u8>,
}

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= MANIFEST_PART_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.buffer);
        if part.is_empty() { Ok(()) } else { self.outlet.send(part.into()).map_err(io::Error::other) }
    }
}
