//! Cutting and hashing a file as its bytes come, in pieces of any length.

use crate::chunk::record::ChunkLine;
use crate::chunk::{CHUNK_BYTES_MAX, cut};
use crate::error::Result;
use crate::id::ChunkId;

use super::recipe::{BuiltRecipe, RecipeBuilder};

/// Takes chunks as they are cut: offset in the file, line, bytes.
pub type ChunkSink<'a> = &'a mut dyn FnMut(u64, ChunkLine, &[u8]) -> Result<()>;

/// A file that is being cut and hashed; holds less than two chunks.
#[derive(Debug, Default)]
pub struct RecipeStream {
    held: Vec<u8>,
    offset: u64,
    recipe: RecipeBuilder,
}

impl RecipeStream {
    /// Takes the next bytes and gives `sink` each chunk that is complete.
    ///
    /// # Errors
    /// What `sink` returns.
    pub fn push(&mut self, bytes: &[u8], sink: ChunkSink<'_>) -> Result<()> {
        self.held.extend_from_slice(bytes);
        self.cut(false, sink)
    }

    /// Ends the file: gives `sink` what is left, and returns digest, size and recipe pages.
    ///
    /// # Errors
    /// What `sink` returns.
    ///
    /// # Panics
    /// Never: a chunk's length fits 32 bits.
    pub fn finish(mut self, sink: ChunkSink<'_>) -> Result<BuiltRecipe> {
        self.cut(true, sink)?;
        Ok(self.recipe.finish())
    }

    fn cut(&mut self, last: bool, sink: ChunkSink<'_>) -> Result<()> {
        let mut at = 0;
        while at < self.held.len() && (last || self.held.len() - at >= CHUNK_BYTES_MAX) {
            let len = cut::first_cut(&self.held[at..], last);
            let bytes = &self.held[at..at + len];
            let len = u32::try_from(len).expect("a chunk has at most CHUNK_BYTES_MAX bytes");
            let line = ChunkLine { id: ChunkId::of_content(bytes), len };
            sink(self.offset, line, bytes)?;
            self.recipe.push(line);
            at += bytes.len();
            self.offset += u64::from(len);
        }
        self.held.drain(..at);
        Ok(())
    }
}
