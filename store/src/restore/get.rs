//! A version straight from the store on this machine to a folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::chunk::ChunkKind;
use crate::chunk::record::VerifiedRecord;
use crate::cores;
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::ManifestId;
use crate::ingest::{self, Options, Progress};
use crate::manifest::file::ManifestFile;
use crate::manifest::path::{Platform, Platforms};
use crate::manifest::table::ChunkTable;
use crate::parallel::{self, Take};
use crate::store::Store;

use super::staging::hidden_beside;
use super::{Assembly, Seed, Target, local, target};

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

/// Restores version `manifest` from `store` into `dest`, in parallel, taking what it can from the folder `seed`; `workers` 0 means one
/// thread a core.
///
/// `dest` must be absent or an empty folder; folders above it are made. An interrupted run is taken up again by the next.
///
/// # Errors
/// The store lacks something or it is damaged, `dest` is in the way, I/O.
pub fn get(store: &Store, manifest: ManifestId, dest: &Path, seed: Option<&Path>, workers: usize) -> Result<Got> {
    let _lease = store.lease();
    let (dest, _) = target::look(dest)?;
    let above = fsx::folder_of(&dest);
    fs::create_dir_all(above).at("create folder", above)?;
    let work = hidden_beside(&dest, "work");
    fs::create_dir_all(&work).at("create folder", &work)?;
    let target = Target { dest, work, update: false };
    let assembly = open(store, manifest, &target);
    let mut assembly = match assembly {
        Ok(assembly) => assembly,
        Err(error) => {
            if !matches!(error, Error::Locked(_)) {
                let _ = fs::remove_dir_all(&target.work); // holds nothing of worth yet, and the error is the one to tell
            }
            return Err(error);
        }
    };
    assembly.record_stats = false;
    let workers = if workers == 0 { cores() } else { workers };
    let seeds = seed.map(|root| survey(root, &target.work, workers)).transpose()?;
    assembly.build_table(&mut |id| Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone()))?;
    assembly.take_local(seeds.as_slice())?;
    fill(store, &assembly, workers)?;
    let tally = assembly.finish()?;
    fs::remove_dir_all(&target.work).at("remove", &target.work)?;
    Ok(Got { files: tally.files, bytes: tally.bytes, from_seed_bytes: tally.seed_bytes, from_store_bytes: tally.record_bytes })
}

fn open(store: &Store, manifest: ManifestId, target: &Target) -> Result<Assembly> {
    let manifest = ManifestFile::extract(store, manifest, &target.work.join("manifest"))?;
    Assembly::open(target, manifest)
}

/// Brings what is missing from the store's records, each decoded once.
fn fill(store: &Store, assembly: &Assembly, workers: usize) -> Result<()> {
    let missing = assembly.missing();
    let Some(content) = assembly.content.as_ref().filter(|_| !missing.is_empty()) else { return Ok(()) };
    let records = local::records_of(store, &content.table, missing)?;
    parallel::for_each(records.len(), workers, Take::One, &|number| {
        assembly.accept(&VerifiedRecord::decode(store.read_record(records[number])?)?).map(|_| ())
    })
}

/// Finds out what the folder `root` holds.
fn survey(root: &Path, work: &Path, workers: usize) -> Result<Seed> {
    let options = Options {
        workers,
        platforms: Platforms::default().with(Platform::Linux),
        stat_cache: None,
        verify: true,
        now_unix_nanos: 0,
        progress: Arc::new(Progress::default()),
    };
    let (manifest_path, table_path) = (work.join("seed-manifest"), work.join("seed-table"));
    let id = ingest::survey(root, &options, &manifest_path, &table_path)?;
    let manifest = Arc::new(ManifestFile::open(&manifest_path, id)?);
    let table = ChunkTable::open(&table_path, &manifest)?;
    Ok(Seed { root: root.to_path_buf(), manifest, table })
}
