//! Restore: a manifest and verified chunks → a folder, with seeds, resumable, appearing by one rename or a journaled switch.
//!
//! An [`Assembly`] knows the target tree and what of it is still missing. Somebody else (the local store, the network) brings records;
//! [`Assembly::accept`] may be called from several threads at once.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::chunk::record::VerifiedRecord;
use crate::error::Result;
use crate::id::{ChunkId, ManifestId};
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::Layout;
use crate::manifest::table::ChunkTable;
use crate::store::Store;

/// A folder that holds a known version, to take content from; nothing in it is believed unread.
#[derive(Debug)]
pub struct Seed {
    /// The folder.
    pub root: PathBuf,
    /// What it should hold.
    pub manifest: ManifestFile,
    /// Its chunks by ordinal.
    pub table: ChunkTable,
}

/// Bytes by where they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Files in the target.
    pub files: u64,
    /// Raw bytes of the target's files.
    pub bytes: u64,
    /// Raw bytes left in place because the installed file is already right.
    pub kept_bytes: u64,
    /// Raw bytes taken from seeds.
    pub seed_bytes: u64,
    /// Raw bytes found already verified in the staging folder of an interrupted run.
    pub resumed_bytes: u64,
    /// Raw bytes brought by records.
    pub record_bytes: u64,
}

/// Where the new tree goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The folder that is to hold the version. Absent or empty for a first install.
    pub dest: PathBuf,
    /// Working files (manifest, chunk table, switch journal) live here; kept over a restart.
    pub work: PathBuf,
    /// Set when `dest` already holds an installed version (its seed is `installed`): only changed files are staged, then switched in.
    pub update: bool,
}

/// A target tree being assembled in a hidden folder beside its destination.
#[derive(Debug)]
pub struct Assembly {}

impl Assembly {
    /// Opens or resumes the assembly of `manifest` for `target`.
    ///
    /// Finishes or undoes an interrupted switch first. Without `target.update` the destination must be absent or an empty folder.
    ///
    /// # Errors
    /// A destination that is in the way (with what to do), I/O.
    pub fn open(_target: &Target, _manifest: ManifestFile) -> Result<Self> {
        todo!()
    }

    /// Returns the entry numbers (ascending ranges) whose recipes are needed before content can be placed: files with several chunks that are not
    /// already in place and whose pages have not been added.
    #[must_use]
    pub fn missing_recipes(&self) -> Vec<Range<u32>> {
        todo!()
    }

    /// Adds a verified recipe page received or read (kept in the work folder for a restart).
    ///
    /// # Errors
    /// I/O.
    pub fn add_page(&self, _id: ChunkId, _bytes: &Bytes) -> Result<()> {
        todo!()
    }

    /// Takes everything that is already here: files in place (update), staged chunks of an interrupted run, chunks and whole files from
    /// `seeds`; each verified by its bytes. Call once, after the recipes are complete.
    ///
    /// # Errors
    /// A recipe page is missing or damaged, I/O on the target; a bad seed is not an error, its content is simply not used.
    pub fn take_local(&mut self, _seeds: &[Seed]) -> Result<()> {
        todo!()
    }

    /// Returns the ordinals still missing, ascending, each distinct chunk once.
    #[must_use]
    pub fn missing(&self) -> Vec<Range<u32>> {
        todo!()
    }

    /// Raw bytes still missing (distinct chunks).
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        todo!()
    }

    /// Writes the chunks of a verified record to every place that lacks them; chunks that nobody lacks are ignored. Returns the raw
    /// bytes that were new.
    ///
    /// # Errors
    /// I/O on the target (a full disk leaves what is staged for the next try).
    pub fn accept(&self, _record: &VerifiedRecord) -> Result<u64> {
        todo!()
    }

    /// Returns the tally so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        todo!()
    }

    /// Completes the tree: checks that nothing is missing, folders, links, modes; makes it durable; renames or switches it into place; removes
    /// the staging folder.
    ///
    /// # Errors
    /// Something is still missing, or I/O; the destination is then as before, or the switch is finished by the next [`Assembly::open`].
    pub fn finish(self) -> Result<Tally> {
        todo!()
    }
}

/// What [`get`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Got {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes taken from seeds.
    pub from_seed_bytes: u64,
    /// Bytes taken from the store.
    pub from_store_bytes: u64,
}

/// Restores version `manifest` from `store` into `dest`, in parallel, taking what it can from the folder `seed`.
///
/// # Errors
/// The store lacks something or it is damaged, `dest` is in the way, I/O.
pub fn get(_store: &Store, _manifest: ManifestId, _dest: &Path, _seed: Option<&Path>, _workers: usize) -> Result<Got> {
    todo!()
}

/// Iterates whole, verified records that cover the chunks at `ordinals` of `table`, in that order, each record read and decoded once per run.
///
/// # Errors
/// The store lacks a chunk, or it is damaged.
pub fn stream_local(
    _store: &Store,
    _table: &ChunkTable,
    _layout: &Layout,
    _ordinals: &[Range<u32>],
    _sink: &mut dyn FnMut(VerifiedRecord) -> Result<()>,
) -> Result<()> {
    todo!()
}
