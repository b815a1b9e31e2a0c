//! What agents ask their site server: maps, metadata, resolutions, events, reports, content.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Extension, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt as _;

use super::rights::{Admitted, admit};
use super::{Core, relay};
use crate::net::clock;
use crate::net::data_plane::{self, DataPlane};
use crate::net::event_stream;
use crate::net::problem::JsonBody;
use crate::protocol::events::EVENTS_PATH;
use crate::protocol::fleet::{PACKAGES_PATH, Resolution, SITE_MAP_PATH, TUF_PATH};
use crate::protocol::hello::{HELLO_PATH, Hello, ProtocolRange, Role};
use crate::protocol::problem::Problem;
use crate::protocol::report::REPORTS_PATH;
use crate::protocol::signed::Signed;

type Shared = State<Arc<Core>>;
type Asking = Extension<Admitted>;

/// The routes of the site server's listener; all but the greeting are for its agents only.
pub(super) fn routes(core: &Arc<Core>, plane: &Arc<DataPlane>) -> Router {
    let content = data_plane::routes(Arc::clone(plane)).route_layer(from_fn_with_state(Arc::clone(core), count));
    Router::new()
        .route(SITE_MAP_PATH, get(site_map))
        .route(&format!("{PACKAGES_PATH}/{{name}}"), get(resolve))
        .route(&format!("{TUF_PATH}/{{file}}"), get(tuf_file))
        .route(EVENTS_PATH, get(events))
        .route(REPORTS_PATH, post(report).layer(DefaultBodyLimit::max(relay::REPORT_BYTES_MAX)))
        .merge(content)
        .route_layer(from_fn_with_state(Arc::clone(core), admit))
        .route(HELLO_PATH, get(hello))
        .with_state(Arc::clone(core))
}

async fn hello(State(core): Shared) -> Json<Hello> {
    Json(Hello {
        protocol: ProtocolRange::OURS,
        role: Role::SiteServer,
        id: Some(core.member.id()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: clock::now(),
    })
}

async fn site_map(Extension(asking): Asking) -> Json<Signed> {
    Json(asking.known.state.site_map.clone())
}

async fn resolve(State(core): Shared, Extension(asking): Asking, Path(name): Path<String>) -> Result<Json<Resolution>, Problem> {
    Ok(Json(core.resolve(&asking, &name)?))
}

async fn tuf_file(State(core): Shared, Path(file): Path<String>) -> Result<Response, Problem> {
    let unreadable = |error: super::Error| {
        tracing::error!(%error, file, "cannot read release metadata");
        Problem::new(500, "unreadable", "this metadata cannot be read here now").hint("see the site server's log")
    };
    let bytes = core.metadata.file(&file).await.map_err(unreadable)?;
    let bytes = bytes.ok_or_else(|| Problem::absent("there is no such metadata"))?;
    Ok(([(CONTENT_TYPE, "application/json")], bytes).into_response())
}

async fn events(State(core): Shared, Extension(asking): Asking) -> Response {
    let receiver = core.feed.subscribe();
    let revision_of = Arc::clone(&core);
    let revision = move || revision_of.known().map_or(0, |known| known.state.revision);
    event_stream::respond(receiver, revision, move |change| core.event(change, &asking.key))
}

async fn report(
    State(core): Shared,
    Extension(asking): Asking,
    JsonBody(signed): JsonBody<Signed>,
) -> Result<StatusCode, Problem> {
    core.installed.learn(asking.machine.id, &signed);
    core.relay.take(asking.machine.id, signed)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Counts the content bytes that leave.
async fn count(State(core): Shared, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            core.served_bytes.fetch_add(bytes, Ordering::Relaxed);
            frame
        }))
    })
}
