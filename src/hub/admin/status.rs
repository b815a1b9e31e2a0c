//! The hub at a glance, with everything that waits.

use axum::extract::State;
use axum::response::Json;

use super::{Answer, Shared};
use crate::hub::memory;
use crate::net::clock;
use crate::protocol::admin::{HubStatus, Wait};

pub(super) async fn status(State(hub): Shared) -> Answer<HubStatus> {
    let counts = hub.catalog.counts().await?;
    let refreshes = hub.catalog.refresh_queue().await?;
    let writer = hub.catalog.writer_queue();
    let mut waits = vec![Wait {
        what: "signing of release metadata".to_owned(),
        reason: "the timestamp is signed anew before it expires".to_owned(),
        since: None,
        until: Some(hub.renewal_due().await?),
        depth: 1,
    }];
    if refreshes.depth > 0 {
        waits.push(Wait {
            what: "refreshes".to_owned(),
            reason: "queued or being hashed".to_owned(),
            since: refreshes.oldest,
            until: None,
            depth: refreshes.depth,
        });
    }
    if writer.depth > 0 {
        waits.push(Wait {
            what: "catalog writes".to_owned(),
            reason: "one is written at a time".to_owned(),
            since: writer.oldest.map(|age| clock::now().plus_millis(-i64::try_from(age.as_millis()).unwrap_or(i64::MAX))),
            until: None,
            depth: writer.depth,
        });
    }
    Ok(Json(HubStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        address: hub.addresses.fleet.clone(),
        admin_address: hub.addresses.admin.clone(),
        started: hub.started,
        packages: counts.packages,
        agents: counts.agents,
        site_servers: counts.site_servers,
        sites: counts.sites,
        revision: counts.revision,
        waits,
        traffic: hub.catalog.traffic().await?,
        upkeep: Some(hub.upkeep_view()),
        memory_bytes: memory::anonymous_bytes(),
    }))
}
