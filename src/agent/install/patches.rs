//! Patches: what is changed is made from what is installed, where a server has built that; where not, or where a patch turns out useless,
//! records come instead.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use consign_store::error::At as _;
use consign_store::{FileDigest, ManifestId, delta, fsx};

use super::content::{Content, counted, sole};
use crate::agent::error::Result;
use crate::agent::job::{Effort, Job};
use crate::domain::Millis;
use crate::net::fetch::{await_patches, fetch_patch};
use crate::net::rate::Rate;
use crate::net::{Client, blocking};
use crate::policy::{Prefer, patch_pays, patience};
use crate::protocol::patches::PatchInfo;

/// What decides between patches and records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<'a> {
    pub(super) prefer: Prefer,
    pub(super) rate: &'a Rate,
}

impl Content {
    /// Makes what patches can make of the installed version; what is left is for records.
    ///
    /// # Errors
    /// This machine's disk; a patch that cannot be had or used is no error.
    pub(super) async fn take_patches(self, client: &Client, job: &Job, choice: Choice<'_>, effort: &mut Effort) -> Result<Self> {
        let target = self.assembly.manifest().id();
        let Some(base) = self.seeds.first().map(|seed| seed.manifest.id()).filter(|base| *base != target && !self.local_taken)
        else {
            return Ok(self);
        };
        let set = match self.patch_set(client, job, choice, (base, target)).await {
            Ok(set) => set,
            Err(error) => {
                tracing::warn!(%error, "no word of patches; fetching records instead");
                return Ok(self);
            }
        };
        let mut content = self;
        for info in set {
            if !content.pays(&info, choice) {
                continue;
            }
            content = content.take_patch(client, job, (base, target), info, effort).await?;
        }
        Ok(content)
    }

    /// The patches that there are, or will be in a time that is worth waiting.
    async fn patch_set(
        &self,
        client: &Client,
        job: &Job,
        choice: Choice<'_>,
        (base, target): (ManifestId, ManifestId),
    ) -> crate::net::Result<Vec<PatchInfo>> {
        let changed = delta::changed_bytes(&self.seeds[0].manifest, self.assembly.manifest());
        let patience = patience(choice.prefer, changed, choice.rate.bytes_per_sec());
        await_patches(client, base, target, patience, |until| show_wait(job, client, until)).await
    }

    fn pays(&self, info: &PatchInfo, choice: Choice<'_>) -> bool {
        let manifest = self.assembly.manifest();
        let raw = info.targets.iter().filter_map(|entry| manifest.file_of(*entry)).map(|(size, ..)| size).sum();
        patch_pays(choice.prefer, info.len, info.records_len, raw, info.folded_bytes, choice.rate.bytes_per_sec())
    }

    /// Fetches one patch and applies it.
    async fn take_patch(
        self,
        client: &Client,
        job: &Job,
        (base, target): (ManifestId, ManifestId),
        info: PatchInfo,
        effort: &mut Effort,
    ) -> Result<Self> {
        let Ok(digest) = info.digest.parse::<FileDigest>() else { return Ok(self) };
        let Self { assembly, seeds, local_taken } = self;
        let targets = info.targets.clone();
        let asked = Arc::clone(&assembly);
        if !blocking::run("looking at what is staged", move || asked.wants_patched(&targets)).await? {
            return Ok(Self { assembly, seeds, local_taken });
        }
        let folder = patches_folder(job);
        fsx::create_dir_durable(&folder)?;
        let path = folder.join(digest.to_hex());
        if let Err(error) = counted(fetch_patch(client, base, target, digest, info.len, &path).await, effort) {
            if super::is_ours(&error) {
                return Err(error);
            }
            tracing::warn!(%error, "a patch cannot be had; fetching records instead");
            return Ok(Self { assembly, seeds, local_taken });
        }
        let mut assembly = sole(assembly)?;
        let applied = blocking::run("applying a patch", move || {
            let made = File::open(&path).at("open", &path).and_then(|file| {
                let mut bytes = BufReader::new(file);
                seeds.first().map_or(Ok(0), |seed| assembly.take_patch(&mut bytes, &info.targets, seed, &info.bases))
            });
            // Applied or useless, it is not needed again.
            let _ = std::fs::remove_file(&path);
            (assembly, seeds, made)
        });
        let (assembly, seeds, made) = applied.await?;
        match made {
            Err(error) if error.is_disk_full() => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "a patch is useless"),
            Ok(_) => {}
        }
        Ok(Self { assembly: Arc::new(assembly), seeds, local_taken })
    }
}

/// Where patches lie until they are applied.
pub(super) fn patches_folder(job: &Job) -> PathBuf {
    job.folder.path().join("patches")
}

fn show_wait(job: &Job, client: &Client, until: Millis) {
    job.show(|view| {
        view.reason = Some(format!("{} is building patches, which cost fewer bytes than records", client.server()));
        view.next_attempt = Some(until);
    });
}
