//! A manifest in a private file of its own, verified against its id and then mapped.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::{ChunkId, FileDigest, ManifestId};
use crate::manifest::codec::{ManifestReader, Totals};
use crate::manifest::entry::Entry;
use crate::manifest::path::compare_paths;
use crate::manifest::recipe;
use crate::manifest::wire::{self, EntryRef, KindRef};
use crate::map::ReadOnlyMap;
use crate::spill::{Words, WordsWriter};
use crate::store::Store;

/// Longest manifest, bytes; a store offset of an entry fits 32 bits.
pub const MANIFEST_BYTES_MAX: u64 = u32::MAX as u64;

/// A verified manifest on disk; random access by entry number (path order), of a fixed size in memory.
#[derive(Debug)]
pub struct ManifestFile {
    id: ManifestId,
    folder: PathBuf,
    map: ReadOnlyMap,
    /// Of each entry.
    offsets: Words<1>,
    totals: Totals,
    sha256: OnceLock<[u8; 32]>,
}

impl ManifestFile {
    /// Opens `path`, checks that its bytes are the manifest `id` and that every entry is canonical, and maps it.
    ///
    /// The file must be the caller's own: nobody may change it while it is open.
    ///
    /// # Errors
    /// Damaged, too new, or I/O.
    pub fn open(path: &Path, id: ManifestId) -> Result<Self> {
        let map = File::open(path).and_then(|file| ReadOnlyMap::open(&file)).at("read", path)?;
        if recipe::of_bytes(&map).digest != FileDigest::from(id) {
            return Err(Error::damaged(format!("manifest {}", path.display()), format!("its bytes are not {id}")));
        }
        let mut reader = ManifestReader::new(&*map)?;
        let folder = fsx::folder_of(path).to_owned();
        let mut offsets = WordsWriter::in_folder(&folder);
        while let Some((offset, _)) = reader.next_ref()? {
            offsets.push([u32::try_from(offset).map_err(|_| over_limit(id))?])?;
        }
        let totals = reader.totals();
        drop(reader);
        Ok(Self { id, folder, map, offsets: offsets.finish()?, totals, sha256: OnceLock::new() })
    }

    /// Copies the manifest `id` out of `store` to `path` (by a temporary name and a rename) and opens it.
    ///
    /// # Errors
    /// [`crate::Error::NoChunk`] when the store lacks it, damaged, or I/O.
    pub fn extract(store: &Store, id: ManifestId, path: &Path) -> Result<Self> {
        let _lease = store.lease();
        let mut read = |id: &ChunkId| {
            store.locate(id)?.ok_or(Error::NoChunk(*id))?;
            store.peek(id)
        };
        Self::extract_with(&mut read, id, path)
    }

    /// Does as [`ManifestFile::extract`] with chunks that `read` gets.
    pub(crate) fn extract_with(
        read: &mut dyn FnMut(&ChunkId) -> Result<VerifiedChunk>,
        id: ManifestId,
        path: &Path,
    ) -> Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let tmp: PathBuf = path.with_file_name(name);
        let copied = copy_out(read, id, &tmp).and_then(|()| fs::rename(&tmp, path).at("rename to", path));
        if copied.is_err() {
            // Best effort: the error to report is the first one.
            let _ = fs::remove_file(&tmp);
        }
        copied?;
        Self::open(path, id)
    }

    /// Returns the manifest's id.
    #[must_use]
    pub fn id(&self) -> ManifestId {
        self.id
    }

    /// The folder that it lies in, and into which what is derived from it may be put down.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the canonical bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Returns the SHA-256 of the canonical bytes, computed the first time: what signed metadata names.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        *self.sha256.get_or_init(|| Sha256::digest(self.bytes()).into())
    }

    /// Returns the totals.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Returns entry `number` (path order).
    ///
    /// # Panics
    /// Never for a number below `totals().entries`.
    #[must_use]
    pub fn entry(&self, number: u32) -> Entry {
        self.entry_ref(number).to_entry().expect("entries were checked when the manifest was opened")
    }

    /// Iterates all entries in path order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.numbers().map(|number| self.entry(number))
    }

    /// Iterates paths and permission bits of the folders in path order.
    pub(crate) fn folders(&self) -> impl DoubleEndedIterator<Item = (&str, u16)> + '_ {
        self.numbers().map(|number| self.entry_ref(number)).filter_map(|entry| match entry.kind {
            KindRef::Folder => Some((entry.path, entry.mode)),
            KindRef::File { .. } | KindRef::Symlink { .. } => None,
        })
    }

    /// Iterates paths and targets of the symbolic links in path order.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&str, &str)> + '_ {
        self.numbers().map(|number| self.entry_ref(number)).filter_map(|entry| match entry.kind {
            KindRef::Symlink { target } => Some((entry.path, target)),
            KindRef::File { .. } | KindRef::Folder => None,
        })
    }

    /// Returns the path of entry `number` without copying it.
    ///
    /// # Panics
    /// Never for a number below `totals().entries`.
    #[must_use]
    pub fn path_of(&self, number: u32) -> &str {
        wire::path_of(self.bytes_of(number))
    }

    /// Returns size, digest and chunk count of entry `number`; `None` for folders and links, and where there is no such entry: numbers that
    /// came over the wire are looked up here first.
    #[must_use]
    pub fn file_of(&self, number: u32) -> Option<(u64, FileDigest, u32)> {
        wire::file_of(&self.bytes()[self.offset(number)?..])
    }

    /// Returns the permission bits of entry `number`.
    ///
    /// # Panics
    /// Never for a number below `totals().entries`.
    #[must_use]
    pub fn mode_of(&self, number: u32) -> u16 {
        self.entry_ref(number).mode
    }

    /// Finds the number of the entry at `path`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<u32> {
        let number = self.first_not(|known| compare_paths(known, path).is_lt());
        (self.numbers().contains(&number) && self.path_of(number) == path).then_some(number)
    }

    /// The number of the first entry whose path is not `before`, which no later one is either; how many there are if all are.
    fn first_not(&self, before: impl Fn(&str) -> bool) -> u32 {
        let mut range = self.numbers();
        while !range.is_empty() {
            let middle = range.start + (range.end - range.start) / 2;
            if before(self.path_of(middle)) {
                range.start = middle + 1;
            } else {
                range.end = middle;
            }
        }
        range.start
    }

    /// Where the first entry lies whose path is not `before`; `None` if all are.
    pub(super) fn place_of(&self, before: impl Fn(&str) -> bool) -> Option<usize> {
        self.offset(self.first_not(before))
    }

    /// The path of the first entry that begins at or behind the byte `at`.
    pub(super) fn path_at(&self, at: usize) -> Option<&str> {
        let number = self.offsets.partition_point(|[offset]| (offset as usize) < at);
        u32::try_from(number).ok().filter(|number| self.numbers().contains(number)).map(|number| self.path_of(number))
    }

    /// Iterates the numbers of all entries.
    pub(crate) fn numbers(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.offsets.len()).expect("a manifest has at most 2^31 entries")
    }

    /// Says whether entry `number` is the same as entry `other_number` of `other`, path and all.
    pub(super) fn is_same(&self, number: u32, other: &Self, other_number: u32) -> bool {
        self.entry_ref(number) == other.entry_ref(other_number)
    }

    /// Says as [`ManifestFile::is_same`], without decoding anything; `false` may only mean that this is not enough to tell.
    pub(super) fn same_bytes(&self, number: u32, other: &Self, other_number: u32) -> bool {
        // Up to the next entry, or over the header of the next block. Behind the last entry nothing tells where it ends.
        let (Some(from), Some(end)) = (self.offset(number), self.offset(number + 1)) else { return false };
        let Some(at) = other.offset(other_number) else { return false };
        other.bytes().get(at..at + (end - from)).is_some_and(|bytes| bytes == &self.bytes()[from..end])
    }

    /// Returns the target of entry `number` if it is a symbolic link.
    pub(crate) fn link_of(&self, number: u32) -> Option<&str> {
        match self.entry_ref(number).kind {
            KindRef::Symlink { target } => Some(target),
            KindRef::File { .. } | KindRef::Folder => None,
        }
    }

    /// Says whether entry `number` is a folder.
    pub(crate) fn is_folder(&self, number: u32) -> bool {
        self.entry_ref(number).kind == KindRef::Folder
    }

    fn entry_ref(&self, number: u32) -> EntryRef<'_> {
        wire::decode_again(self.bytes_of(number)).expect("entries were checked when the manifest was opened")
    }

    /// The bytes from entry `number` on.
    fn bytes_of(&self, number: u32) -> &[u8] {
        &self.bytes()[self.offset(number).expect("callers ask for entries that there are")..]
    }

    /// Where entry `number` lies.
    fn offset(&self, number: u32) -> Option<usize> {
        self.offsets.get(number as usize).map(|[at]| at as usize)
    }
}

fn over_limit(id: ManifestId) -> Error {
    Error::Limit { what: format!("manifest {id}"), limit: format!("{MANIFEST_BYTES_MAX} bytes") }
}

fn copy_out(read: &mut dyn FnMut(&ChunkId) -> Result<VerifiedChunk>, id: ManifestId, path: &Path) -> Result<()> {
    let root = read(&FileDigest::from(id).into())?;
    let mut out = BufWriter::new(File::create(path).at("create", path)?);
    match root.kind() {
        ChunkKind::Content => out.write_all(root.bytes()).at("write", path)?,
        ChunkKind::RecipePage => {
            let (size, chunks) = recipe::sums_of_root(root.id(), root.bytes())?;
            if size > MANIFEST_BYTES_MAX {
                return Err(over_limit(id));
            }
            let read = std::cell::RefCell::new(read);
            let mut page = |id| read.borrow_mut()(&id).map(|chunk| chunk.bytes().clone());
            recipe::walk(id.into(), size, chunks, &mut page, &mut |line| {
                let chunk = read.borrow_mut()(&line.id)?;
                out.write_all(chunk.bytes()).at("write", path)
            })?;
        }
    }
    out.flush().at("write", path)
}
