//! Fetching patches from one server.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use consign_store::delta::Verifier;
use consign_store::error::At as _;
use consign_store::{FileDigest, ManifestId};

use super::{Fetched, doubt};
use crate::domain::Millis;
use crate::net::client::Client;
use crate::net::error::{Error, Result};
use crate::net::{blocking, clock};
use crate::protocol::fleet::VERSIONS_PATH;
use crate::protocol::patches::{PATCHES_MAX, PatchAnswer, WAIT_MILLIS_MAX};

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// Shortest wait before a server is asked again.
const ASK_MILLIS_MIN: u64 = 50;

/// Asks how far the patches from version `base` to version `target` are; the server may hold its answer back for `wait`.
///
/// # Errors
/// Any of [`Error`]; an answer with more patches than there may be.
pub async fn ask_patches(client: &Client, base: ManifestId, target: ManifestId, wait: Duration) -> Result<PatchAnswer> {
    let path = format!("{VERSIONS_PATH}/{target}/patches/{base}?wait_millis={}", wait.as_millis());
    let answer: PatchAnswer = client.get_json(&path).await?;
    match &answer {
        PatchAnswer::Ready { set } if set.len() > PATCHES_MAX => {
            Err(Error::Malformed { server: client.server().to_owned(), path, why: format!("more than {PATCHES_MAX} patches") })
        }
        _ => Ok(answer),
    }
}

/// Asks how far the patches from version `base` to version `target` are, waiting up to `patience` for those that are being built if that is enough;
/// `tell` learns until when it waits. If there are none, or they take too long, records are as good.
///
/// # Errors
/// As [`ask_patches`].
pub async fn await_answer(
    client: &Client,
    base: ManifestId,
    target: ManifestId,
    patience: Duration,
    mut tell: impl FnMut(Millis),
) -> Result<PatchAnswer> {
    let latest = clock::now().plus(patience);
    let mut wait = Duration::ZERO;
    loop {
        match ask_patches(client, base, target, wait).await? {
            PatchAnswer::Building { millis } if clock::now().plus(Duration::from_millis(millis)) < latest => {
                tell(clock::now().plus(Duration::from_millis(millis)));
                // No longer than it should take: then what is late tells so, and is given up where it takes too long.
                wait = Duration::from_millis(WAIT_MILLIS_MAX.min(millis.max(ASK_MILLIS_MIN)));
            }
            answer => return Ok(answer),
        }
    }
}

/// Brings the patch `digest` of `len` bytes into the file `into`, going on behind what is there already. `arrived` learns how many bytes are there,
/// again and again, and says whether more are wanted; if not, the file stays as it is.
///
/// # Errors
/// In [`Fetched::end`]: any of [`Error`]; [`Error::Lied`] when what has arrived is not that patch: the file is then removed.
pub async fn fetch_patch(
    client: &Client,
    base: ManifestId,
    target: ManifestId,
    (digest, len): (FileDigest, u64),
    into: &Path,
    arrived: &mut (dyn FnMut(u64) -> bool + Send),
) -> Fetched {
    let mut wire_bytes = 0;
    let end = bring(client, (base, target), (digest, len), into, arrived, &mut wire_bytes).await;
    if matches!(end, Err(Error::Lied { .. })) {
        doubt(client, target).await;
    }
    Fetched { wire_bytes, end }
}

async fn bring(
    client: &Client,
    (base, target): (ManifestId, ManifestId),
    (digest, len): (FileDigest, u64),
    into: &Path,
    arrived: &mut (dyn FnMut(u64) -> bool + Send),
    wire_bytes: &mut u64,
) -> Result<()> {
    let mut from = std::fs::metadata(into).map_or(0, |file| file.len());
    if from > len {
        std::fs::remove_file(into).at("remove", into)?;
        from = 0;
    }
    if from < len {
        let path = format!("{VERSIONS_PATH}/{target}/patches/{base}/{digest}?from={from}");
        let mut body = client.get_stream(&path).await?;
        let mut file = OpenOptions::new().create(true).append(true).open(into).at("open", into)?;
        let mut gathered = Vec::with_capacity(WRITE_BYTES);
        let mut left = len - from;
        if !arrived(from) {
            return Ok(());
        }
        while let Some(bytes) = body.chunk().await? {
            *wire_bytes += bytes.len() as u64;
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| body.lied("the patch is longer than announced"))?;
            gathered.extend_from_slice(&bytes);
            if gathered.len() >= WRITE_BYTES {
                file.write_all(&gathered).at("write", into)?;
                gathered.clear();
                if !arrived(len - left) {
                    return Ok(());
                }
            }
        }
        file.write_all(&gathered).at("write", into)?;
        if left > 0 {
            return Err(body.cut("the patch is shorter than announced"));
        }
    }
    arrived(len);
    let path = into.to_owned();
    let mut verifier = Verifier::default();
    let check = move || verifier.push_file(&path).map(|()| verifier.built().digest);
    if blocking::run("checking a patch", check).await?? == digest {
        return Ok(());
    }
    std::fs::remove_file(into).at("remove", into)?;
    let why = format!("the bytes of patch {digest} are others");
    Err(Error::Lied { server: client.server().to_owned(), path: format!("{VERSIONS_PATH}/{target}/patches/{base}"), why })
}
