//! Patches as the data plane answers them.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::get;
use consign_store::FileDigest;
use serde::Deserialize;

use super::super::{DataPlane, answer};
use super::Pair;
use crate::net::peer::Peer;
use crate::protocol::fleet::VERSIONS_PATH;
use crate::protocol::patches::{PatchAnswer, WAIT_MILLIS_MAX};
use crate::protocol::problem::Problem;

/// Media type of a patch.
const PATCH_TYPE: &str = "application/vnd.consign.patch";
/// Bytes of one part of an answer.
const PART_BYTES: usize = 256 << 10;

/// Routes of patches, below [`VERSIONS_PATH`].
pub(in crate::net::data_plane) fn routes() -> Router<Arc<DataPlane>> {
    Router::new()
        .route(&format!("{VERSIONS_PATH}/{{manifest}}/patches/{{base}}"), get(set))
        .route(&format!("{VERSIONS_PATH}/{{manifest}}/patches/{{base}}/{{digest}}"), get(patch))
}

#[derive(Deserialize)]
struct WaitQuery {
    #[serde(default)]
    wait_millis: u64,
}

#[derive(Deserialize)]
struct FromQuery {
    #[serde(default)]
    from: u64,
}

type Plane = State<Arc<DataPlane>>;

async fn set(
    plane: Plane,
    peer: Peer,
    Path((target, base)): Path<(String, String)>,
    Query(query): Query<WaitQuery>,
) -> Result<Json<PatchAnswer>, Problem> {
    let target = plane.version(&peer, &target).await?;
    // A base that is not here (any more) is no error: records are as good.
    let Ok(base) = plane.version(&peer, &base).await else {
        return Ok(Json(PatchAnswer::None { reason: "the base version is not here".to_owned() }));
    };
    let wait = Duration::from_millis(query.wait_millis.min(WAIT_MILLIS_MAX));
    Ok(Json(plane.patches().ask_waiting(&(base, target), wait).await))
}

async fn patch(
    plane: Plane,
    peer: Peer,
    Path((target, base, digest)): Path<(String, String, String)>,
    Query(query): Query<FromQuery>,
) -> Result<Response, Response> {
    let absent = || Problem::absent("this patch does not exist here").hint("ask which patches there are").into_response();
    let target = plane.version(&peer, &target).await.map_err(Problem::into_response)?;
    let base = plane.version(&peer, &base).await.map_err(Problem::into_response)?;
    let digest: FileDigest = digest.parse().map_err(|_| absent())?;
    let pair = Pair { base: base.manifest.id(), target: target.manifest.id() };
    let mut file = std::fs::File::open(plane.patches().cache.patch(pair, digest)).map_err(|_| absent())?;
    let turn = plane.turn().await?;
    let doubter = Arc::clone(&plane);
    let body = answer::stream("a patch", turn, move |outlet| {
        let failed = |source| {
            // What the disk does not give back is built again, as what it gives back wrong is.
            doubter.doubt(pair.target);
            consign_store::Error::Io { operation: "read", path: "a patch".into(), source }
        };
        file.seek(SeekFrom::Start(query.from)).map_err(failed)?;
        let mut part = vec![0; PART_BYTES];
        loop {
            match file.read(&mut part).map_err(failed)? {
                0 => return Ok(()),
                len => outlet.send(bytes::Bytes::copy_from_slice(&part[..len]))?,
            }
        }
    });
    let body = body.await.map_err(Problem::into_response)?;
    Ok(([(CONTENT_TYPE, PATCH_TYPE)], body).into_response())
}
