//! Files without a name: written once, then mapped, so that their bytes are not this process's memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{At, Result};
use crate::fsx;
use crate::map::ReadOnlyMap;

/// Bytes written at once: of more the kernel makes larger pages of a file, which took half as long again on ext4.
const WRITE_BYTES: usize = 256 << 10;

/// Bytes that are being written, in order, into a file that nobody else can open.
#[derive(Debug)]
pub(crate) struct UnnamedWriter {
    folder: PathBuf,
    file: BufWriter<File>,
}

impl UnnamedWriter {
    /// Begins a file on the disk of the folder `folder`; nothing stays there.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self> {
        Ok(Self { folder: folder.to_owned(), file: BufWriter::with_capacity(WRITE_BYTES, fsx::unnamed(folder)?) })
    }

    /// Appends `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.by(|file| bytes.chunks(WRITE_BYTES / 2).try_for_each(|piece| file.write_all(piece)))
    }

    /// Appends what `write` writes.
    pub(crate) fn by(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        write(&mut self.file).at("write a temporary file in", &self.folder)
    }

    /// Ends the file and maps it: nobody changes it any more.
    pub(crate) fn finish(self) -> Result<ReadOnlyMap> {
        let Self { folder, file } = self;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).at("write a temporary file in", &folder)?;
        ReadOnlyMap::open(&file).at("map a temporary file in", &folder)
    }
}
