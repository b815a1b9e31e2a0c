//! The patches on disk: a folder a pair of versions, made whole by one rename, the least recently used ones removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use consign_store::FileDigest;

use super::Pair;
use crate::protocol::patches::{PATCHES_MAX, PatchInfo};

/// The list of a set's patches.
pub(super) const SET_FILE: &str = "set.json";
/// Longest list, bytes.
const SET_BYTES_MAX: u64 = 64 << 20;

/// A folder of patch sets.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    bytes_max: u64,
}

impl Cache {
    pub fn new(dir: PathBuf, bytes_max: u64) -> Self {
        Self { dir, bytes_max }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the set of a pair lies when it is built.
    pub fn folder(&self, pair: Pair) -> PathBuf {
        let half = |id: &consign_store::ManifestId| id.to_hex()[..32].to_owned();
        self.dir.join(format!("{}-{}", half(&pair.base), half(&pair.target)))
    }

    /// Reads the list of a set; `None` if there is none that can be read.
    pub fn read(&self, pair: Pair) -> Option<Vec<PatchInfo>> {
        let path = self.folder(pair).join(SET_FILE);
        if fs::metadata(&path).ok()?.len() > SET_BYTES_MAX {
            return None;
        }
        let set: Vec<PatchInfo> = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        (set.len() <= PATCHES_MAX).then_some(set)
    }

    /// Where a patch lies.
    pub fn patch(&self, pair: Pair, digest: FileDigest) -> PathBuf {
        // Touched, so that what is being fetched is the last to be removed.
        let folder = self.folder(pair);
        if let Ok(folder) = fs::File::open(&folder) {
            let _ = folder.set_modified(SystemTime::now());
        }
        folder.join(digest.to_hex())
    }

    /// Removes the least recently used sets until what is left keeps the bound; what cannot be removed stays.
    pub fn trim(&self) {
        self.trim_to(self.bytes_max);
    }

    /// As [`Cache::trim`] with another bound; says whether anything was removed.
    pub fn trim_to(&self, bytes_max: u64) -> bool {
        let mut any = false;
        let mut sets: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for folder in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = folder.path();
            let files = fs::read_dir(&path).into_iter().flatten().flatten();
            let bytes = files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
            let used = folder.metadata().and_then(|folder| folder.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            sets.push((used, bytes, path));
        }
        sets.sort();
        let mut total: u64 = sets.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in sets {
            if total <= bytes_max {
                break;
            }
            if fs::remove_dir_all(&path).is_ok() {
                total -= bytes;
                any = true;
            }
        }
        any
    }
}
