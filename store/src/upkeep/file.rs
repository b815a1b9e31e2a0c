//! The small files of upkeep: common start, count, lines of fixed width, checksum (byte layout: docs/formats.md).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::chunk::fields;
use crate::error::{At, Error, Result};
use crate::fsx;

/// The folder of these files in a store.
pub(crate) const UPKEEP_DIR: &str = "upkeep";
const CONTEXT: &str = "consign 2026-11 v1 upkeep";
const LINES_AT: usize = 16;

/// One kind of file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) magic: [u8; 4],
    /// Bytes of a line.
    pub(super) line_bytes: usize,
}

impl Kind {
    fn path(&self, store: &Path) -> PathBuf {
        store.join(UPKEEP_DIR).join(self.name)
    }

    /// Reads the lines, joined; nothing when the file is absent or damaged: what it holds is found again by the next run.
    pub(super) fn read(&self, store: &Path) -> Result<Vec<u8>> {
        let path = self.path(store);
        let mut bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.at("read", &path)?,
        };
        match self.check(&bytes, &path) {
            Ok(()) => {}
            Err(Error::Damaged { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        bytes.truncate(bytes.len() - fields::SUM_BYTES);
        bytes.drain(..LINES_AT);
        Ok(bytes)
    }

    fn check(&self, bytes: &[u8], path: &Path) -> Result<()> {
        let damaged = |why: &str| Err(Error::damaged(path.display().to_string(), why));
        fields::check_start(bytes, self.magic, &path.display().to_string())?;
        let whole = bytes.len() >= LINES_AT + fields::SUM_BYTES
            && (bytes.len() - LINES_AT - fields::SUM_BYTES) as u64 == fields::len_at(bytes, 12) as u64 * self.line_bytes as u64;
        if !whole {
            return damaged("its length is not what its header says");
        }
        let (body, sum) = bytes.split_at(bytes.len() - fields::SUM_BYTES);
        if fields::sum(CONTEXT, &[body]) == sum { Ok(()) } else { damaged("its checksum is wrong") }
    }

    /// Replaces the file by one of these lines, durably; without lines there is none.
    pub(super) fn write(&self, store: &Path, lines: &[u8]) -> Result<()> {
        let path = self.path(store);
        if lines.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => other.at("remove", &path).and_then(|()| fsx::sync_dir(fsx::folder_of(&path))),
            };
        }
        fsx::create_dir_durable(fsx::folder_of(&path))?;
        let count = u32::try_from(lines.len() / self.line_bytes)
            .map_err(|_| Error::Limit { what: path.display().to_string(), limit: "4,294,967,295 lines".to_owned() })?;
        let mut bytes = Vec::with_capacity(LINES_AT + lines.len() + fields::SUM_BYTES);
        fields::put_start(&mut bytes, self.magic, 0);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(lines);
        let sum = fields::sum(CONTEXT, &[&bytes]);
        bytes.extend_from_slice(&sum);
        fsx::write_durable(&path, &bytes)
    }
}
