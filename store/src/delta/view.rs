//! Contents that a builder works on: files without a name, mapped, so that their size is not the builder's memory.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fsx;
use crate::unnamed::UnnamedWriter;

/// A folder in which contents are put down.
#[derive(Debug, Clone)]
pub(super) struct Views(PathBuf);

impl Views {
    /// Uses the folder `dir`; nothing stays in it.
    pub(super) fn in_folder(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Opens an empty file without a name.
    pub(super) fn open(&self) -> Result<File> {
        fsx::unnamed(&self.0)
    }

    /// Begins a content.
    pub(super) fn begin(&self) -> Result<UnnamedWriter> {
        UnnamedWriter::in_folder(&self.0)
    }
}
