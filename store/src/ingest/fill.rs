//! Filling records with the chunks that are new, in the order of the layout.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;

use super::contents::Content;
use super::segment::{CHUNK_HELD_BYTES, Claims};
use crate::chunk::record::{RECORD_CHUNKS_MAX, RECORD_RAW_BYTES_MAX};
use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::error::Result;
use crate::id::ChunkId;
use crate::manifest::recipe;
use crate::store::Store;

/// Where chunks go.
pub(super) enum Sink<'a> {
    /// Into a store.
    Store(&'a Store),
    /// Nowhere, but recipe pages are kept.
    Pages(HashMap<ChunkId, Bytes>),
}

impl<'a> Sink<'a> {
    /// Returns what says whether a content chunk need not be offered; good while the sink is borrowed elsewhere.
    pub fn has(&self) -> impl Fn(&ChunkId) -> Result<bool> + Sync + use<'a> {
        let store = if let Self::Store(store) = self { Some(*store) } else { None };
        move |id| store.map_or(Ok(true), |store| store.contains(id))
    }

    /// Returns what gives the chunks that begin in a range of a file of a size and content, as far as their recipe is there.
    pub fn lines(&self) -> impl Fn(u64, Content, Range<u64>) -> Claims + Sync + use<'a> {
        let store = if let Self::Store(store) = self { Some(*store) } else { None };
        move |size, content, range| {
            let mut claims = Claims::default();
            let Some(store) = store else { return claims };
            let mut page = |id| store.read_chunk(&id, ChunkKind::RecipePage).map(|page| page.bytes().clone());
            let walked = recipe::walk_in(content.digest, size, content.chunks, range.clone(), &mut page, &mut |begin, line| {
                if claims.lines.is_empty() {
                    claims.at = usize::try_from(begin - range.start).unwrap_or(usize::MAX);
                }
                claims.lines.push(line);
                Ok(())
            });
            // A recipe that is lost or damaged claims nothing: it is made again from the source.
            walked.map_or_else(|_| Claims::default(), |()| claims)
        }
    }
}

/// The chunks of one record to be.
pub(super) struct Run {
    pub kind: ChunkKind,
    pub chunks: Vec<VerifiedChunk>,
    pub raw_bytes: usize,
}

impl Run {
    /// Bytes that are kept in memory for it.
    pub fn held_bytes(&self) -> usize {
        self.raw_bytes + self.chunks.len() * CHUNK_HELD_BYTES
    }

    fn new(kind: ChunkKind) -> Self {
        Self { kind, chunks: Vec::new(), raw_bytes: 0 }
    }

    fn has_room(&self, len: usize) -> bool {
        self.raw_bytes + len <= RECORD_RAW_BYTES_MAX && self.chunks.len() < RECORD_CHUNKS_MAX
    }
}

/// Collects new chunks until a record is full, contents and recipe pages apart.
pub(super) struct Filler {
    content: Run,
    pages: Run,
    /// Chunks taken here that the store does not show yet.
    taken: HashSet<ChunkId>,
    /// Content chunks that were new.
    pub new_chunks: u64,
}

impl Filler {
    /// Starts with nothing.
    pub fn new() -> Self {
        Self {
            content: Run::new(ChunkKind::Content),
            pages: Run::new(ChunkKind::RecipePage),
            taken: HashSet::new(),
            new_chunks: 0,
        }
    }

    /// Takes `chunk` if it is new; says whether it was, and gives the run that it did not fit into any more.
    pub fn offer(&mut self, sink: &mut Sink<'_>, chunk: VerifiedChunk) -> Result<(bool, Option<Run>)> {
        match sink {
            Sink::Pages(pages) => {
                if chunk.kind() == ChunkKind::RecipePage {
                    pages.insert(chunk.id(), chunk.bytes().clone());
                }
                return Ok((false, None));
            }
            // Who read it looked it up, but what came before it may have been appended since.
            Sink::Store(store) => {
                if self.taken.contains(&chunk.id()) || store.contains(&chunk.id())? {
                    return Ok((false, None));
                }
            }
        }
        self.taken.insert(chunk.id());
        self.new_chunks += u64::from(chunk.kind() == ChunkKind::Content);
        let run = if chunk.kind() == ChunkKind::Content { &mut self.content } else { &mut self.pages };
        let len = chunk.bytes().len();
        let full = if run.has_room(len) { None } else { Some(std::mem::replace(run, Run::new(chunk.kind()))) };
        run.raw_bytes += len;
        run.chunks.push(chunk);
        Ok((true, full))
    }

    /// Gives the runs that are not full: nothing more will come.
    pub fn rest(&mut self) -> impl Iterator<Item = Run> + use<> {
        let content = std::mem::replace(&mut self.content, Run::new(ChunkKind::Content));
        let pages = std::mem::replace(&mut self.pages, Run::new(ChunkKind::RecipePage));
        [content, pages].into_iter().filter(|run| !run.chunks.is_empty())
    }

    /// Forgets chunks that the store shows now.
    pub fn appended(&mut self, ids: &[ChunkId]) {
        for id in ids {
            self.taken.remove(id);
        }
    }
}
