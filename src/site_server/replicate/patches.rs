//! Patches: what is changed is made from an older version that is here, where the hub has built that; where not, or where a patch turns out
//! useless, records come instead.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use consign_store::delta::{Scope, Share};
use consign_store::error::At as _;
use consign_store::manifest::ManifestFile;
use consign_store::{FileDigest, ManifestId, Store, delta, fsx};

use super::version::Job;
use crate::domain::{CodebaseState, Millis};
use crate::net::Client;
use crate::net::blocking::{self, Work};
use crate::net::data_plane::leftovers::PATCHES_IN;
use crate::net::fetch::{ask_patches, await_answer, fetch_patch, full_cost};
use crate::policy::{Changed, Offered, Prefer, Way, patience, way};
use crate::protocol::patches::{PatchAnswer, PatchInfo};
use crate::site_server::error::Result;

/// Changed bytes from which it is worth a question what records would cost.
const COUNTED_BYTES_MIN: u64 = 1 << 20;

impl Job {
    /// Makes what patches can make; what is left is for records. Returns the patches that are worth it while records bring a part of what they make.
    ///
    /// # Errors
    /// This machine's disk; a patch that cannot be had or used is no error.
    pub(super) async fn patches(&self, client: &Client, manifest: &Arc<ManifestFile>) -> Result<Vec<Shared>> {
        let Some(base) = self.base().await.filter(|base| base.id() != manifest.id()) else { return Ok(Vec::new()) };
        let pair = (base.id(), manifest.id());
        self.set(CodebaseState::Fetching { done_bytes: 0, total_bytes: self.assigned.info.bytes })?;
        let tell = |until: Millis| tracing::info!(until = until.to_rfc3339(), "waiting for patches that the hub builds");
        let asked = match ask_patches(client, pair.0, pair.1, Duration::ZERO).await {
            // How long that is worth waiting for costs a look at every file, and a question.
            Ok(PatchAnswer::Building { .. }) => {
                let patience = self.patience(client, &base, manifest).await?;
                await_answer(client, pair.0, pair.1, patience, tell).await
            }
            other => other,
        };
        let set = match asked.map(PatchAnswer::into_set) {
            Ok(set) => set,
            Err(error) => {
                tracing::warn!(%error, "no word of patches; fetching records instead");
                return Ok(Vec::new());
            }
        };
        let folder = self.patches_folder(manifest.id());
        let set: Vec<_> = set.into_iter().filter_map(|info| info.read().map(|(digest, scope)| (info, digest, scope))).collect();
        let parts: Vec<_> = set.iter().filter_map(|(_, _, scope)| scope.part()).collect();
        let at_once = delta::apply_threads().min(set.len());
        let (mut whole, mut shared) = (Vec::new(), Vec::new());
        for (info, digest, scope) in set {
            match self.way(manifest, &info, &scope, at_once) {
                Way::Patch => whole.push((info, digest, scope)),
                Way::Shared { permille } => shared.push(Shared { digest, len: info.len, share: Share { scope, permille } }),
                Way::Records => {}
            }
        }
        let mut crew = VecDeque::new();
        let taken = self.take_patches(client, pair, (&base, manifest), whole, &folder, &mut crew).await;
        // Whatever came of that: nobody is left at work.
        let mut applied = Ok(());
        for work in crew {
            applied = applied.and(settle(work).await);
        }
        taken.and(applied)?;
        if !parts.is_empty() {
            let (store, manifest) = (self.core.store.clone(), Arc::clone(manifest));
            blocking::run("joining parts of files", move || delta::join_parts(&store, &manifest, &parts)).await??;
        }
        Ok(shared)
    }

    /// Where the patches to version `target` lie until they are applied.
    pub(super) fn patches_folder(&self, target: ManifestId) -> PathBuf {
        self.core.folder.tables().join(PATCHES_IN).join(target.to_hex())
    }

    /// How long patches under construction are worth waiting for.
    async fn patience(&self, client: &Client, base: &Arc<ManifestFile>, target: &Arc<ManifestFile>) -> Result<Duration> {
        let changed = changed_bytes(base, target).await?;
        let asks = self.core.prefer == Prefer::Time && changed >= COUNTED_BYTES_MIN;
        // That the hub does not say is no error.
        let full = if asks { full_cost(client, target.id()).await.unwrap_or(0) } else { 0 };
        let changed = Changed::of(changed, full, target.totals().bytes);
        Ok(patience(self.core.prefer, changed, self.core.rate.bytes_per_sec()))
    }

    /// Fetches the patches of `set` that are of use, one after the other, and applies each while the next ones are fetched.
    async fn take_patches(
        &self,
        client: &Client,
        pair: (ManifestId, ManifestId),
        (base, target): (&Arc<ManifestFile>, &Arc<ManifestFile>),
        set: Vec<(PatchInfo, FileDigest, Scope)>,
        folder: &Path,
        crew: &mut VecDeque<Applying>,
    ) -> Result<()> {
        let at_once = delta::apply_threads().min(set.len());
        for (info, digest, scope) in set {
            if !self.lacks(target, &scope).await? {
                continue;
            }
            std::fs::create_dir_all(folder).at("create folder", folder)?;
            let path = folder.join(digest.to_hex());
            match fetch_patch(client, pair.0, pair.1, (digest, info.len), &path, &mut |_| true).await.end {
                Ok(()) => {}
                Err(crate::net::Error::Store(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "a patch cannot be had; fetching records instead");
                    continue;
                }
            }
            if crew.len() >= at_once
                && let Some(oldest) = crew.pop_front()
            {
                settle(oldest).await?;
            }
            let (store, base, target) = (self.core.store.clone(), Arc::clone(base), Arc::clone(target));
            crew.push_back(blocking::start("applying a patch", move || take(&store, &path, (&base, &target), &scope)));
        }
        Ok(())
    }

    fn way(&self, target: &ManifestFile, info: &PatchInfo, scope: &Scope, at_once: usize) -> Way {
        let raw_len = scope.raw_bytes(target);
        let (patch_len, records_len) = (info.len, info.records_len);
        let (decisions, folded_bytes) = (info.decisions, info.folded_bytes);
        let fold_threads = delta::fold_threads() as u64;
        let at_once = at_once as u64;
        let offered = Offered { patch_len, records_len, raw_len, decisions, folded_bytes, at_once, fold_threads };
        way(self.core.prefer, &offered, self.core.rate.bytes_per_sec())
    }

    /// Says whether the store lacks anything of what `scope` makes.
    async fn lacks(&self, target: &Arc<ManifestFile>, scope: &Scope) -> Result<bool> {
        let (store, target, scope) = (self.core.store.clone(), Arc::clone(target), scope.clone());
        Ok(blocking::run("looking for chunks", move || delta::lacks_any(&store, &target, &scope)).await??)
    }
}

/// Counts the bytes of files that changed from version `base` to `target`.
pub(super) async fn changed_bytes(base: &Arc<ManifestFile>, target: &Arc<ManifestFile>) -> Result<u64> {
    let (base, target) = (Arc::clone(base), Arc::clone(target));
    Ok(blocking::run("comparing versions", move || delta::changed_bytes(&base, &target)).await??)
}

/// A patch that makes the front of what is for it.
pub(super) struct Shared {
    pub(super) digest: FileDigest,
    pub(super) len: u64,
    pub(super) share: Share,
}

/// A patch that is being applied.
pub(super) type Applying = Work<consign_store::Result<()>>;

/// Waits for a patch; one that is useless is no error.
pub(super) async fn settle(work: Applying) -> Result<()> {
    match work.join().await? {
        Err(error) if error.is_disk_full() => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "a patch is useless");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Opens a file without a name beside the patch `path`.
pub(super) fn scratch_beside(path: &Path) -> consign_store::Result<File> {
    fsx::unnamed(fsx::folder_of(path))
}

fn take(store: &Store, path: &Path, versions: (&ManifestFile, &ManifestFile), scope: &Scope) -> consign_store::Result<()> {
    let file = File::open(path).at("open", path)?;
    let mut scratch = || scratch_beside(path);
    let taken = delta::take_into_store(store, &mut BufReader::new(file), versions, scope, &mut scratch);
    // Applied or useless, it is not needed again.
    let _ = std::fs::remove_file(path);
    taken
}
