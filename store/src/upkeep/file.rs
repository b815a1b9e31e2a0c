//! The small files of upkeep: common start, count, lines of fixed width, checksum (byte layout: docs/formats.md).

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::chunk::fields;
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::map::ReadOnlyMap;

/// The folder of these files in a store.
pub(crate) const UPKEEP_DIR: &str = "upkeep";
const CONTEXT: &str = "consign 2026-11 v1 upkeep";
const LINES_AT: usize = 16;
const WRITE_BYTES: usize = 256 << 10;

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
    pub(super) fn read(&self, store: &Path) -> Result<Lines> {
        let path = self.path(store);
        let map = match File::open(&path).and_then(|file| ReadOnlyMap::open(&file)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Lines(None)),
            other => other.at("read", &path)?,
        };
        match self.check(&map, &path) {
            Ok(()) => Ok(Lines(Some(map))),
            Err(Error::Damaged { .. }) => Ok(Lines(None)),
            Err(error) => Err(error),
        }
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
        self.write_lines(store, lines.len() / self.line_bytes, &mut |put| put(lines))
    }

    /// Writes as [`Kind::write`] the `count` lines that `lines` passes on.
    pub(super) fn write_lines(&self, store: &Path, count: usize, lines: &mut dyn FnMut(Put<'_>) -> io::Result<()>) -> Result<()> {
        let path = self.path(store);
        if count == 0 {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => other.at("remove", &path).and_then(|()| fsx::sync_dir(fsx::folder_of(&path))),
            };
        }
        fsx::create_dir_durable(fsx::folder_of(&path))?;
        let count = u32::try_from(count)
            .map_err(|_| Error::Limit { what: path.display().to_string(), limit: "4,294,967,295 lines".to_owned() })?;
        let mut start = Vec::with_capacity(LINES_AT);
        fields::put_start(&mut start, self.magic, 0);
        start.extend_from_slice(&count.to_le_bytes());
        fsx::write_durable_with(&path, |file| {
            let mut out = BufWriter::with_capacity(WRITE_BYTES, file);
            let mut sum = blake3::Hasher::new_derive_key(CONTEXT);
            let mut put = |bytes: &[u8]| {
                sum.update(bytes);
                out.write_all(bytes)
            };
            put(&start)?;
            lines(&mut put)?;
            out.write_all(&sum.finalize().as_bytes()[..fields::SUM_BYTES])?;
            out.flush()
        })
    }
}

/// Takes lines.
pub(super) type Put<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// The lines of a file, joined; derefs to them.
pub(super) struct Lines(Option<ReadOnlyMap>);

impl Deref for Lines {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |map| &map[LINES_AT..map.len() - fields::SUM_BYTES])
    }
}
