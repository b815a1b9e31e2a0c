//! Marking: which entries of the index the live versions need, a bit an entry.

use std::cell::RefCell;

use crate::chunk::ChunkKind;
use crate::error::{Error, Result};
use crate::fsx;
use crate::id::{ChunkId, FileDigest, ManifestId};
use crate::index::View;
use crate::manifest::{ManifestFile, recipe};
use crate::store::{ChunkAt, Store};

/// The index as it was when marking began, and what of it is live.
#[derive(Debug)]
pub(super) struct Marks {
    view: View,
    bits: Vec<u64>,
    /// Chunks of live versions that the store does not have, repetitions counted.
    pub(super) missing: u64,
}

impl Marks {
    /// Marks what `versions` need.
    ///
    /// # Errors
    /// A manifest or recipe cannot be read: then what it needs is unknown, and nothing may be collected. I/O.
    pub(super) fn of(store: &Store, versions: &[ManifestId]) -> Result<Self> {
        let view = store.inner.index.view();
        let bits = vec![0; view.len().div_ceil(64)];
        let mut marks = Self { view, bits, missing: 0 };
        for version in versions {
            marks.version(store, *version).map_err(|error| unknown(*version, error))?;
        }
        Ok(marks)
    }

    fn version(&mut self, store: &Store, version: ManifestId) -> Result<()> {
        let root = ChunkId::from(FileDigest::from(version));
        let chunk = store.peek(&root)?;
        let (size, chunks) = match chunk.kind() {
            ChunkKind::Content => (chunk.bytes().len() as u64, 1),
            ChunkKind::RecipePage => recipe::sums_of_root(root, chunk.bytes())?,
        };
        self.file(store, version.into(), size, chunks)?;
        let folder = store.dir().join("tmp");
        fsx::create_dir_durable(&folder)?;
        let path = fsx::temp_beside(&folder.join("manifest"));
        let manifest = ManifestFile::extract_with(&mut |id| store.peek(id), version, &path);
        let marked = manifest.and_then(|manifest| {
            (0..u32::try_from(manifest.totals().entries).unwrap_or(u32::MAX))
                .filter_map(|number| manifest.file_of(number))
                .try_for_each(|(size, digest, chunks)| self.file(store, digest, size, chunks))
        });
        let _ = std::fs::remove_file(&path); // a temporary name: what stays is removed by the next ingest
        marked
    }

    fn file(&mut self, store: &Store, digest: FileDigest, size: u64, chunks: u32) -> Result<()> {
        if chunks == 0 {
            return Ok(());
        }
        // Who marks a root page marks all below it, or nothing is collected at all: what is marked needs no second walk.
        if self.set(&digest.into())? || chunks == 1 {
            return Ok(());
        }
        let marks = RefCell::new(self);
        let mut page = |id| {
            marks.borrow_mut().set(&id)?;
            store.peek(&id).map(|page| page.bytes().clone())
        };
        recipe::walk(digest, size, chunks, &mut page, &mut |line| marks.borrow_mut().set(&line.id).map(drop))
    }

    /// Marks a chunk; says whether it was marked already.
    fn set(&mut self, id: &ChunkId) -> Result<bool> {
        let Some((number, _)) = self.view.find(id)? else {
            self.missing += 1;
            return Ok(false);
        };
        let (word, bit) = (&mut self.bits[number / 64], 1 << (number % 64));
        let was = *word & bit != 0;
        *word |= bit;
        Ok(was)
    }

    /// Returns where a chunk was when marking began, and whether it is live.
    pub(super) fn find(&self, id: &ChunkId) -> Result<Option<(ChunkAt, bool)>> {
        let found = self.view.find(id)?;
        Ok(found.map(|(number, at)| (at, self.bits[number / 64] & (1 << (number % 64)) != 0)))
    }
}

fn unknown(version: ManifestId, error: Error) -> Error {
    match error {
        Error::NoChunk(_) | Error::Damaged { .. } => Error::Refused {
            path: version.to_string(),
            why: format!(
                "what this version needs is unknown, so nothing was collected ({error}); repair the store, or keep the version no longer"
            ),
        },
        other => other,
    }
}
