//! Release metadata: followed from the hub, verified, kept durably, and passed on to agents as it came.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use consign_store::error::At as _;
use consign_store::{ManifestId, fsx};
use sha2::{Digest as _, Sha256};

use super::error::{Error, Result};
use super::folder::{self, Folder};
use crate::domain::{Millis, Name, PackageId};
use crate::net::clock;
use crate::net::member::Member;
use crate::net::{Client, blocking};
use crate::protocol::fleet::{TUF_PATH, VersionInfo};
use crate::trust::tuf::{self, TargetInfo, TrustedState, TrustedTargets};

const TRUSTED_FILE: &str = "trusted.json";
/// Longest metadata file name that is looked for.
const NAME_BYTES_MAX: usize = 64;

/// The reader of release metadata, and what it has found.
#[derive(Debug)]
pub(super) struct Metadata {
    dir: PathBuf,
    /// Only the task that follows the hub updates it.
    reader: tokio::sync::Mutex<tuf::Client>,
    found: RwLock<Arc<Found>>,
}

/// One trusted state.
#[derive(Debug, Default)]
struct Found {
    targets: TrustedTargets,
    floor: Millis,
    files: BTreeMap<String, Bytes>,
    /// Files of the state before, for agents in the middle of an update.
    earlier: BTreeMap<String, Bytes>,
}

impl Metadata {
    /// Takes up what was kept, or begins with the trust root that came with the join.
    ///
    /// # Errors
    /// Damaged, or I/O.
    pub fn open(folder: &Folder, member: &Member) -> Result<Self> {
        let dir = folder.metadata();
        let reader = if let Some(state) = folder::read_json::<TrustedState>(&dir.join(TRUSTED_FILE))? {
            tuf::Client::load(&state)?
        } else {
            let root = String::from_utf8_lossy(member.trust_root());
            // The join has compared this text with the join string's digest.
            tuf::Client::new(&root, &Sha256::digest(root.as_bytes()).into())?
        };
        let found = RwLock::new(Arc::new(Found::of(&reader, BTreeMap::new())));
        Ok(Self { dir, reader: tokio::sync::Mutex::new(reader), found })
    }

    /// Asks the hub for newer metadata and keeps what was verified, durable on return, also after an error.
    ///
    /// # Errors
    /// The hub failed, the metadata is refused, or I/O.
    pub async fn update(&self, client: &Client) -> Result<()> {
        let mut reader = self.reader.lock().await;
        let before = reader.state();
        let updated = self.fetch(&mut reader, client).await;
        let state = reader.state();
        if state == before {
            return updated;
        }
        let earlier = self.found().files.clone();
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Found::of(&reader, earlier));
        let path = self.dir.join(TRUSTED_FILE);
        let kept = blocking::run("keeping release metadata", move || folder::write_json(&path, &state)).await?;
        updated.and(kept)
    }

    async fn fetch(&self, reader: &mut tuf::Client, client: &Client) -> Result<()> {
        let mut update = reader.update(clock::now());
        while let Some(request) = update.next_request() {
            match client.get_bytes(&format!("{TUF_PATH}/{}", request.file), request.bytes_max).await {
                Ok(bytes) => {
                    update.accept(Some(&bytes))?;
                    if is_root(&request.file) {
                        // The chain of roots, for agents that trust an earlier one; before the state that no longer has it.
                        let path = self.dir.join(&request.file);
                        blocking::run("keeping a trust root", move || fsx::write_durable(&path, &bytes)).await??;
                    }
                }
                Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => update.accept(None)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns the signed release of a version that the hub assigns.
    ///
    /// # Errors
    /// [`Error::Unsigned`] if the metadata does not name it, or names other content.
    pub fn target(&self, package: PackageId, name: &Name, info: &VersionInfo, manifest: &ManifestId) -> Result<TargetInfo> {
        let refuse = |why| Error::Unsigned { package: name.clone(), version: info.version, why };
        let found = self.found();
        let target = found.targets.version(package, info.version).ok_or_else(|| refuse("no signed metadata names it"))?;
        if target.manifest != *manifest {
            return Err(refuse("another manifest is signed for it"));
        }
        if target.length != info.manifest_len {
            return Err(refuse("another manifest length is signed for it"));
        }
        Ok(target.clone())
    }

    /// Says whether the metadata names this version.
    pub fn names(&self, package: PackageId, version: u32) -> bool {
        self.found().targets.version(package, version).is_some()
    }

    /// The clock, or the latest verified signing time if the clock is behind it.
    pub fn now(&self) -> Millis {
        clock::now().max(self.found().floor)
    }

    /// Returns a metadata file as it came; `None` if it is not here.
    ///
    /// # Errors
    /// I/O.
    pub async fn file(&self, name: &str) -> Result<Option<Bytes>> {
        let found = self.found();
        if let Some(bytes) = found.files.get(name).or_else(|| found.earlier.get(name)) {
            return Ok(Some(bytes.clone()));
        }
        if !is_root(name) {
            return Ok(None);
        }
        let path = self.dir.join(name);
        let read = move || match path.try_exists().at("look for", &path) {
            Ok(true) => std::fs::read(&path).at("read", &path).map(|bytes| Some(bytes.into())),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        Ok(blocking::run("reading a trust root", read).await??)
    }

    fn found(&self) -> Arc<Found> {
        Arc::clone(&self.found.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Found {
    fn of(reader: &tuf::Client, earlier: BTreeMap<String, Bytes>) -> Self {
        Self {
            targets: reader.targets().cloned().unwrap_or_default(),
            floor: reader.floor(),
            files: reader.files().into_iter().map(|(name, text)| (name, Bytes::copy_from_slice(text.as_bytes()))).collect(),
            earlier,
        }
    }
}

/// Says whether `name` is that of a numbered root, and nothing else.
fn is_root(name: &str) -> bool {
    let number = name.strip_suffix(".root.json").filter(|_| name.len() <= NAME_BYTES_MAX);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::is_root;

    #[test]
    fn only_numbered_roots_are_looked_for_in_the_folder() {
        assert!(is_root("12.root.json"));
        for bad in ["root.json", ".root.json", "../1.root.json", "1/.root.json", "trusted.json", "x1.root.json"] {
            assert!(!is_root(bad), "{bad}");
        }
    }
}
