//! Restore: a manifest and verified chunks → a folder, with seeds, resumable, appearing by one rename or a journaled switch.
//!
//! An [`Assembly`] knows the target tree and what of it is still missing. Somebody else (the local store, the network) brings records;
//! [`Assembly::accept`] may be called from several threads at once. The order of calls:
//!
//! 1. [`Assembly::open`]: finishes an interrupted switch, opens the staging folder;
//! 2. [`Assembly::take_patch`], where there are patches; [`Assembly::learn_recipes`] from seeds, then [`Assembly::missing_recipes`] and [`Assembly::add_page`] until none is missing;
//! 3. [`Assembly::take_local`]: what is in place, staged, or in seeds;
//! 4. [`Assembly::missing`] and [`Assembly::accept`] until nothing is missing, and beside it [`Assembly::take_front`], where a patch makes a part of that;
//! 5. [`Assembly::finish`].

mod assembly;
mod bits;
mod content;
mod finish;
mod front;
mod get;
mod in_place;
mod local;
mod look;
mod needed;
mod pages;
mod patched;
mod seeds;
mod staging;
mod stat_record;
mod steps;
mod survey;
mod switch;
mod target;
#[cfg(test)]
mod tests;
mod verify;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::ManifestId;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::Layout;
use crate::manifest::table::ChunkTable;

pub use assembly::Assembly;
pub use get::{Got, get};
pub use local::stream_local;
pub use look::Look;
pub use seeds::build_table;
pub use survey::{Amount, Survey, full_wire_bytes};
pub use target::{installed, recover};
pub use wire::{WireRecord, WireStream};

/// A folder that holds a known version, to take content from; nothing in it is believed unread.
#[derive(Debug)]
pub struct Seed {
    /// The folder.
    pub root: PathBuf,
    /// What it should hold.
    pub manifest: Arc<ManifestFile>,
    /// Its chunks by ordinal.
    pub table: ChunkTable,
}

impl Seed {
    /// Opens the version that an assembly put at `root`, by its manifest `id` in the file `manifest` and the table that the assembly left at
    /// `table`.
    ///
    /// A table that is gone or damaged (it is not durable) is made again with what the manifest alone tells: the files of one chunk.
    ///
    /// # Errors
    /// The manifest is gone or damaged, or I/O.
    pub fn open(root: &Path, manifest: &Path, id: ManifestId, table: &Path) -> Result<Self> {
        Self::of(root, Arc::new(ManifestFile::open(manifest, id)?), table)
    }

    /// Does as [`Seed::open`] with a manifest that is open.
    ///
    /// # Errors
    /// I/O.
    pub fn of(root: &Path, manifest: Arc<ManifestFile>, table: &Path) -> Result<Self> {
        let table = ChunkTable::open(table, &manifest).or_else(|_| {
            let layout = Layout::of(&manifest)?;
            // Not in its place: whoever assembles this version again must not take it for whole.
            ChunkTable::build(&table.with_extension("part"), &manifest, &layout, &|_| false, &mut |page| {
                Err(Error::NoChunk(page))
            })
        })?;
        Ok(Self { root: root.to_path_buf(), manifest, table })
    }
}

/// Bytes by where they came from; the five kinds add up to `bytes` when the assembly is complete, repeated content counted each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Files in the target.
    pub files: u64,
    /// Raw bytes of the target's files.
    pub bytes: u64,
    /// Raw bytes left in place because the installed file is already right.
    pub kept_bytes: u64,
    /// Raw bytes taken from seeds, or from content of the target that was already here.
    pub seed_bytes: u64,
    /// Raw bytes found already verified in the staging folder of an interrupted run.
    pub resumed_bytes: u64,
    /// Raw bytes made by patches in this run.
    pub patch_bytes: u64,
    /// Raw bytes brought by records.
    pub record_bytes: u64,
    /// How often something in the destination was looked at by its path: of what an update leaves alone, each file once.
    pub looks: u64,
}

/// Where the new tree goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The folder that is to hold the version. Absent or empty for a first install.
    pub dest: PathBuf,
    /// Working files (chunk tables, recipe pages, switch journal, what is installed) live here, kept over restarts and updates: one
    /// folder a destination, locked while an assembly is open.
    pub work: PathBuf,
    /// Set when `dest` already holds an installed version (its seed is the one whose root is `dest`): only changed files are staged, then
    /// switched in.
    pub update: bool,
}

impl Target {
    /// Returns where the chunk table of `manifest` is kept below `work` once its assembly has finished: what a [`Seed`] needs for the next
    /// update.
    #[must_use]
    pub fn table_path(work: &Path, manifest: ManifestId) -> PathBuf {
        work.join(format!("table-{}", &manifest.to_hex()[..16]))
    }

    fn pages_path(work: &Path, manifest: ManifestId) -> PathBuf {
        work.join(format!("pages-{}", &manifest.to_hex()[..16]))
    }
}
