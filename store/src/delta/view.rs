//! Contents that a builder works on: files without a name, mapped, so that their size is not the builder's memory.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{At, Result};
use crate::fsx;
use crate::map::ReadOnlyMap;

/// Bytes written at once.
const WRITE_BYTES: usize = 256 << 10;

/// A folder in which contents are put down.
#[derive(Debug, Clone)]
pub(super) struct Views(PathBuf);

impl Views {
    /// Uses the folder `dir`; nothing stays in it.
    pub(super) fn in_folder(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Begins a content.
    pub(super) fn begin(&self) -> Result<ViewWriter> {
        let file = BufWriter::with_capacity(WRITE_BYTES, fsx::unnamed(&self.0)?);
        Ok(ViewWriter { folder: self.0.clone(), file })
    }
}

/// A content that is being written.
pub(super) struct ViewWriter {
    folder: PathBuf,
    file: BufWriter<File>,
}

impl ViewWriter {
    /// Appends `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at("write a temporary file in", &self.folder)
    }

    /// Ends the content and maps it: nobody else can open its file.
    pub(super) fn finish(self) -> Result<ReadOnlyMap> {
        let Self { folder, file } = self;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).at("write a temporary file in", &folder)?;
        ReadOnlyMap::open(&file).at("map a temporary file in", &folder)
    }
}
