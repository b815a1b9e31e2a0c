//! Fetching a manifest, whole or as a difference to one that is already here.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;
use std::sync::Arc;

use axum::http::HeaderName;
use bytes::{Buf as _, Bytes};
use consign_store::error::At as _;
use consign_store::manifest::ManifestFile;
use consign_store::manifest::encoded::Decoded;
use consign_store::{ManifestId, fsx};
use tokio::sync::mpsc::{self, Receiver};

use super::{doubt, path_of};
use crate::net::blocking;
use crate::net::client::{BodyStream, Client};
use crate::net::error::{Error, Result};
use crate::protocol::fleet::BASE_HEADER;

/// Pieces of the answer that wait for the decoder.
const QUEUE_PIECES_MAX: usize = 4;
/// Bytes done at a time.
const BUFFER_BYTES: usize = 128 << 10;

/// Fetches manifest `id`, whose length `manifest_len` is signed, into the file `into`, and verifies it. With `base` the server may send only what
/// differs. Returns it and the body bytes that it took; the file is durable then, because an update is told by it what to remove.
///
/// # Errors
/// [`Error::Lied`] if what arrives is not that manifest; any of [`Error`]. `into` is then as before.
pub async fn fetch_manifest(
    client: &Client,
    id: ManifestId,
    manifest_len: u64,
    base: Option<Arc<ManifestFile>>,
    into: &Path,
) -> Result<(ManifestFile, u64)> {
    let fetched = bring(client, id, manifest_len, base, into).await;
    if matches!(fetched, Err(Error::Lied { .. })) {
        doubt(client, id).await;
    }
    fetched
}

async fn bring(
    client: &Client,
    id: ManifestId,
    manifest_len: u64,
    base: Option<Arc<ManifestFile>>,
    into: &Path,
) -> Result<(ManifestFile, u64)> {
    let mut path = path_of(id, "manifest");
    if let Some(base) = &base {
        path = format!("{path}?base={}&sections=true", base.id());
    }
    let mut body = client.get_stream(&path).await?;
    let base = used_base(&body, base)?;
    let (sender, pieces) = mpsc::channel(QUEUE_PIECES_MAX);
    let target = into.to_path_buf();
    let work = blocking::start("taking a manifest", move || take(pieces, base.as_deref(), id, manifest_len, &target));
    let sent = send(&mut body, sender, wire_bytes_max(manifest_len)).await;
    // What was cut off cannot be done either: the cut is the cause.
    let taken = work.join().await?;
    sent?;
    match taken {
        Ok(manifest) => Ok((manifest, body.received_bytes())),
        Err(Fault::Here(error)) => Err(Error::Store(error)),
        Err(Fault::There(why)) => Err(body.lied(why)),
    }
}

/// Finds out whether the answer is encoded against the base that was offered.
fn used_base(body: &BodyStream, offered: Option<Arc<ManifestFile>>) -> Result<Option<Arc<ManifestFile>>> {
    let Some(used) = body.header(&HeaderName::from_static(BASE_HEADER)) else { return Ok(None) };
    match offered {
        Some(base) if base.id().to_string() == used => Ok(Some(base)),
        _ => Err(body.lied("it is encoded against a manifest that was not offered")),
    }
}

/// Most bytes that an encoder makes of `len` bytes, and some for the frame.
fn wire_bytes_max(len: u64) -> u64 {
    len.saturating_add(len / 128).saturating_add(64 << 10)
}

/// A piece of the answer; `None` is its complete end.
type Piece = Option<Bytes>;

async fn send(body: &mut BodyStream, pieces: mpsc::Sender<Piece>, bytes_max: u64) -> Result<()> {
    loop {
        let piece = body.chunk().await?;
        if body.received_bytes() > bytes_max {
            return Err(body.lied("it is longer than the signed length allows"));
        }
        let ended = piece.is_none();
        // A decoder that has gone away has its own reason to tell.
        if pieces.send(piece).await.is_err() || ended {
            return Ok(());
        }
    }
}

/// Whose fault it is.
enum Fault {
    Here(consign_store::Error),
    There(String),
}

fn take(
    pieces: Receiver<Piece>,
    base: Option<&ManifestFile>,
    id: ManifestId,
    len: u64,
    into: &Path,
) -> Result<ManifestFile, Fault> {
    let temp = fsx::temp_beside(into);
    let taken = decode(pieces, base, len, &temp).and_then(|()| {
        let manifest = ManifestFile::open(&temp, id).map_err(|error| match error {
            consign_store::Error::Io { .. } => Fault::Here(error),
            error => Fault::There(error.to_string()),
        })?;
        fsx::rename_durable(&temp, into).map_err(Fault::Here)?;
        Ok(manifest)
    });
    if taken.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temp);
    }
    taken
}

fn decode(pieces: Receiver<Piece>, base: Option<&ManifestFile>, len: u64, temp: &Path) -> Result<(), Fault> {
    let there = |error: io::Error| Fault::There(error.to_string());
    let answer = BufReader::new(Answer { pieces, piece: Bytes::new(), ended: false });
    // One byte more than may come shows that too much comes.
    let mut limited = Decoded::new(answer, base).take(len.saturating_add(1));
    let mut file = File::create_new(temp).at("create", temp).map_err(Fault::Here)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0;
    loop {
        let count = limited.read(&mut buffer).map_err(there)?;
        if count == 0 {
            break;
        }
        done += count as u64;
        file.write_all(&buffer[..count]).at("write", temp).map_err(Fault::Here)?;
    }
    if done != len {
        return Err(Fault::There(format!("it is {done} bytes or more, but its signed length is {len}")));
    }
    file.sync_all().at("sync", temp).map_err(Fault::Here)
}

/// The answer as the decoder reads it; fails where it was cut off.
struct Answer {
    pieces: Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut off")),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
