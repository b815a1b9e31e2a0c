//! Files beside the store that go when their version goes.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use consign_store::ManifestId;

use super::DataPlane;

/// Digits of an id that the name of a file or folder begins with, at least.
const DIGITS: usize = 32;
/// Folders in folders that are looked into.
const DEPTH_MAX: u32 = 3;
/// Folder of patches that are being received, one folder a version.
pub const PATCHES_IN: &str = "patches-in";

/// A file or folder of one version, or of a pair.
#[derive(Debug)]
pub struct VersionFile {
    path: PathBuf,
    /// The first digits of the versions' ids.
    of: Vec<String>,
}

impl DataPlane {
    /// Lists the files and folders that belong to certain versions: manifests, tables, patches.
    pub fn version_files(&self) -> Vec<VersionFile> {
        let dir = self.versions.dir();
        let folders = [dir.to_path_buf(), dir.join("patches"), dir.join(PATCHES_IN)];
        folders
            .iter()
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
            .filter_map(|entry| of(&entry.path()))
            .collect()
    }

    /// Bytes of all that lies beside the store.
    pub fn beside_bytes(&self) -> u64 {
        bytes_in(self.versions.dir(), DEPTH_MAX)
    }

    /// Removes those of `files` that belong to a version that is not in `live`, and closes it. Who has one mapped goes on reading it; what
    /// cannot be removed stays until the next time.
    pub fn remove_others(&self, files: Vec<VersionFile>, live: &[ManifestId]) {
        let known: HashSet<String> = live.iter().map(|id| id.to_hex()[..DIGITS].to_owned()).collect();
        self.versions.close_others(live);
        for file in files.into_iter().filter(|file| file.of.iter().any(|id| !known.contains(id))) {
            let removed = if file.path.is_dir() { fs::remove_dir_all(&file.path) } else { fs::remove_file(&file.path) };
            if let Err(error) = removed {
                tracing::warn!(%error, path = %file.path.display(), "cannot remove what a version left");
            }
        }
    }
}

fn bytes_in(folder: &Path, depth: u32) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() && depth > 0 => bytes_in(&entry.path(), depth - 1),
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    };
    entries.map(bytes).sum()
}

fn of(path: &Path) -> Option<VersionFile> {
    let name = path.file_name()?.to_str()?;
    let stem = name.split('.').next()?;
    let of: Vec<String> = stem.split('-').map(|id| id.get(..DIGITS).map(str::to_owned)).collect::<Option<_>>()?;
    let is_id = |id: &String| id.bytes().all(|digit| digit.is_ascii_hexdigit());
    of.iter().all(is_id).then(|| VersionFile { path: path.to_owned(), of })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_versions_and_pairs_are_told_from_others() {
        let digits = "ab".repeat(32);
        let ids = |name: &str| of(&Path::new("/x").join(name)).map(|file| file.of.len());
        assert_eq!(ids(&format!("{digits}.manifest")), Some(1));
        assert_eq!(ids(&digits), Some(1));
        assert_eq!(ids(&format!("{}-{}", &digits[..32], &digits[..32])), Some(2));
        for other in ["patches", ".tmp-5-0", ".building-AbCdEf", "lock", &format!("{}.table", "xy".repeat(32))] {
            assert_eq!(ids(other), None, "{other}");
        }
    }
}
