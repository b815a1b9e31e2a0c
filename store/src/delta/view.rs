//! Contents that a builder works on: files without a name, mapped, so that their size is not the builder's memory.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::unnamed::UnnamedWriter;

/// A folder in which contents are put down.
#[derive(Debug, Clone)]
pub(super) struct Views(PathBuf);

impl Views {
    /// Uses the folder `dir`; nothing stays in it.
    pub(super) fn in_folder(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Begins a content.
    pub(super) fn begin(&self) -> Result<UnnamedWriter> {
        UnnamedWriter::in_folder(&self.0)
    }
}
