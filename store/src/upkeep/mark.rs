//! Marking: which entries of the index the live versions need, a bit an entry.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::gc::Live;
use crate::chunk::ChunkKind;
use crate::error::{Error, Result};
use crate::fsx;
use crate::id::{ChunkId, FileDigest, ManifestId};
use crate::index::View;
use crate::manifest::{ManifestFile, recipe};
use crate::store::{ChunkAt, Store};

/// What is called with bytes that were read.
pub(super) type Pace<'a> = &'a mut dyn FnMut(u64) -> Result<()>;

/// How much of a version has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Whole,
    Part,
    /// All of it, and nothing that lies damaged.
    Good,
}

/// The index as it was when marking began, and what of it is live.
#[derive(Debug)]
pub(super) struct Marks {
    view: View,
    bits: Vec<u64>,
    /// Chunks of live versions that the store does not have, repetitions counted.
    pub(super) missing: u64,
}

impl Marks {
    /// Marks what `live` needs.
    ///
    /// # Errors
    /// A manifest or recipe of a whole version cannot be read: then what it needs is unknown, and nothing may be collected. I/O; what `pace`
    /// returns.
    pub(super) fn of(store: &Store, live: &Live, pace: Pace<'_>) -> Result<Self> {
        let mut marks = Self::new(store);
        // Whole ones first: what is marked of a file is all of it then.
        for version in &live.whole {
            marks.version(store, *version, Want::Whole, pace).map_err(|error| unknown(*version, error))?;
        }
        for version in &live.partial {
            marks.version(store, *version, Want::Part, pace).or_else(absent)?;
        }
        Ok(marks)
    }

    /// Marks what `version` needs, as far as what can be read tells.
    ///
    /// # Errors
    /// I/O, but for what the disk cannot read; what `pace` returns.
    pub(super) fn as_far_as_known(store: &Store, version: ManifestId, pace: Pace<'_>) -> Result<Self> {
        let mut marks = Self::new(store);
        match marks.version(store, version, Want::Part, pace) {
            Err(error) if error.is_bad_sector() => {}
            other => other.or_else(absent)?,
        }
        Ok(marks)
    }

    fn new(store: &Store) -> Self {
        let view = store.inner.index.view();
        let bits = vec![0; view.len().div_ceil(64)];
        Self { view, bits, missing: 0 }
    }

    fn version(&mut self, store: &Store, version: ManifestId, want: Want, pace: Pace<'_>) -> Result<()> {
        let root = ChunkId::from(FileDigest::from(version));
        let chunk = store.peek(&root)?;
        let (size, chunks) = match chunk.kind() {
            ChunkKind::Content => (chunk.bytes().len() as u64, 1),
            ChunkKind::RecipePage => recipe::sums_of_root(root, chunk.bytes())?,
        };
        self.file(store, (size, version.into(), chunks), want, pace)?;
        let folder = store.dir().join("tmp");
        fsx::create_dir_durable(&folder)?;
        let path = fsx::temp_beside(&folder.join("manifest"));
        let manifest = ManifestFile::extract_with(&mut |id| store.peek(id), version, &path);
        let marked = manifest.and_then(|manifest| {
            (0..u32::try_from(manifest.totals().entries).unwrap_or(u32::MAX))
                .filter_map(|number| manifest.file_of(number))
                .try_for_each(|file| self.file(store, file, want, pace))
        });
        let _ = std::fs::remove_file(&path); // a temporary name: what stays is removed by the next ingest
        marked
    }

    fn file(&mut self, store: &Store, (size, digest, chunks): (u64, FileDigest, u32), want: Want, pace: Pace<'_>) -> Result<()> {
        if chunks == 0 {
            return Ok(());
        }
        // Who marks a root page marks all below it, or nothing is collected at all: what is marked needs no second walk.
        if self.take(store, &digest.into(), want)? || chunks == 1 {
            return Ok(());
        }
        let marks = RefCell::new(self);
        let mut read = |id| {
            marks.borrow_mut().take(store, &id, want)?;
            let lines = store.peek(&id)?.bytes().clone();
            pace(lines.len() as u64)?;
            Ok(lines)
        };
        let walked =
            recipe::walk(digest, size, chunks, &mut read, &mut |line| marks.borrow_mut().take(store, &line.id, want).map(drop));
        if want == Want::Part { walked.or_else(absent) } else { walked }
    }

    /// Marks a chunk as [`Marks::set`]; one that lies damaged counts as missing where that matters.
    fn take(&mut self, store: &Store, id: &ChunkId, want: Want) -> Result<bool> {
        if want == Want::Good && store.inner.index.locate(id)?.is_none() {
            self.missing += 1;
            return Ok(false);
        }
        self.set(id)
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

    /// The packs in which what is marked lies.
    pub(super) fn packs(&self) -> Result<BTreeSet<u32>> {
        let (mut packs, mut number) = (BTreeSet::new(), 0);
        self.view.for_each(&mut |_, at| {
            if self.bits[number / 64] & (1 << (number % 64)) != 0 {
                packs.insert(at.record.pack);
            }
            number += 1;
        })?;
        Ok(packs)
    }

    /// Returns where a chunk was when marking began, and whether it is live.
    pub(super) fn find(&self, id: &ChunkId) -> Result<Option<(ChunkAt, bool)>> {
        let found = self.view.find(id)?;
        Ok(found.map(|(number, at)| (at, self.bits[number / 64] & (1 << (number % 64)) != 0)))
    }
}

/// Says whether the store has everything that `version` needs; what lies known as damaged it does not have.
///
/// # Errors
/// I/O.
pub fn is_whole(store: &Store, version: ManifestId) -> Result<bool> {
    let mut marks = Marks::new(store);
    match marks.version(store, version, Want::Good, &mut |_| Ok(())) {
        Ok(()) => Ok(marks.missing == 0),
        Err(error) => absent(error).map(|()| false),
    }
}

/// Passes over what is not there.
fn absent(error: Error) -> Result<()> {
    if matches!(error, Error::NoChunk(_) | Error::Damaged { .. }) { Ok(()) } else { Err(error) }
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
