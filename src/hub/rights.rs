//! Who asks, and what that machine may read. Rights come from the catalog by key; absent and forbidden look the same.

use std::sync::Arc;

use consign_store::ManifestId;

use super::Hub;
use crate::catalog::Machine;
use crate::net::Peer;
use crate::net::data_plane::{Access, BoxFuture};
use crate::protocol::hello::Role;
use crate::protocol::problem::Problem;

impl Hub {
    /// The member that asks.
    pub(super) async fn member(&self, peer: &Peer) -> Result<Machine, Problem> {
        let Some(key) = peer.key else {
            return Err(Problem::new(401, "no_certificate", "only members of the fleet may ask this")
                .hint("join with `consign agent join` or `consign site-server join`"));
        };
        self.catalog.machine_by_key(key).await?.ok_or_else(|| {
            Problem::new(403, "unknown_machine", "the hub does not know this machine's certificate")
                .hint("it was removed, or joined another hub; join again")
        })
    }

    /// The member that asks, if it is of `role`; to any other the path does not exist.
    pub(super) async fn member_as(&self, peer: &Peer, role: Role) -> Result<Machine, Problem> {
        let machine = self.member(peer).await?;
        if machine.role == role {
            return Ok(machine);
        }
        Err(Problem::absent(format!("this does not exist for a machine of role {}", machine.role.word())))
    }
}

/// Rights at the hub's data plane.
pub(super) struct HubAccess(pub Arc<Hub>);

impl Access for HubAccess {
    fn may_read<'a>(&'a self, peer: &'a Peer, manifest: ManifestId) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Ok(machine) = self.0.member(peer).await else { return false };
            self.0.catalog.may_read(machine.id, &manifest.to_string()).await.unwrap_or(false)
        })
    }

    fn doubted(&self, manifest: ManifestId) -> bool {
        self.0.upkeep.doubt(manifest)
    }
}
