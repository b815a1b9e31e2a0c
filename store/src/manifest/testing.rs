//! Manifests made for tests.

use super::codec::ManifestWriter;
use super::entry::Entry;
use super::file::ManifestFile;
use super::recipe;
use crate::id::{FileDigest, ManifestId};

/// Writes the manifest of `entries`, which ascend, and opens it; its folder goes with the first of the two.
pub(super) fn manifest_of(entries: impl IntoIterator<Item = Entry>) -> (tempfile::TempDir, ManifestFile) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest");
    let mut writer = ManifestWriter::new(Vec::new()).unwrap();
    for entry in entries {
        writer.push(&entry).unwrap();
    }
    let bytes = writer.finish().unwrap().0;
    std::fs::write(&path, &bytes).unwrap();
    let digest: FileDigest = recipe::of_bytes(&bytes).digest;
    let manifest = ManifestFile::open(&path, ManifestId::from(digest)).unwrap();
    (dir, manifest)
}
