//! Versions that have been opened for serving, the most recent ones kept.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use consign_store::chunk::ChunkKind;
use consign_store::manifest::encoded::Against;
use consign_store::manifest::{ChunkTable, Layout, ManifestFile};
use consign_store::{ManifestId, Store};
use tokio::sync::OnceCell;

use super::answer;
use crate::net::blocking;
use crate::net::error::Result;

/// Most versions kept open.
const OPEN_MAX: usize = 64;
/// Longest encoded manifest that is kept, bytes.
const ENCODED_BYTES_MAX: usize = 64 << 10;

/// A version as a server needs it; both are small in memory.
#[derive(Debug)]
pub struct Version {
    /// Its manifest.
    pub manifest: Arc<ManifestFile>,
    /// Its chunks by ordinal.
    pub table: Arc<ChunkTable>,
    /// What all of it costs a receiver that has nothing, bytes; counted when somebody asks.
    full_wire_bytes: OnceLock<u64>,
    /// Its manifest as it is sent to whoever has the version before; made when that was little.
    encoded: OnceLock<(ManifestId, Bytes)>,
    /// Its manifest as it is sent to whoever has no other; made when somebody asks.
    pub(in crate::net) whole: OnceCell<Bytes>,
}

type Slot = Arc<OnceCell<Arc<Version>>>;

/// Opened versions of one store, each opened once however many ask at the same time.
#[derive(Debug)]
pub struct Versions {
    store: Store,
    dir: PathBuf,
    /// Most recently used last.
    slots: Mutex<Vec<(ManifestId, Slot)>>,
}

impl Versions {
    /// Keeps manifests and chunk tables of `store` in the existing folder `dir`.
    #[must_use]
    pub fn new(store: Store, dir: PathBuf) -> Self {
        Self { store, dir, slots: Mutex::default() }
    }

    /// Opens version `id`, building its files where they are missing or damaged.
    ///
    /// # Errors
    /// [`consign_store::Error::NoChunk`] when the store lacks the manifest or a recipe page, damaged, I/O.
    pub async fn open(&self, id: ManifestId) -> Result<Arc<Version>> {
        let slot = self.slot(id);
        let opening = || async {
            let (store, dir) = (self.store.clone(), self.dir.clone());
            let version = blocking::run("opening a version", move || Version::open(&store, &dir, id)).await??;
            Ok(Arc::new(version))
        };
        let opened = slot.get_or_try_init(opening).await.cloned();
        if opened.is_err() {
            self.forget(id);
        }
        opened
    }

    /// Closes version `id`, for instance because its content has been removed.
    pub fn forget(&self, id: ManifestId) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| *known != id);
    }

    /// The folder of manifests and chunk tables.
    pub(in crate::net) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Closes all versions but `live`.
    pub(super) fn close_others(&self, live: &[ManifestId]) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| live.contains(known));
    }

    fn slot(&self, id: ManifestId) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match slots.iter().position(|(known, _)| *known == id) {
            Some(place) => slots.remove(place).1,
            None => Slot::default(),
        };
        if slots.len() == OPEN_MAX {
            slots.remove(0);
        }
        slots.push((id, Arc::clone(&slot)));
        slot
    }
}

impl Version {
    fn open(store: &Store, dir: &Path, id: ManifestId) -> consign_store::Result<Self> {
        let path = dir.join(format!("{}.manifest", id.to_hex()));
        let manifest = ManifestFile::open(&path, id).or_else(|_| ManifestFile::extract(store, id, &path))?;
        let path = dir.join(format!("{}.table", id.to_hex()));
        let table = ChunkTable::open(&path, &manifest).or_else(|_| {
            let layout = Layout::of(&manifest)?;
            let mut page = |page| Ok(store.read_chunk(&page, ChunkKind::RecipePage)?.bytes().clone());
            ChunkTable::build(&path, &manifest, &layout, &|_| true, &mut page)
        })?;
        Ok(Self {
            manifest: Arc::new(manifest),
            table: Arc::new(table),
            full_wire_bytes: OnceLock::new(),
            encoded: OnceLock::new(),
            whole: OnceCell::new(),
        })
    }

    /// Encodes the manifest for receivers that have `base`, and keeps it if it is short. Blocking.
    pub(super) fn encode_for(&self, base: &Self) {
        if self.encoded.get().is_some() {
            return;
        }
        let against = Against::of(Some(&base.manifest), &self.manifest, true);
        if let Some(bytes) = answer::short_manifest(&self.manifest, against, ENCODED_BYTES_MAX) {
            // Somebody else may have been faster.
            let _ = self.encoded.set((base.manifest.id(), bytes));
        }
    }

    /// The manifest encoded for receivers that have `base`, if that was made ahead.
    pub(super) fn encoded_for(&self, base: ManifestId) -> Option<Bytes> {
        self.encoded.get().filter(|(known, _)| *known == base).map(|(_, bytes)| bytes.clone())
    }

    /// Counts what all of it costs a receiver that has nothing, bytes: records and recipes. Blocking, the first time.
    ///
    /// # Errors
    /// The store lacks content, or it is damaged.
    pub fn full_wire_bytes(&self, store: &Store) -> consign_store::Result<u64> {
        if let Some(known) = self.full_wire_bytes.get() {
            return Ok(*known);
        }
        let counted = consign_store::restore::full_wire_bytes(store, &self.manifest, &self.table)?;
        Ok(*self.full_wire_bytes.get_or_init(|| counted))
    }
}
