//! Asking what content would cost, before it is fetched.

use std::ops::Range;

use consign_store::ManifestId;

use super::{REQUEST_RANGES_MAX, path_of};
use crate::net::client::Client;
use crate::net::error::Result;
use crate::protocol::fleet::{RANGES_TYPE, WireCost};
use crate::protocol::ranges::encode;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 4 << 10;

/// Asks what all content of version `manifest` costs a receiver that has nothing, bytes on the wire.
///
/// # Errors
/// Any of [`crate::net::Error`].
pub async fn full_cost(client: &Client, manifest: ManifestId) -> Result<u64> {
    let cost: WireCost = client.get_stream(&path_of(manifest, "cost")).await?.json(ANSWER_BYTES_MAX).await?;
    Ok(cost.wire_bytes)
}

/// Asks what [`super::fetch_chunks`] of the same ranges costs, bytes on the wire.
///
/// # Errors
/// Any of [`crate::net::Error`].
pub async fn chunks_cost(client: &Client, manifest: ManifestId, ranges: &[Range<u32>]) -> Result<u64> {
    let path = path_of(manifest, "cost");
    let mut sum: u64 = 0;
    for part in ranges.chunks(REQUEST_RANGES_MAX) {
        let answer = client.post_stream(&path, RANGES_TYPE, encode(part).into()).await?;
        let cost: WireCost = answer.json(ANSWER_BYTES_MAX).await?;
        sum = sum.saturating_add(cost.wire_bytes);
    }
    Ok(sum)
}
