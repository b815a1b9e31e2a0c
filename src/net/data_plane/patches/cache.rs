//! The patches on disk: a folder a pair of versions, made whole by one rename, the least recently used ones removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use consign_store::delta::{BuiltPatch, PATCH_VERSION, Verifier};
use consign_store::error::At as _;
use consign_store::{FileDigest, ManifestId, fsx};
use tempfile::TempDir;

use super::Pair;
use crate::protocol::patches::{PATCHES_MAX, PatchInfo};

/// The list of a set's patches.
pub(super) const SET_FILE: &str = "set.json";
/// What the name of a folder begins with in which a set is being built.
const BUILDING: &str = ".building-";
/// Longest list, bytes.
const SET_BYTES_MAX: u64 = 64 << 20;

/// Writes the list of the patches `built` in the folder `out`, which completes the set.
///
/// # Errors
/// I/O.
pub fn write_set(out: &Path, built: &[BuiltPatch]) -> consign_store::Result<Vec<PatchInfo>> {
    let set: Vec<PatchInfo> = built.iter().map(PatchInfo::of).collect();
    let list = out.join(SET_FILE);
    let text = serde_json::to_vec(&set).map_err(std::io::Error::other).at("write", &list)?;
    fs::write(&list, text).at("write", &list)?;
    Ok(set)
}

/// What a version is called in the name of a set.
fn half(id: ManifestId) -> String {
    id.to_hex()[..32].to_owned()
}

/// Says whether a file of a set is a patch with another digest than its name.
fn is_wrong(path: &Path) -> bool {
    let digest = path.file_name().and_then(|name| format!("b3:{}", name.to_string_lossy()).parse::<FileDigest>().ok());
    let mut verifier = Verifier::default();
    digest.is_some_and(|digest| verifier.push_file(path).is_err() || verifier.built().digest != digest)
}

/// A folder of patch sets.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    bytes_max: u64,
}

impl Cache {
    /// Opens the cache in `dir`, which is nobody else's, and removes what a process that was killed left half built.
    pub fn open(dir: PathBuf, bytes_max: u64) -> Self {
        for folder in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if folder.file_name().to_string_lossy().starts_with(BUILDING) {
                // What cannot be removed counts, and goes as what is least recently used.
                let _ = fsx::remove_folder(&folder.path());
            }
        }
        Self { dir, bytes_max }
    }

    /// Where the set of a pair lies when it is built.
    pub fn folder(&self, pair: Pair) -> PathBuf {
        // What a Consign with other models has built is never found, and goes as what is least recently used.
        self.dir.join(format!("{}-{}-v{PATCH_VERSION}", half(pair.base), half(pair.target)))
    }

    /// Reads the list of a set; `None` if there is none that can be read, or a patch on it is not there whole.
    pub fn read(&self, pair: Pair) -> Option<Vec<PatchInfo>> {
        let folder = self.folder(pair);
        let path = folder.join(SET_FILE);
        if fs::metadata(&path).ok()?.len() > SET_BYTES_MAX {
            return None;
        }
        let set: Vec<PatchInfo> = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let is_whole = |patch: &PatchInfo| {
            let digest: Option<FileDigest> = patch.digest.parse().ok();
            digest.is_some_and(|digest| fs::metadata(folder.join(digest.to_hex())).is_ok_and(|file| file.len() == patch.len))
        };
        (set.len() <= PATCHES_MAX && set.iter().all(is_whole)).then_some(set)
    }

    /// Reads all patches to `target` and removes the sets with one that is not what its name says, or cannot be read: they are built again when somebody
    /// asks. Returns how many sets were removed.
    pub fn check(&self, target: ManifestId) -> usize {
        let to_target = format!("-{}-v{PATCH_VERSION}", half(target));
        let mut removed = 0;
        for folder in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if !folder.file_name().to_string_lossy().ends_with(&to_target) {
                continue;
            }
            let Some(wrong) = fs::read_dir(folder.path()).into_iter().flatten().flatten().find(|file| is_wrong(&file.path()))
            else {
                continue;
            };
            tracing::warn!(patch = %wrong.path().display(), "a patch is damaged; it is built again when somebody asks");
            removed += usize::from(fs::remove_dir_all(folder.path()).is_ok());
        }
        removed
    }

    /// Makes a folder for a set.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn begin(&self) -> Result<TempDir, String> {
        let dir = &self.dir;
        fs::create_dir_all(dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
        let out = tempfile::Builder::new().prefix(BUILDING).tempdir_in(dir);
        out.map_err(|error| format!("cannot create a folder in {}: {error}", dir.display()))
    }

    /// Puts a complete set where it belongs.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn keep(&self, pair: Pair, out: TempDir) -> Result<(), String> {
        let folder = self.folder(pair);
        // A set that cannot be read is replaced.
        let _ = fs::remove_dir_all(&folder);
        fs::rename(out.keep(), &folder).map_err(|error| format!("cannot rename to {}: {error}", folder.display()))
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
