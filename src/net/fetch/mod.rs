//! Fetching a version from one server: its manifest, its recipes and its chunks; nothing is handed on before it is verified.

mod arriving;
mod cost;
mod manifest;
mod patches;
mod records;

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use consign_store::ManifestId;
use consign_store::chunk::ChunkKind;
use consign_store::chunk::record::VerifiedRecord;
use consign_store::manifest::ManifestFile;
use consign_store::manifest::recipe::PAGE_LINES_MAX;
use tokio::time::timeout;

use crate::net::client::Client;
use crate::net::error::Error;
use crate::protocol::fleet::{RANGES_TYPE, VERSIONS_PATH};
use crate::protocol::ranges::RANGES_BYTES_MAX;

pub use arriving::{Arriving, ArrivingReader};
pub use cost::{chunks_cost, full_cost};
pub use manifest::fetch_manifest;
pub use patches::{ask_patches, await_answer, fetch_patch};
use records::Request;

/// Most ranges in one request: an encoded range has at most ten bytes.
const REQUEST_RANGES_MAX: usize = RANGES_BYTES_MAX / 10;

/// Longest wait for a server to take a doubt.
const DOUBT_WAIT: Duration = Duration::from_secs(5);

/// Takes verified records, from several threads at once.
///
/// It must ignore chunks that nobody asked for. Once it has failed it is not called with records that have not been decoded yet.
pub type Sink = Arc<dyn Fn(VerifiedRecord) -> consign_store::Result<()> + Send + Sync>;

/// How far a fetch came, whether or not it succeeded: what has arrived has reached the sink, so another source may bring the rest.
#[derive(Debug)]
pub struct Fetched {
    /// Body bytes that arrived.
    pub wire_bytes: u64,
    /// How it ended.
    pub end: Result<(), Error>,
}

/// Fetches the recipe pages of the files among entries `ranges` (ascending) of `manifest`. `progress` counts body bytes as they arrive.
///
/// # Errors
/// In [`Fetched::end`]: any of [`Error`]; the sink's as [`Error::Store`].
pub async fn fetch_recipes(
    client: &Client,
    manifest: &ManifestFile,
    ranges: &[Range<u32>],
    sink: Sink,
    progress: &AtomicU64,
) -> Fetched {
    let pages_in = |part: &[Range<u32>]| part.iter().cloned().flatten().map(|number| pages_max(manifest, number)).sum();
    fetch_parts(client, (manifest.id(), "recipes"), ChunkKind::RecipePage, ranges, pages_in, &sink, progress).await
}

/// Fetches the chunks at ordinals `ranges` (ascending) of version `manifest`. `progress` counts body bytes as they arrive.
///
/// Ask for each distinct chunk once: records then travel as they lie in the server's packs, where repeated content would be encoded anew.
///
/// # Errors
/// In [`Fetched::end`]: any of [`Error`]; the sink's as [`Error::Store`].
pub async fn fetch_chunks(
    client: &Client,
    manifest: ManifestId,
    ranges: &[Range<u32>],
    sink: Sink,
    progress: &AtomicU64,
) -> Fetched {
    let chunks_in = |part: &[Range<u32>]| part.iter().map(|range| u64::from(range.end - range.start)).sum();
    fetch_parts(client, (manifest, "chunks"), ChunkKind::Content, ranges, chunks_in, &sink, progress).await
}

/// Tells a server that what it sent of version `manifest` is wrong, so that it reads it again; whether it hears is no matter here.
pub(super) async fn doubt(client: &Client, manifest: ManifestId) {
    let path = path_of(manifest, "doubts");
    let told = client.post_stream(&path, RANGES_TYPE, Bytes::new());
    if let Ok(Err(error)) = timeout(DOUBT_WAIT, told).await {
        tracing::debug!(%error, "a server does not hear of doubts");
    }
}

async fn fetch_parts(
    client: &Client,
    (manifest, what): (ManifestId, &str),
    kind: ChunkKind,
    ranges: &[Range<u32>],
    chunks_in: impl Fn(&[Range<u32>]) -> u64,
    sink: &Sink,
    progress: &AtomicU64,
) -> Fetched {
    let (mut wire_bytes, path) = (0, path_of(manifest, what));
    for part in ranges.chunks(REQUEST_RANGES_MAX) {
        let request = Request { path: &path, kind, ranges: part, chunks_max: chunks_in(part) };
        let mut arrived = |bytes: u64| {
            wire_bytes += bytes;
            progress.fetch_add(bytes, Ordering::Relaxed);
        };
        if let Err(error) = records::fetch(client, &request, sink, &mut arrived).await {
            if matches!(error, Error::Lied { .. }) {
                doubt(client, manifest).await;
            }
            return Fetched { wire_bytes, end: Err(error) };
        }
    }
    Fetched { wire_bytes, end: Ok(()) }
}

fn path_of(manifest: ManifestId, what: &str) -> String {
    let mut path = String::from(VERSIONS_PATH);
    // Writing into a string cannot fail.
    let _ = write!(path, "/{manifest}/{what}");
    path
}

/// Most pages that the recipe of entry `number` can have.
fn pages_max(manifest: &ManifestFile, number: u32) -> u64 {
    let Some((_, _, chunks)) = manifest.file_of(number) else { return 0 };
    let (mut lines, mut pages) = (u64::from(chunks), 0);
    while lines > 1 {
        lines = lines.div_ceil(PAGE_LINES_MAX as u64);
        pages += lines;
    }
    pages
}
