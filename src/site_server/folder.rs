//! What lies where in a site server's folder, besides what every member has ([`crate::net::member`]).
//!
//! ```text
//! DIR/
//!   store/         packs and index
//!   tables/        manifests and chunk tables of versions; can be deleted at any time
//!   state.json     the newest believed site state, as signed, and when it came
//!   tuf/           trusted.json: the reader's state; N.root.json: the roots since joining, for agents that joined earlier
//!   upkeep.json    what upkeep has done last
//!   rate           how fast content of the hub arrived lately, bytes a second
//!   run.json       where it listens, while it runs
//!   control.sock   answers `status`, while it runs
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use consign_store::error::At as _;
use consign_store::fsx::{self, FolderLock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Result;

/// File name of [`RunInfo`] in the folder.
pub const RUN_FILE: &str = "run.json";

/// Where a running site server listens now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct RunInfo {
    /// How agents reach it, `host:port`.
    pub address: String,
    /// Its process.
    pub pid: u32,
}

/// Paths of a site server's folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_path_buf())
    }

    /// Takes the folder for this process and makes the folders in it.
    pub fn take(&self) -> Result<FolderLock> {
        let lock = fsx::lock(&self.0)?;
        for dir in [self.tables(), self.metadata()] {
            fsx::create_dir_durable(&dir)?;
            remove_temporaries(&dir)?;
        }
        Ok(lock)
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }

    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    pub fn rate(&self) -> PathBuf {
        self.0.join("rate")
    }

    pub fn tables(&self) -> PathBuf {
        self.0.join("tables")
    }

    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    pub fn metadata(&self) -> PathBuf {
        self.0.join("tuf")
    }

    pub fn upkeep(&self) -> PathBuf {
        self.0.join("upkeep.json")
    }

    pub fn run(&self) -> PathBuf {
        self.0.join(RUN_FILE)
    }
}

/// Removes what a kill left of writes that were cut short.
fn remove_temporaries(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).at("read folder", dir)? {
        let path = entry.at("read folder", dir)?.path();
        if fsx::is_temp(&path) {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

/// Reads a JSON file; `None` if there is none.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.try_exists().at("look for", path)? {
        return Ok(None);
    }
    let bytes = fs::read(path).at("read", path)?;
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        let why = format!("{error}; remove it, and it is fetched from the hub again");
        consign_store::Error::damaged(path.display().to_string(), why)
    })?;
    Ok(Some(value))
}

/// Writes a JSON file, durable on return.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).expect("plain structs of texts and numbers always have a JSON form");
    Ok(fsx::write_durable(path, &bytes)?)
}
