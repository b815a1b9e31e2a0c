//! What machines ask the hub: enrolment, states, metadata, resolutions, events, reports, content.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};

use super::Hub;
use crate::net::Peer;
use crate::net::clock;
use crate::net::data_plane::{self, DataPlane};
use crate::net::problem::JsonBody;
use crate::protocol::enrol::{ENROL_PATH, EnrolRequest, EnrolResponse};
use crate::protocol::events::EVENTS_PATH;
use crate::protocol::fleet::{
    CODEBASES_PATH, CodebaseReport, PACKAGES_PATH, Resolution, SITE_MAP_PATH, SITE_STATE_PATH, SiteState, TUF_PATH,
};
use crate::protocol::hello::{HELLO_PATH, Hello, ProtocolRange, Role};
use crate::protocol::problem::Problem;
use crate::protocol::report::{AgentReport, REPORTS_PATH};
use crate::protocol::signed::Signed;
use crate::trust::{PublicKey, statement};

/// Bytes of an enrolment.
const ENROL_BYTES_MAX: usize = 64 << 10;
/// Bytes of a report.
const REPORT_BYTES_MAX: usize = 8 << 20;

type Shared = State<Arc<Hub>>;

/// The routes of the fleet's listener.
pub(super) fn routes(hub: &Arc<Hub>, plane: &Arc<DataPlane>) -> Router {
    Router::new()
        .route(HELLO_PATH, get(hello))
        .route(ENROL_PATH, post(enrol).layer(DefaultBodyLimit::max(ENROL_BYTES_MAX)))
        .route(SITE_MAP_PATH, get(site_map))
        .route(SITE_STATE_PATH, get(site_state))
        .route(&format!("{PACKAGES_PATH}/{{name}}"), get(resolve))
        .route(&format!("{TUF_PATH}/{{file}}"), get(tuf_file))
        .route(EVENTS_PATH, get(events))
        .route(CODEBASES_PATH, post(codebases).layer(DefaultBodyLimit::max(REPORT_BYTES_MAX)))
        .route(REPORTS_PATH, post(report).layer(DefaultBodyLimit::max(REPORT_BYTES_MAX)))
        .with_state(Arc::clone(hub))
        .merge(data_plane::routes(Arc::clone(plane)))
}

async fn hello() -> Json<Hello> {
    Json(Hello {
        protocol: ProtocolRange::OURS,
        role: Role::Hub,
        id: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: clock::now(),
    })
}

async fn enrol(
    State(hub): Shared,
    peer: Peer,
    JsonBody(request): JsonBody<EnrolRequest>,
) -> Result<Json<EnrolResponse>, Problem> {
    Ok(Json(hub.enrol(request, peer.address.ip()).await?))
}

async fn site_map(State(hub): Shared, peer: Peer) -> Result<Json<Signed>, Problem> {
    let machine = hub.member(&peer).await?;
    Ok(Json(hub.signed_site_map(machine.site).await?))
}

async fn site_state(State(hub): Shared, peer: Peer) -> Result<Json<Signed>, Problem> {
    let server = hub.member_as(&peer, Role::SiteServer).await?;
    let facts = hub.catalog.site_state(server.id, hub.endpoint()).await?;
    let now = clock::now();
    let state = SiteState {
        revision: facts.revision,
        site_map: hub.signing.site_map(facts.site_map.site, &facts.site_map, facts.revision, now)?,
        packages: facts.packages,
        machines: facts.machines,
    };
    Ok(Json(hub.signing.site_state(server.id, &state, now)?))
}

async fn resolve(State(hub): Shared, peer: Peer, Path(name): Path<String>) -> Result<Json<Resolution>, Problem> {
    let machine = hub.member(&peer).await?;
    Ok(Json(hub.catalog.resolve(machine.id, &name, hub.endpoint()).await?))
}

async fn tuf_file(State(hub): Shared, peer: Peer, Path(file): Path<String>) -> Result<Response, Problem> {
    hub.member(&peer).await?;
    let bytes = hub.catalog.tuf_file(&file).await?;
    let bytes = bytes.ok_or_else(|| Problem::absent("there is no such metadata"))?;
    Ok(([(CONTENT_TYPE, "application/json")], bytes).into_response())
}

async fn events(State(hub): Shared, peer: Peer) -> Result<Response, Problem> {
    let machine = hub.member(&peer).await?;
    if let Err(error) = hub.catalog.machines_seen(vec![(machine.id, clock::now())]).await {
        tracing::warn!(machine = %machine.id, %error, "cannot note when the machine was seen");
    }
    Ok(hub.announce.stream(machine.id))
}

async fn codebases(State(hub): Shared, peer: Peer, JsonBody(report): JsonBody<CodebaseReport>) -> Result<StatusCode, Problem> {
    let server = hub.member_as(&peer, Role::SiteServer).await?;
    hub.catalog.report_codebases(server.id, report, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes an agent's report, from itself or through a site server: who brings it does not matter, who signed it does.
async fn report(State(hub): Shared, peer: Peer, JsonBody(signed): JsonBody<Signed>) -> Result<StatusCode, Problem> {
    hub.member(&peer).await?;
    let refused = || Problem::new(403, "wrong_signature", "the report is not signed by a machine of this fleet");
    let claimed = claimed_machine(&signed).ok_or_else(|| Problem::new(422, "malformed_report", "the report names no machine"))?;
    let machine = hub.catalog.machine(claimed).await.map_err(|_| refused())?;
    let key = public_key(&machine.certificate).ok_or_else(refused)?;
    let report = statement::verify::<AgentReport>(&signed, &key, "report", "hub", clock::now(), 0).map_err(super::Error::from)?;
    if report.body.machine != machine.id {
        return Err(refused());
    }
    hub.catalog.report_installs(report.body, report.sequence, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The machine that a report claims to be of: only to find the key that it must be signed with.
fn claimed_machine(signed: &Signed) -> Option<crate::domain::MachineId> {
    let claimed: serde_json::Value = serde_json::from_str(&signed.payload).ok()?;
    claimed.get("body")?.get("machine")?.as_str()?.parse().ok()
}

fn public_key(certificate_pem: &str) -> Option<PublicKey> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).ok()?;
    let certificate = webpki::EndEntityCert::try_from(&der).ok()?;
    PublicKey::from_spki(certificate.subject_public_key_info().as_ref()).ok()
}
