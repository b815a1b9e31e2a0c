//! The durable record of a package on this machine: what is installed, where, and what may be half in place.

use std::fs;
use std::path::PathBuf;

use consign_store::ManifestId;
use consign_store::error::At as _;
use consign_store::{Error as StoreError, fsx};
use serde::{Deserialize, Serialize};

use crate::agent::error::{Error, Result};
use crate::agent::folder::{Folder, InstallFolder};
use crate::domain::{Millis, Name, PackageId};
use crate::protocol::fleet::VersionInfo;
use crate::protocol::report::{Cost, Traffic};

/// Most packages of one agent.
pub(super) const PACKAGES_MAX: usize = 4096;
/// Longest record, bytes.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// What `record.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) package: PackageId,
    pub(super) name: Name,
    /// Absolute.
    pub(super) dest: PathBuf,
    /// The version that is in place, verified; durable only after it is.
    #[serde(default)]
    pub(super) installed: Option<VersionInfo>,
    /// The version that is being put in place: signed, complete and verified, in place already or not. Durable before the first rename.
    #[serde(default)]
    pub(super) switching: Option<Switching>,
    /// Since when `installed` or, without it, since when this is wanted.
    pub(super) since: Millis,
    /// What `installed` cost.
    #[serde(default)]
    pub(super) cost: Option<Cost>,
    /// What went otherwise than planned when `installed` came.
    #[serde(default)]
    pub(super) notes: Vec<String>,
    /// What all versions so far have cost.
    #[serde(default)]
    pub(super) totals: Traffic,
}

/// A version on its way from staged to in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Switching {
    pub(super) version: VersionInfo,
    /// What it has cost when nothing was missing any more.
    pub(super) cost: Cost,
}

impl Record {
    pub(super) fn new(package: PackageId, name: Name, dest: PathBuf, since: Millis) -> Self {
        Self {
            package,
            name,
            dest,
            installed: None,
            switching: None,
            since,
            cost: None,
            notes: Vec::new(),
            totals: Traffic::default(),
        }
    }

    /// Writes the record; durable on return.
    pub(super) fn write(&self, folder: &InstallFolder) -> Result<()> {
        let path = folder.record();
        let bytes =
            serde_json::to_vec(self).map_err(|e| StoreError::Refused { path: path.display().to_string(), why: e.to_string() })?;
        Ok(fsx::write_durable(&path, &bytes)?)
    }
}

/// Reads a manifest id that has been checked before or comes from a server.
pub(super) fn manifest_of(version: &VersionInfo) -> Result<ManifestId> {
    Ok(version.manifest.parse::<ManifestId>().map_err(StoreError::from)?)
}

/// Reads all records. A folder without one is a package that was never recorded, left by a kill.
///
/// # Errors
/// A record is damaged, there are too many, or I/O.
pub(super) fn read_all(folder: &Folder) -> Result<Vec<Record>> {
    let dir = folder.installs();
    fsx::create_dir_durable(&dir)?;
    let mut records = Vec::new();
    for entry in fs::read_dir(&dir).at("list", &dir)? {
        let path = entry.at("list", &dir)?.path();
        let Some(package) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<PackageId>().ok())
        else {
            continue;
        };
        let file = folder.install(package).record();
        if !file.try_exists().at("look for", &file)? {
            continue;
        }
        if records.len() == PACKAGES_MAX {
            return Err(Error::Limit { what: "the number of installed packages", limit: PACKAGES_MAX });
        }
        let damaged = |why: String| StoreError::damaged(format!("install record {}", file.display()), why);
        if fs::metadata(&file).at("read", &file)?.len() > RECORD_BYTES_MAX {
            return Err(damaged(format!("it is longer than {RECORD_BYTES_MAX} bytes")).into());
        }
        let record: Record = serde_json::from_slice(&fs::read(&file).at("read", &file)?).map_err(|e| damaged(e.to_string()))?;
        if record.package != package {
            return Err(damaged("it is another package's".to_owned()).into());
        }
        records.push(record);
    }
    Ok(records)
}
