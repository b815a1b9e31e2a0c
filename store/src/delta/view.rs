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
        let path = fsx::temp_beside(&self.0.join("view"));
        let file = File::options().read(true).write(true).create_new(true).open(&path).at("create", &path)?;
        std::fs::remove_file(&path).at("remove", &path)?;
        Ok(ViewWriter { path, file: BufWriter::with_capacity(WRITE_BYTES, file) })
    }
}

/// A content that is being written.
pub(super) struct ViewWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl ViewWriter {
    /// Appends `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at("write", &self.path)
    }

    /// Ends the content and maps it: nobody else can open its file.
    pub(super) fn finish(self) -> Result<ReadOnlyMap> {
        let Self { path, file } = self;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", &path)?;
        ReadOnlyMap::open(&file).at("map", &path)
    }
}
