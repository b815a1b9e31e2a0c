//! What admins ask the hub, on their own listener and with their own token.

mod packages;
mod status;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{get, post};
use sha2::{Digest as _, Sha256};

use super::Hub;
use crate::protocol::admin::{
    COLLECTIONS_PATH, CollectionAdd, CollectionView, INVITES_PATH, Invite, Invited, MACHINES_PATH, MachineView, PACKAGES_PATH,
    POLICIES_PATH, PolicyAdd, PolicyView, REFRESH_ALL_PATH, SITES_PATH, STATUS_PATH, SUBNETS_PATH, SiteAdd, SiteView, SubnetAdd,
};
use crate::protocol::problem::Problem;

use write::Write;

/// Bytes of an admin's request.
const BODY_BYTES_MAX: usize = 8 << 20;

type Shared = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, Problem>;

/// The routes of the admins' listener; every one needs `token`.
pub(super) fn routes(hub: &Arc<Hub>, token: &str) -> Router {
    // Compared as digests, so that the time it takes tells nothing about the token.
    let expected: [u8; 32] = Sha256::digest(token).into();
    Router::new()
        .route(PACKAGES_PATH, get(packages::list).post(packages::add))
        .route(&format!("{PACKAGES_PATH}/{{name}}"), get(packages::show))
        .route(&format!("{PACKAGES_PATH}/{{name}}/refresh"), post(packages::refresh))
        .route(REFRESH_ALL_PATH, post(packages::refresh_all))
        .route(SITES_PATH, get(sites).post(add_site))
        .route(&format!("{SITES_PATH}/{{name}}"), get(site))
        .route(SUBNETS_PATH, post(add_subnet))
        .route(INVITES_PATH, post(invite))
        .route(MACHINES_PATH, get(machines))
        .route(COLLECTIONS_PATH, get(collections).post(add_collection))
        .route(POLICIES_PATH, get(policies).post(add_policy))
        .route(STATUS_PATH, get(status::status))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(move |request, next| authorize(expected, request, next)))
        .with_state(Arc::clone(hub))
}

async fn authorize(expected: [u8; 32], request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = shown.and_then(|value| value.strip_prefix("Bearer "));
    if token.is_some_and(|token| <[u8; 32]>::from(Sha256::digest(token)) == expected) {
        return next.run(request).await;
    }
    Problem::new(401, "unauthorized", "the admin token is missing or wrong")
        .hint("use the admin.json that this hub's `consign hub init` wrote")
        .into_response()
}

async fn sites(State(hub): Shared) -> Answer<Vec<SiteView>> {
    Ok(Json(hub.catalog.sites().await?))
}

async fn site(State(hub): Shared, Path(name): Path<String>) -> Answer<SiteView> {
    Ok(Json(hub.catalog.site(&name).await?))
}

async fn add_site(State(hub): Shared, Write(write, add): Write<SiteAdd>) -> Answer<SiteView> {
    Ok(Json(hub.catalog.add_site(write, add).await?))
}

async fn add_subnet(State(hub): Shared, Write(write, add): Write<SubnetAdd>) -> Answer<SiteView> {
    Ok(Json(hub.catalog.add_subnet(write, add).await?))
}

async fn invite(State(hub): Shared, Write(write, invite): Write<Invite>) -> Answer<Invited> {
    Ok(Json(hub.invite(write, invite).await?))
}

async fn machines(State(hub): Shared) -> Answer<Vec<MachineView>> {
    let mut machines = hub.catalog.machines().await?;
    for machine in &mut machines {
        machine.connected = hub.announce.is_connected(machine.id);
    }
    Ok(Json(machines))
}

async fn collections(State(hub): Shared) -> Answer<Vec<CollectionView>> {
    Ok(Json(hub.catalog.collections().await?))
}

async fn add_collection(State(hub): Shared, Write(write, add): Write<CollectionAdd>) -> Answer<CollectionView> {
    Ok(Json(hub.catalog.add_collection(write, add).await?))
}

async fn policies(State(hub): Shared) -> Answer<Vec<PolicyView>> {
    Ok(Json(hub.catalog.policies().await?))
}

async fn add_policy(State(hub): Shared, Write(write, add): Write<PolicyAdd>) -> Answer<PolicyView> {
    Ok(Json(hub.catalog.add_policy(write, add).await?))
}
