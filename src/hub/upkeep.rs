//! What the hub's store is kept for, and what damage means for its versions.

use std::sync::{Arc, PoisonError};

use consign_store::upkeep::{Live, is_whole};

use super::Hub;
use super::error::Result;
use crate::catalog::KeptVersion;
use crate::net::blocking;
use crate::net::data_plane::BoxFuture;
use crate::net::upkeep::Holder;
use crate::protocol::upkeep::{DamagedVersion, UpkeepView};

impl Hub {
    /// What `status` shows of the upkeep.
    pub(super) fn upkeep_view(&self) -> UpkeepView {
        UpkeepView { damaged: self.damaged_versions(), ..self.upkeep.view() }
    }

    /// The versions that cannot be served whole.
    pub(super) fn damaged_versions(&self) -> Vec<DamagedVersion> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks which versions damage has hit, or hits no longer.
    async fn look_over_versions(&self) -> Result<()> {
        let versions = self.catalog.kept_versions().await?;
        let store = self.store.clone();
        let look = move || {
            let mut damaged = Vec::new();
            for version in versions {
                if !is_whole(&store, version.manifest)? {
                    damaged.push(describe(version));
                }
            }
            Ok::<_, consign_store::Error>(damaged)
        };
        let damaged = blocking::run("looking for damaged versions", look).await??;
        for version in &damaged {
            tracing::error!(package = %version.package, version = version.version, next = version.next_step, "version damaged");
        }
        *self.damaged.lock().unwrap_or_else(PoisonError::into_inner) = damaged;
        Ok(())
    }
}

fn describe(version: KeptVersion) -> DamagedVersion {
    DamagedVersion {
        reason: "the disk of the hub has lost or changed some of its content; that is not sent any more".to_owned(),
        next_step: format!(
            "what the source still has is stored anew by itself; put back there what it no longer has and run `consign package refresh {} --verify`, or stop \
             the hub and run `consign store repair` with another store; replace the disk if this happens again",
            version.package
        ),
        package: version.package,
        version: version.version,
    }
}

/// The hub, as its upkeep sees it.
pub(super) struct HubHolder(pub Arc<Hub>);

impl Holder for HubHolder {
    fn live(&self) -> BoxFuture<'_, Result<Live, String>> {
        Box::pin(async {
            let versions = self.0.catalog.kept_versions().await.map_err(|error| error.to_string())?;
            Ok(Live { whole: versions.into_iter().map(|version| version.manifest).collect(), partial: Vec::new() })
        })
    }

    fn is_busy(&self) -> bool {
        self.0.mends.is_running() || !self.0.running.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn damage_found(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let look = || async {
                if let Err(error) = self.0.look_over_versions().await {
                    tracing::error!(%error, "cannot tell which versions are damaged");
                }
            };
            look().await;
            if self.0.mend_from_sources().await {
                look().await;
            }
            !self.0.damaged_versions().is_empty()
        })
    }
}
