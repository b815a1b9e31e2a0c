//! What the site server's store is kept for, and what damage means for its codebases.

use std::sync::Arc;

use consign_store::upkeep::{Live, is_whole};

use super::Core;
use super::error::Result;
use crate::domain::CodebaseState;
use crate::net::data_plane::BoxFuture;
use crate::net::upkeep::Holder;
use crate::net::{blocking, clock};

impl Core {
    /// Takes what damage has hit out of service; it is fetched from the hub again at once.
    async fn look_over_codebases(&self) -> Result<()> {
        let ready = self.codebases.list().into_iter().filter(|(_, state)| *state == CodebaseState::Ready);
        for (version, _) in ready {
            let (store, manifest) = (self.store.clone(), version.manifest);
            if blocking::run("looking for damaged versions", move || is_whole(&store, manifest)).await?? {
                continue;
            }
            tracing::error!(package = %version.name, version = version.info.version, "damaged here; fetching what is missing");
            let reason =
                "the disk of this site server has lost or changed some of its content; that is fetched from the hub again";
            self.codebases.damaged(&manifest, reason, clock::now());
            self.announce(&manifest);
        }
        Ok(())
    }
}

/// The site server, as its upkeep sees it.
pub(super) struct SiteHolder(pub Arc<Core>);

impl Holder for SiteHolder {
    fn live(&self) -> BoxFuture<'_, Result<Live, String>> {
        Box::pin(async {
            if self.0.known().is_none() {
                return Err("the hub has not said yet what this site server shall hold".to_owned());
            }
            let (mut whole, mut partial) = (Vec::new(), Vec::new());
            for (version, state) in self.0.codebases.list() {
                let list = if state == CodebaseState::Ready { &mut whole } else { &mut partial };
                list.push(version.manifest);
            }
            Ok(Live { whole, partial })
        })
    }

    fn is_busy(&self) -> bool {
        self.0.codebases.is_working()
    }

    fn damage_found(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            if let Err(error) = self.0.look_over_codebases().await {
                tracing::error!(%error, "cannot tell which versions are damaged");
            }
            // Replication tries again by itself.
            false
        })
    }
}
