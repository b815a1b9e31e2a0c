//! Who asks, and what that machine may have. Rights come from the signed state by key; absent and forbidden look the same.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use consign_store::ManifestId;
use tokio::time::timeout;

use super::Core;
use super::known::Known;
use super::link::Contact;
use crate::net::Peer;
use crate::net::data_plane::{Access, BoxFuture};
use crate::protocol::fleet::MachineInfo;
use crate::protocol::problem::Problem;

/// A machine that joined a moment ago is known as soon as the hub has told: for so long its first request waits.
const NEWCOMER_WAIT: Duration = Duration::from_secs(2);

/// An agent that may ask, and the state that says so.
#[derive(Debug, Clone)]
pub(super) struct Admitted {
    pub known: Arc<Known>,
    pub machine: MachineInfo,
    pub key: [u8; 32],
}

impl Core {
    /// The agent behind `peer`.
    ///
    /// # Errors
    /// A problem: no certificate, not known, or nothing may be said because what is known has expired.
    pub async fn admit(&self, peer: &Peer) -> Result<Admitted, Problem> {
        let Some(key) = peer.key else {
            return Err(Problem::new(401, "no_certificate", "only members of the fleet may ask this")
                .hint("join with `consign agent join`"));
        };
        let known = self.valid()?;
        if let Some(admitted) = admitted(known, key) {
            return Ok(admitted);
        }
        if matches!(self.link.contact(), Contact::Connected { .. }) {
            let mut news = self.known.subscribe();
            let is_newcomer_there =
                |known: &Option<Arc<Known>>| known.as_ref().is_some_and(|known| known.machine(&key).is_some());
            // Late or never is the same here: the state as it is then decides.
            let _ = timeout(NEWCOMER_WAIT, news.wait_for(is_newcomer_there)).await;
        }
        admitted(self.valid()?, key).ok_or_else(|| {
            Problem::new(403, "unknown_machine", "this site server does not know this machine's certificate")
                .hint("it belongs to another site, was removed, or joined while the hub was out of reach: ask the hub")
        })
    }

    /// What the hub has said, if it may still be relied on.
    fn valid(&self) -> Result<Arc<Known>, Problem> {
        let away = |detail: String| {
            Problem::new(503, "hub_away", detail)
                .hint("see `consign site-server status` at the site server; ask the hub meanwhile")
        };
        let known = self.known().ok_or_else(|| away("this site server has not heard from the hub yet".to_owned()))?;
        if known.expires > self.metadata.now() {
            return Ok(known);
        }
        let (received, expires) = (known.received.to_rfc3339(), known.expires.to_rfc3339());
        Err(away(format!(
            "this site server has not reached the hub since {received}, and what the hub said expired at {expires}"
        )))
    }
}

fn admitted(known: Arc<Known>, key: [u8; 32]) -> Option<Admitted> {
    let machine = known.machine(&key)?.clone();
    Some(Admitted { known, machine, key })
}

/// Lets only known agents through, and says who it is.
pub(super) async fn admit(
    State(core): State<Arc<Core>>,
    peer: Peer,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let admitted = core.admit(&peer).await?;
    request.extensions_mut().insert(admitted);
    Ok(next.run(request).await)
}

/// Rights at the site server's data plane.
pub(super) struct SiteAccess(pub Arc<Core>);

impl Access for SiteAccess {
    fn may_read<'a>(&'a self, peer: &'a Peer, manifest: ManifestId) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Ok(Admitted { known, machine, .. }) = self.0.admit(peer).await else { return false };
            known.may_read(&machine, &manifest) && self.0.codebases.is_ready(&manifest)
        })
    }

    /// Agents look at what is about to come while its content is verified; its manifest is what the hub has signed.
    fn may_list<'a>(&'a self, peer: &'a Peer, manifest: ManifestId) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Ok(Admitted { known, machine, .. }) = self.0.admit(peer).await else { return false };
            known.may_read(&machine, &manifest) && self.0.codebases.is_listed(&manifest)
        })
    }

    fn doubted(&self, manifest: ManifestId) -> bool {
        self.0.upkeep.doubt(manifest)
    }
}
