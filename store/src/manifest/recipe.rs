//! Recipes: the chunk list of a file with several chunks, as a tree of pages of at most [`PAGE_LINES_MAX`] lines.

use bytes::Bytes;

use crate::chunk::VerifiedChunk;
use crate::chunk::record::ChunkLine;
use crate::error::Result;
use crate::id::{ChunkId, FileDigest};

/// Most lines in one page.
pub const PAGE_LINES_MAX: usize = 4096;

/// Builds a file's digest and, where it has more than one chunk, its recipe pages, from its chunks in order, as a stream.
#[derive(Debug, Default)]
pub struct RecipeBuilder {}

/// What a [`RecipeBuilder`] ends with.
#[derive(Debug)]
pub struct BuiltRecipe {
    /// The file's digest.
    pub digest: FileDigest,
    /// The file's length, bytes.
    pub size: u64,
    /// The file's chunks.
    pub chunks: u32,
    /// Its recipe pages, root last; none for a file of one chunk or none.
    pub pages: Vec<VerifiedChunk>,
}

impl RecipeBuilder {
    /// Appends the next chunk.
    pub fn push(&mut self, _line: ChunkLine) {
        todo!()
    }

    /// Ends the file.
    #[must_use]
    pub fn finish(self) -> BuiltRecipe {
        todo!()
    }
}

/// Walks the recipe of a file: calls `line` for each chunk in order, fetching verified pages with `page`.
///
/// # Errors
/// What `page` or `line` returns, and damage: wrong sums, counts or levels, more lines than `chunks`.
pub fn walk(
    _digest: FileDigest,
    _size: u64,
    _chunks: u32,
    _page: &mut dyn FnMut(ChunkId) -> Result<Bytes>,
    _line: &mut dyn FnMut(ChunkLine) -> Result<()>,
) -> Result<()> {
    todo!()
}
