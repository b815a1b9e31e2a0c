//! Patches: what is changed is made from an older version that is here, where the hub has built that; where not, or where a patch turns out
//! useless, records come instead.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_store::error::At as _;
use consign_store::manifest::ManifestFile;
use consign_store::{FileDigest, ManifestId, Store, delta};

use super::missing;
use super::version::Job;
use crate::domain::{CodebaseState, Millis};
use crate::net::data_plane::leftovers::PATCHES_IN;
use crate::net::fetch::{await_patches, fetch_patch};
use crate::net::{Client, blocking};
use crate::policy::{patch_pays, patience};
use crate::protocol::patches::PatchInfo;
use crate::site_server::error::Result;

impl Job {
    /// Makes what patches can make; what is left is for records.
    ///
    /// # Errors
    /// This machine's disk; a patch that cannot be had or used is no error.
    pub(super) async fn patches(&self, client: &Client, manifest: &Arc<ManifestFile>) -> Result<()> {
        let Some(base) = self.base().await.filter(|base| base.id() != manifest.id()) else { return Ok(()) };
        let pair = (base.id(), manifest.id());
        let patience = patience(self.core.prefer, delta::changed_bytes(&base, manifest), self.core.rate.bytes_per_sec());
        self.set(CodebaseState::Fetching { done_bytes: 0, total_bytes: self.assigned.info.bytes })?;
        let tell = |until: Millis| tracing::info!(until = until.to_rfc3339(), "waiting for patches that the hub builds");
        let set = match await_patches(client, pair.0, pair.1, patience, tell).await {
            Ok(set) => set,
            Err(error) => {
                tracing::warn!(%error, "no word of patches; fetching records instead");
                return Ok(());
            }
        };
        let folder = self.core.folder.tables().join(PATCHES_IN).join(manifest.id().to_hex());
        for info in set.into_iter().filter(|info| self.pays(manifest, info)) {
            self.patch(client, pair, (&base, manifest), info, &folder).await?;
        }
        let _ = std::fs::remove_dir_all(&folder);
        Ok(())
    }

    async fn patch(
        &self,
        client: &Client,
        (base_id, target_id): (ManifestId, ManifestId),
        (base, target): (&Arc<ManifestFile>, &Arc<ManifestFile>),
        info: PatchInfo,
        folder: &Path,
    ) -> Result<()> {
        let Ok(digest) = info.digest.parse::<FileDigest>() else { return Ok(()) };
        if !self.lacks(target, &info.targets).await? {
            return Ok(());
        }
        std::fs::create_dir_all(folder).at("create folder", folder)?;
        let path = folder.join(digest.to_hex());
        match fetch_patch(client, base_id, target_id, digest, info.len, &path).await.end {
            Ok(()) => {}
            Err(crate::net::Error::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a patch cannot be had; fetching records instead");
                return Ok(());
            }
        }
        let (store, base, target) = (self.core.store.clone(), Arc::clone(base), Arc::clone(target));
        let applied = blocking::run("applying a patch", move || take(&store, &path, &base, &target, &info)).await?;
        match applied {
            Err(error) if error.is_disk_full() => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a patch is useless");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn pays(&self, target: &ManifestFile, info: &PatchInfo) -> bool {
        let raw = info.targets.iter().filter_map(|entry| target.file_of(*entry)).map(|(size, ..)| size).sum();
        patch_pays(self.core.prefer, info.len, info.records_len, raw, info.folded_bytes, self.core.rate.bytes_per_sec())
    }

    /// Says whether the store lacks anything of the files `entries`.
    async fn lacks(&self, target: &Arc<ManifestFile>, entries: &[u32]) -> Result<bool> {
        let (store, target, entries) = (self.core.store.clone(), Arc::clone(target), entries.to_vec());
        Ok(blocking::run("looking for chunks", move || missing::lacks_any(&store, &target, &entries)).await??)
    }
}

fn take(
    store: &Store,
    path: &PathBuf,
    base: &ManifestFile,
    target: &ManifestFile,
    info: &PatchInfo,
) -> consign_store::Result<()> {
    let file = File::open(path).at("open", path)?;
    let taken = delta::take_into_store(store, &mut BufReader::new(file), (base, &info.bases), (target, &info.targets));
    // Applied or useless, it is not needed again.
    let _ = std::fs::remove_file(path);
    taken
}
