//! What is released, as far as this machine has verified it: release metadata, kept durably so that nobody can lead it back.

use std::path::PathBuf;

use consign_store::error::At as _;
use consign_store::{ManifestId, fsx};
use sha2::{Digest as _, Sha256};

use crate::agent::error::{Error, Result};
use crate::domain::{Millis, PackageId};
use crate::net::clock;
use crate::net::member::Member;
use crate::net::{Client, blocking};
use crate::protocol::fleet::{Resolution, TUF_PATH, VersionInfo};
use crate::trust::tuf::{self, TargetInfo, TrustedState};

/// Reads release metadata and remembers it.
#[derive(Debug)]
pub(super) struct Trust {
    path: PathBuf,
    client: tuf::Client,
    stored: Option<TrustedState>,
}

impl Trust {
    /// Takes up what was stored at `path`, or begins with the trust root that came with the join.
    ///
    /// # Errors
    /// The stored state or the trust root is damaged, or I/O.
    pub(super) fn open(path: PathBuf, member: &Member) -> Result<Self> {
        fsx::create_dir_durable(fsx::folder_of(&path))?;
        if path.try_exists().at("look for", &path)? {
            let damaged = |why: String| consign_store::Error::damaged(format!("metadata state {}", path.display()), why);
            let bytes = std::fs::read(&path).at("read", &path)?;
            let state: TrustedState = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
            return Ok(Self { client: tuf::Client::load(&state)?, stored: Some(state), path });
        }
        let root = String::from_utf8_lossy(member.trust_root());
        // The join has compared this file with the join string's digest.
        let client = tuf::Client::new(&root, &Sha256::digest(root.as_bytes()).into())?;
        Ok(Self { path, client, stored: None })
    }

    /// The clock, or the latest verified signing time if the clock is behind it.
    pub(super) fn now(&self) -> Millis {
        clock::now().max(self.client.floor())
    }

    /// Finds the signed release that `resolution` offers as `version`, asking the server of `client` for newer metadata unless what is known
    /// covers it and is fresh. With `keep`, what was learned is durable.
    ///
    /// # Errors
    /// The version is not signed as offered, the metadata is refused, the server failed, or I/O.
    pub(super) async fn release(
        &mut self,
        resolution: &Resolution,
        version: &VersionInfo,
        client: &Client,
        keep: bool,
    ) -> Result<TargetInfo> {
        let useless = |e: consign_store::id::IdError| Error::Useless {
            server: client.server().to_owned(),
            why: format!("names no manifest: {e}"),
        };
        let manifest = version.manifest.parse::<ManifestId>().map_err(useless)?;
        let fresh = self.client.fresh_until().is_some_and(|until| until > self.now());
        if keep {
            // What a plan has learned.
            self.keep().await?;
        }
        if fresh && let Ok(target) = self.find(resolution, version, manifest, client.server()) {
            return Ok(target);
        }
        self.update(client, keep).await?;
        self.find(resolution, version, manifest, client.server())
    }

    fn find(&self, resolution: &Resolution, version: &VersionInfo, manifest: ManifestId, server: &str) -> Result<TargetInfo> {
        let refuse = |why: &str| Error::Unsigned {
            server: server.to_owned(),
            package: resolution.name.clone(),
            version: version.version,
            why: why.to_owned(),
        };
        let targets = self.client.targets().ok_or_else(|| refuse("no release metadata yet"))?;
        let target = targets.version(resolution.package, version.version).ok_or_else(|| refuse("no signed metadata names it"))?;
        if target.manifest != manifest {
            return Err(refuse("another manifest is signed for it"));
        }
        if target.length != version.manifest_len {
            return Err(refuse("another manifest length is signed for it"));
        }
        Ok(target.clone())
    }

    /// The highest released version of a package, as far as is known.
    pub(super) fn current(&self, package: PackageId) -> Option<TargetInfo> {
        self.client.targets()?.current(package).cloned()
    }

    /// Asks the server of `client` for newer metadata. With `keep`, what was learned is durable.
    ///
    /// # Errors
    /// The metadata is refused, the server failed, or I/O.
    pub(super) async fn update(&mut self, client: &Client, keep: bool) -> Result<()> {
        let updated = self.fetch(client).await;
        // Also after a failure: what was verified until then holds.
        let kept = if keep { self.keep().await } else { Ok(()) };
        updated.and(kept)
    }

    async fn fetch(&mut self, client: &Client) -> Result<()> {
        let mut update = self.client.update(clock::now());
        while let Some(request) = update.next_request() {
            let answer = client.get_bytes(&format!("{TUF_PATH}/{}", request.file), request.bytes_max).await;
            match answer {
                Ok(bytes) => update.accept(Some(&bytes))?,
                Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => update.accept(None)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn keep(&mut self) -> Result<()> {
        let state = self.client.state();
        if self.stored.as_ref() == Some(&state) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&state).map_err(|e| consign_store::Error::damaged("metadata state", e.to_string()))?;
        let path = self.path.clone();
        blocking::run("keeping release metadata", move || fsx::write_durable(&path, &bytes)).await??;
        self.stored = Some(state);
        Ok(())
    }
}
