//! Targets: versions of packages, as the trusted metadata names them.

use std::collections::BTreeMap;

use consign_store::id::ManifestId;
use serde::{Deserialize, Serialize};

use crate::domain::{Millis, PackageId};
use crate::trust::tuf::model::{TargetFile, Targets};

/// The target path of a version. It names metadata only: content is asked for by manifest, so the rule of consistent snapshots that
/// puts a hash before a downloaded target's name has nothing to apply to.
#[must_use]
pub fn target_path(package: PackageId, version: u32, manifest: &ManifestId) -> String {
    format!("packages/{package}/{version}/{}", manifest.to_hex())
}

/// A signed version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetInfo {
    /// The package.
    pub package: PackageId,
    /// The version's number.
    pub version: u32,
    /// Its manifest.
    pub manifest: ManifestId,
    /// Length of the manifest, bytes.
    pub length: u64,
    /// SHA-256 of the manifest.
    pub sha256: [u8; 32],
    /// The publisher's label.
    pub label: Option<String>,
    /// When it was released.
    pub released: Millis,
}

/// The `custom` object of a target.
#[derive(Serialize, Deserialize)]
pub(super) struct Custom {
    pub(super) package: PackageId,
    pub(super) version: u32,
    pub(super) manifest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
    pub(super) released: Millis,
}

impl TargetInfo {
    /// Reads a target; `None` if it is none of Consign's kind, or its path and its custom object disagree.
    fn read(path: &str, file: &TargetFile) -> Option<Self> {
        let custom = Custom::deserialize(file.custom.as_ref()?).ok()?;
        let manifest: ManifestId = custom.manifest.parse().ok()?;
        let mut sha256 = [0; 32];
        hex::decode_to_slice(file.hashes.get("sha256")?, &mut sha256).ok()?;
        let Custom { package, version, label, released, .. } = custom;
        (target_path(package, version, &manifest) == path).then_some(Self {
            package,
            version,
            manifest,
            length: file.length,
            sha256,
            label,
            released,
        })
    }
}

/// All versions that verified metadata names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedTargets {
    by_version: BTreeMap<(PackageId, u32), TargetInfo>,
}

impl TrustedTargets {
    pub(super) fn of(targets: &Targets) -> Self {
        let read = targets.targets.iter().filter_map(|(path, file)| TargetInfo::read(path, file));
        Self { by_version: read.map(|info| ((info.package, info.version), info)).collect() }
    }

    /// The version that `path` names.
    #[must_use]
    pub fn target(&self, path: &str) -> Option<&TargetInfo> {
        let mut parts = path.strip_prefix("packages/")?.split('/');
        let info = self.version(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)?;
        (target_path(info.package, info.version, &info.manifest) == path).then_some(info)
    }

    /// A package's version by its number.
    #[must_use]
    pub fn version(&self, package: PackageId, version: u32) -> Option<&TargetInfo> {
        self.by_version.get(&(package, version))
    }

    /// A package's version by its manifest.
    #[must_use]
    pub fn manifest(&self, package: PackageId, manifest: &ManifestId) -> Option<&TargetInfo> {
        self.versions(package).find(|info| info.manifest == *manifest)
    }

    /// A package's highest released version.
    #[must_use]
    pub fn current(&self, package: PackageId) -> Option<&TargetInfo> {
        self.versions(package).next_back()
    }

    /// A package's versions, ascending.
    #[must_use]
    pub fn versions(&self, package: PackageId) -> impl DoubleEndedIterator<Item = &TargetInfo> {
        self.by_version.range((package, 0)..=(package, u32::MAX)).map(|(_, info)| info)
    }

    /// How many versions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_version.len()
    }

    /// Says whether nothing is released.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_version.is_empty()
    }
}
