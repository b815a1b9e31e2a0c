//! Applying a patch between two versions to a store: from the base's chunks to the target's, verified, as records.

use std::io::Read;

use crate::chunk::record::{RECORD_CHUNKS_MAX, RECORD_RAW_BYTES_MAX, encode as encode_record};
use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::delta::{BaseRef, Limits, ReadAt, apply};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::manifest::file::ManifestFile;
use crate::manifest::recipe;
use crate::manifest::stream::RecipeStream;
use crate::store::Store;

/// The zstd level of records that are made here: what an ingest uses.
const LEVEL: i32 = 3;

/// Makes the files `targets` of `target` from the joined files `bases` of `base`, which `store` holds, and appends what it lacks of them:
/// chunks and recipe pages. Durable only after [`Store::sync`].
///
/// The patch is not trusted: content counts by its chunk ids, and a file whose digest is not the manifest's is an error.
///
/// # Errors
/// The patch is damaged, made of something else, or for something else: fetch records instead. The store lacks a base, I/O.
pub fn take_into_store(
    store: &Store,
    patch: &mut dyn Read,
    (base, bases): (&ManifestFile, &[u32]),
    (target, targets): (&ManifestFile, &[u32]),
) -> Result<()> {
    let source = StoredFiles::of(store, base, bases)?;
    let mut open = |asked: &BaseRef| {
        if asked.len == source.len { Ok(&source) } else { Err(useless("it is made of something else")) }
    };
    let mut taker = Taker { store, target, targets: targets.iter(), current: None, content: Vec::new(), content_bytes: 0 };
    apply(patch, &Limits::default(), &mut open, &mut |bytes| taker.push(bytes))?;
    taker.finish()
}

fn useless(why: &str) -> Error {
    Error::damaged("the patch", format!("{why}; the records are fetched instead"))
}

/// Takes the joined target of a patch apart into files, and their chunks into records.
struct Taker<'a> {
    store: &'a Store,
    target: &'a ManifestFile,
    targets: std::slice::Iter<'a, u32>,
    current: Option<(u32, u64, RecipeStream)>,
    content: Vec<VerifiedChunk>,
    content_bytes: usize,
}

impl Taker<'_> {
    fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (entry, left, mut stream) = match self.current.take() {
                Some(current) => current,
                None => self.next()?,
            };
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (front, rest) = bytes.split_at(now);
            stream.push(front, &mut |_, _, chunk| self.add(chunk))?;
            bytes = rest;
            let left = left - now as u64;
            if left > 0 {
                self.current = Some((entry, left, stream));
                continue;
            }
            let built = stream.finish(&mut |_, _, chunk| self.add(chunk))?;
            if self.target.file_of(entry).map(|(_, digest, _)| digest) != Some(built.digest) {
                return Err(useless(&format!("what it makes of {} has another digest", self.target.path_of(entry))));
            }
            for page in built.pages {
                if !self.store.contains(&page.id())? {
                    self.store.append_encoded(encode_record(ChunkKind::RecipePage, &[page], LEVEL)?)?;
                }
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(u32, u64, RecipeStream)> {
        let entry = *self.targets.next().ok_or_else(|| useless("it makes more than was asked for"))?;
        let file = self.target.file_of(entry).filter(|(size, ..)| *size > 0);
        let (size, ..) = file.ok_or_else(|| useless("it makes a file that the version does not have"))?;
        Ok((entry, size, RecipeStream::default()))
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        if self.content_bytes + bytes.len() > RECORD_RAW_BYTES_MAX || self.content.len() == RECORD_CHUNKS_MAX {
            self.flush()?;
        }
        let chunk = VerifiedChunk::hash(ChunkKind::Content, bytes::Bytes::copy_from_slice(bytes));
        if !self.store.contains(&chunk.id())? {
            self.content_bytes += bytes.len();
            self.content.push(chunk);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.content.is_empty() {
            self.store.append_encoded(encode_record(ChunkKind::Content, &self.content, LEVEL)?)?;
        }
        self.content.clear();
        self.content_bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if self.current.is_some() || self.targets.next().is_some() {
            return Err(useless("it makes less than was asked for"));
        }
        self.flush()
    }
}

/// Several files of a stored version as one content, read by position.
struct StoredFiles<'a> {
    store: &'a Store,
    /// Position of each chunk's first byte, and its id.
    chunks: Vec<(u64, ChunkId)>,
    len: u64,
}

impl<'a> StoredFiles<'a> {
    fn of(store: &'a Store, manifest: &ManifestFile, entries: &[u32]) -> Result<Self> {
        let (mut chunks, mut len) = (Vec::new(), 0);
        for entry in entries {
            let file = manifest.file_of(*entry);
            let (size, digest, count) = file.ok_or_else(|| useless("it is made of files that the base does not have"))?;
            let mut page = |id| Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone());
            recipe::walk(digest, size, count, &mut page, &mut |line| {
                chunks.push((len, line.id));
                len += u64::from(line.len);
                Ok(())
            })?;
        }
        Ok(Self { store, chunks, len })
    }
}

impl ReadAt for StoredFiles<'_> {
    fn read_exact_at(&self, mut bytes: &mut [u8], mut offset: u64) -> Result<()> {
        let mut place = self.chunks.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        while !bytes.is_empty() {
            let (start, id) = self.chunks.get(place).ok_or_else(|| useless("it reads behind its bases"))?;
            let chunk = self.store.read_chunk(id, ChunkKind::Content)?;
            let from = usize::try_from(offset - start).unwrap_or(usize::MAX);
            let rest =
                chunk.bytes().get(from..).filter(|rest| !rest.is_empty()).ok_or_else(|| useless("it reads behind its bases"))?;
            let now = rest.len().min(bytes.len());
            let (front, back) = std::mem::take(&mut bytes).split_at_mut(now);
            front.copy_from_slice(&rest[..now]);
            bytes = back;
            offset += now as u64;
            place += 1;
        }
        Ok(())
    }
}
