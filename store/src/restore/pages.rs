//! Recipe pages kept over a restart: an append-only file that verifies itself.
//!
//! ```text
//! header (12 bytes): common start, magic "CNPG"; then per page: u32 length | page bytes
//! ```
//! A page's id is computed from its bytes, so a torn or flipped one is simply a page that nobody asks for.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;

use crate::chunk::{CHUNK_BYTES_MAX, fields};
use crate::error::{At, Error, Result};
use crate::id::ChunkId;

const HEADER: [u8; fields::START_BYTES] = fields::start(*b"CNPG", 0);

/// The pages received so far.
#[derive(Debug)]
pub(super) struct Pages {
    path: PathBuf,
    file: File,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Offset of a page's length in the file, by the first 8 bytes of its id; the whole id is checked when the page is read.
    offsets: HashMap<u64, u64>,
    end: u64,
}

impl Pages {
    /// Opens the file, creating it where it is absent, and cuts off what a kill tore.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).at("open", path)?;
        let mut inner = Inner { offsets: HashMap::new(), end: HEADER.len() as u64 };
        let mut input = BufReader::with_capacity(1 << 18, &file);
        let mut header = [0; HEADER.len()];
        if input.read_exact(&mut header).is_ok() && header == HEADER {
            while let Some(page) = read_page(&mut input) {
                inner.offsets.insert(key(&ChunkId::of_page(&page)), inner.end);
                inner.end += 4 + page.len() as u64;
            }
        }
        file.set_len(inner.end).at("truncate", path)?;
        file.write_all_at(&HEADER, 0).at("write", path)?;
        Ok(Self { path: path.to_path_buf(), file, inner: Mutex::new(inner) })
    }

    /// Returns the length of the file, bytes.
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.inner).end
    }

    /// Says whether the page is here.
    pub(super) fn has(&self, id: &ChunkId) -> bool {
        lock(&self.inner).offsets.contains_key(&key(id))
    }

    /// Appends a page whose bytes the caller has compared with its id.
    pub(super) fn add(&self, id: &ChunkId, page: &[u8]) -> Result<()> {
        let mut framed = u32::try_from(page.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        framed.extend_from_slice(page);
        let mut inner = lock(&self.inner);
        if inner.offsets.contains_key(&key(id)) {
            return Ok(());
        }
        // A failed write leaves the end where it was, and the next page is written over the torn one.
        self.file.write_all_at(&framed, inner.end).at("write", &self.path)?;
        let at = inner.end;
        inner.offsets.insert(key(id), at);
        inner.end += framed.len() as u64;
        Ok(())
    }

    /// Reads a page and compares it with its id; [`Error::NoChunk`] if it is not here, or damaged and to be added again.
    pub(super) fn read(&self, id: &ChunkId) -> Result<Bytes> {
        let at = lock(&self.inner).offsets.get(&key(id)).copied().ok_or(Error::NoChunk(*id))?;
        let mut len = [0; 4];
        self.file.read_exact_at(&mut len, at).at("read", &self.path)?;
        let len = u32::from_le_bytes(len) as usize;
        let mut page = vec![0; len.min(CHUNK_BYTES_MAX)];
        self.file.read_exact_at(&mut page, at + 4).at("read", &self.path)?;
        if ChunkId::of_page(&page) == *id {
            return Ok(page.into());
        }
        lock(&self.inner).offsets.remove(&key(id));
        Err(Error::NoChunk(*id))
    }
}

/// Reads the next page, `None` at the end of what is whole.
fn read_page(input: &mut impl Read) -> Option<Vec<u8>> {
    let mut len = [0; 4];
    input.read_exact(&mut len).ok()?;
    let len = u32::from_le_bytes(len) as usize;
    let mut page = vec![0; Some(len).filter(|&len| len <= CHUNK_BYTES_MAX)?];
    input.read_exact(&mut page).ok()?;
    Some(page)
}

fn key(id: &ChunkId) -> u64 {
    u64::from_be_bytes(*id.as_bytes().first_chunk().expect("an id has 32 bytes"))
}

fn lock(inner: &Mutex<Inner>) -> std::sync::MutexGuard<'_, Inner> {
    // A panic in another thread cannot leave the map half changed: the offset is set after the bytes are written.
    inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pages");
        let pages: [&[u8]; 2] = [b"a page", b"another"];
        let kept = Pages::open(&path).unwrap();
        for page in pages {
            kept.add(&ChunkId::of_page(page), page).unwrap();
        }
        crate::golden::assert_same("pages-v1.bin", &path);

        std::fs::copy(crate::golden::path("pages-v1.bin"), &path).unwrap();
        let kept = Pages::open(&path).unwrap();
        for page in pages {
            assert_eq!(kept.read(&ChunkId::of_page(page)).unwrap(), page);
        }
    }
}
