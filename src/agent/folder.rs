//! What lies where in an agent's folder, besides the files of a member.
//!
//! ```text
//! DIR/control.sock          0600, while it runs
//!     tuf/state.json        what the release metadata said last
//!     rate                  how fast content arrived lately, bytes a second
//!     report.json           the sequence numbers that reports may use
//!     packages/NAME/        installed packages, unless --dest said otherwise
//!     installs/ID/          a package's own
//!       record.json         what is installed, see `record`
//!       account.json        terms of the install under way, see `account`
//!       count.json          what it has cost so far
//!       HEX.manifest        verified manifests: the installed one, and the one being installed
//!       work/               the assembly's
//! ```

use std::path::{Path, PathBuf};

use consign_store::ManifestId;

use crate::domain::{Name, PackageId};

/// An agent's folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(dir: &Path) -> Self {
        Self(dir.to_path_buf())
    }

    pub(super) fn tuf_state(&self) -> PathBuf {
        self.0.join("tuf").join("state.json")
    }

    pub(super) fn rate(&self) -> PathBuf {
        self.0.join("rate")
    }

    pub(super) fn report(&self) -> PathBuf {
        self.0.join("report.json")
    }

    pub(super) fn installs(&self) -> PathBuf {
        self.0.join("installs")
    }

    pub(super) fn install(&self, package: PackageId) -> InstallFolder {
        InstallFolder(self.installs().join(package.to_string()))
    }

    /// Where a package goes unless told otherwise. A name starts with a letter or digit and has no separator, so it is one plain folder name.
    pub(super) fn default_dest(&self, name: &Name) -> PathBuf {
        self.0.join("packages").join(name.as_str())
    }
}

/// The folder of one package's install.
#[derive(Debug, Clone)]
pub(super) struct InstallFolder(PathBuf);

impl InstallFolder {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    pub(super) fn account(&self) -> PathBuf {
        self.0.join("account.json")
    }

    pub(super) fn count(&self) -> PathBuf {
        self.0.join("count.json")
    }

    pub(super) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    pub(super) fn manifest(&self, id: ManifestId) -> PathBuf {
        self.0.join(format!("{}.manifest", id.to_hex()))
    }
}
