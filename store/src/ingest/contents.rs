//! What has been read of a source's files, found by item number; of a fixed size in memory.

use std::path::Path;

use crate::error::Result;
use crate::id::FileDigest;
use crate::spill::{self, Words, WordsWriter};

/// Item number, number of chunks, and the digest.
const WORDS: usize = 10;

/// What was read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub digest: FileDigest,
    pub chunks: u32,
}

/// Contents as they are found, in any order.
#[derive(Debug)]
pub(super) struct ContentsWriter(WordsWriter<WORDS>);

impl ContentsWriter {
    /// Puts down what is much in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self(WordsWriter::in_folder(folder))
    }

    /// Takes the content of a file; once for each.
    pub fn push(&mut self, item: u32, content: Content) -> Result<()> {
        let mut words = [0; WORDS];
        [words[0], words[1]] = [item, content.chunks];
        for (word, bytes) in words[2..].iter_mut().zip(content.digest.0.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        self.0.push(words)
    }

    /// Ends the taking.
    pub fn finish(self, folder: &Path) -> Result<Contents> {
        spill::sorted(self.0.finish()?.from(0), |words| words[0], folder).map(Contents)
    }
}

/// Contents that were found, in the order of the items.
#[derive(Debug, Default)]
pub(super) struct Contents(Words<WORDS>);

impl Contents {
    /// Finds the content of a file.
    pub fn get(&self, item: u32) -> Option<Content> {
        let words = self.0.get(self.0.partition_point(|words| words[0] < item)).filter(|words| words[0] == item)?;
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(&words[2..]) {
            *bytes = word.to_le_bytes();
        }
        Some(Content { digest: FileDigest(digest), chunks: words[1] })
    }
}
