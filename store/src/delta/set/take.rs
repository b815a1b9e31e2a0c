//! Applying a patch between two versions to a store: from the base's chunks to the target's, verified, as records.

use std::fs::File;
use std::io::Read;

use crate::chunk::record::{RECORD_CHUNKS_MAX, RECORD_RAW_BYTES_MAX, encode as encode_record};
use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::delta::archive::apply_joined;
use crate::delta::{Limits, ReadAt};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::manifest::file::ManifestFile;
use crate::manifest::recipe::{self, BuiltRecipe};
use crate::manifest::table::ChunkTable;
use crate::store::Store;

use super::content::each_line;
use super::front::{Front, FrontSplit, TakeFront, Watched};
use super::parts::{join_recipes, lines};
use super::scope::{Part, Scope, Targets, useless};
use super::split::{Split, Take};

/// The zstd level of records that are made here: what an ingest uses.
const LEVEL: i32 = 3;

/// Makes what `scope` says of version `target` from what it says of version `base`, which `store` holds, and appends what the store lacks
/// of it: chunks and recipe pages. Durable only after [`Store::sync`]. A patch that sees through archives inflates into files that
/// `scratch` opens (empty, read and write).
///
/// The patch is not trusted: content counts by its chunk ids, and a file whose digest is not the manifest's is an error.
///
/// # Errors
/// The patch is damaged, made of something else, or for something else: fetch records instead. The store lacks a base, I/O.
pub fn take_into_store(
    store: &Store,
    patch: &mut (dyn Read + Send),
    (base, target): (&ManifestFile, &ManifestFile),
    scope: &Scope,
    scratch: &mut (dyn FnMut() -> Result<File> + Send),
) -> Result<()> {
    let source = StoredFiles::of(store, base, scope)?;
    let mut split = Split::new(target, scope, Taker::of(store, &|_| ()))?;
    apply_joined(patch, &Limits::default(), (&source, source.len), scratch, &mut |bytes| split.push(bytes))?;
    split.finish()?.0.flush()
}

/// Makes what is left to `front` of what `scope` says, from what it says of version `base`, and appends the chunks that the store lacks of it; `table`
/// is the target's, and `progress` learns their raw bytes. Otherwise as [`take_into_store`]; where it fails nothing is left to the front.
///
/// # Errors
/// As [`take_into_store`].
pub fn take_front_into_store(
    store: &Store,
    patch: &mut (dyn Read + Send),
    (base, table): (&ManifestFile, &ChunkTable),
    (scope, front): (&Scope, &Front),
    scratch: &mut (dyn FnMut() -> Result<File> + Send),
    progress: &dyn Fn(u64),
) -> Result<()> {
    let mut split = FrontSplit::of(front, table, Taker::of(store, progress));
    let ended = StoredFiles::of(store, base, scope).and_then(|source| {
        let base = Watched { base: &source, front };
        apply_joined(patch, &Limits::default(), (&base, source.len), scratch, &mut |bytes| split.push(bytes))
    });
    split.finish(ended)?.flush()
}

/// Says whether `store` lacks anything of what `scope` makes of version `target`.
///
/// # Errors
/// A damaged recipe page, I/O.
pub fn lacks_any(store: &Store, target: &ManifestFile, scope: &Scope) -> Result<bool> {
    let mut page = |id| Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone());
    let mut found =
        |line: crate::chunk::record::ChunkLine| if store.contains(&line.id)? { Ok(()) } else { Err(Error::NoChunk(line.id)) };
    let walked = match &scope.targets {
        Targets::Part(part) => lines(part, &mut page, &mut found),
        Targets::Files(files) => files
            .iter()
            .filter_map(|file| target.file_of(*file))
            .try_for_each(|(size, digest, chunks)| recipe::walk(digest, size, chunks, &mut page, &mut found)),
    };
    match walked {
        Ok(()) => Ok(false),
        Err(Error::NoChunk(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Appends the recipes of the files of `target` that were made part by part: their pages come from those of `parts`, which the store has
/// since the parts were made. A file of which a part is missing is left out: its recipe is fetched.
///
/// # Errors
/// I/O.
pub fn join_parts(store: &Store, target: &ManifestFile, parts: &[Part]) -> Result<()> {
    let mut page = |id| Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone());
    join_recipes(target, parts, &mut page, &mut |page| append_page(store, page))
}

fn append_page(store: &Store, page: &VerifiedChunk) -> Result<()> {
    if store.contains(&page.id())? {
        return Ok(());
    }
    store.append_encoded(encode_record(ChunkKind::RecipePage, std::slice::from_ref(page), LEVEL)?).map(drop)
}

/// Puts the chunks that a patch makes into records.
struct Taker<'a> {
    store: &'a Store,
    content: Vec<VerifiedChunk>,
    content_bytes: usize,
    /// Learns the raw bytes that are appended.
    progress: &'a dyn Fn(u64),
}

impl Take for Taker<'_> {
    fn chunk(&mut self, _: u32, _: u64, bytes: &[u8]) -> Result<()> {
        let chunk = VerifiedChunk::hash(ChunkKind::Content, bytes::Bytes::copy_from_slice(bytes));
        if self.store.contains(&chunk.id())? { Ok(()) } else { self.add(chunk) }
    }

    fn recipe(&mut self, built: &BuiltRecipe) -> Result<()> {
        built.pages.iter().try_for_each(|page| append_page(self.store, page))
    }
}

impl TakeFront for Taker<'_> {
    fn wants(&self, _: u32, id: &ChunkId) -> Result<bool> {
        Ok(!self.store.contains(id)?)
    }

    fn take(&mut self, chunk: VerifiedChunk) -> Result<()> {
        self.add(chunk)
    }
}

impl<'a> Taker<'a> {
    fn of(store: &'a Store, progress: &'a dyn Fn(u64)) -> Self {
        Self { store, content: Vec::new(), content_bytes: 0, progress }
    }

    fn add(&mut self, chunk: VerifiedChunk) -> Result<()> {
        let len = chunk.bytes().len();
        if self.content_bytes + len > RECORD_RAW_BYTES_MAX || self.content.len() == RECORD_CHUNKS_MAX {
            self.flush()?;
        }
        self.content_bytes += len;
        self.content.push(chunk);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.content.is_empty() {
            self.store.append_encoded(encode_record(ChunkKind::Content, &self.content, LEVEL)?)?;
        }
        (self.progress)(self.content_bytes as u64);
        self.content.clear();
        self.content_bytes = 0;
        Ok(())
    }
}

/// Several stretches of a stored version's files as one content, read by position.
struct StoredFiles<'a> {
    store: &'a Store,
    /// Position of each chunk's first byte that is read, that byte's offset in the chunk, and the chunk's id.
    chunks: Vec<(u64, u32, ChunkId)>,
    len: u64,
}

impl<'a> StoredFiles<'a> {
    fn of(store: &'a Store, base: &ManifestFile, scope: &Scope) -> Result<Self> {
        let (mut chunks, mut len) = (Vec::new(), 0);
        for (entry, range) in scope.base_pieces(base)? {
            each_line(store, base, entry, &mut |offset, line| {
                let (from, end) = (offset.max(range.start), (offset + u64::from(line.len)).min(range.end));
                if from < end {
                    chunks.push((len, u32::try_from(from - offset).unwrap_or(u32::MAX), line.id));
                    len += end - from;
                }
                Ok(())
            })?;
        }
        Ok(Self { store, chunks, len })
    }
}

impl ReadAt for StoredFiles<'_> {
    fn read_exact_at(&self, mut bytes: &mut [u8], mut offset: u64) -> Result<()> {
        let mut place = self.chunks.partition_point(|(start, ..)| *start <= offset).saturating_sub(1);
        while !bytes.is_empty() {
            let (start, skip, id) = self.chunks.get(place).ok_or_else(|| useless("it reads behind its bases"))?;
            let chunk = self.store.read_chunk(id, ChunkKind::Content)?;
            let from = usize::try_from(offset - start + u64::from(*skip)).unwrap_or(usize::MAX);
            let rest =
                chunk.bytes().get(from..).filter(|rest| !rest.is_empty()).ok_or_else(|| useless("it reads behind its bases"))?;
            let end = self.chunks.get(place + 1).map_or(self.len, |(next, ..)| *next);
            let now = usize::try_from(end - offset).unwrap_or(usize::MAX).min(rest.len()).min(bytes.len());
            let (front, back) = std::mem::take(&mut bytes).split_at_mut(now);
            front.copy_from_slice(&rest[..now]);
            bytes = back;
            offset += now as u64;
            place += 1;
        }
        Ok(())
    }
}
