//! Reading bases by position, in bounded reads.

use std::fs::File;
use std::path::Path;

use super::format::damaged;
use super::window::{Bases, PAD};
use crate::error::{At, Error, Result};
use crate::fsx;

/// Bytes read at once.
const BLOCK_BYTES: usize = 64 << 10;
/// Blocks held: 4 MiB.
const BLOCKS: usize = 64;

/// Content that is read by position, by several threads at once: what a patch draws from.
pub trait ReadAt: Sync {
    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// I/O, or the content ends before.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let range = usize::try_from(offset).ok().and_then(|from| self.get(from..from.checked_add(bytes.len())?));
        bytes.copy_from_slice(range.ok_or_else(|| Error::damaged("the base of the patch", "it is shorter than the patch says"))?);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        (**self).read_exact_at(bytes, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        (**self).read_exact_at(bytes, offset)
    }
}

/// A file as base; its path is for messages.
#[derive(Debug)]
pub struct FileBase<'a> {
    file: File,
    path: &'a Path,
}

impl<'a> FileBase<'a> {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// I/O.
    pub fn open(path: &'a Path) -> Result<Self> {
        Ok(Self { file: File::open(path).at("open", path)?, path })
    }
}

impl ReadAt for FileBase<'_> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        fsx::read_exact_at(&self.file, bytes, offset).at("read", self.path)
    }
}

/// Several bases, joined, read block by block.
pub(super) struct Joined<B> {
    /// Each with the position of its first byte.
    parts: Vec<(u64, B)>,
    len: u64,
    /// Number of the block that is held in each place, plus one.
    held: Vec<u64>,
    blocks: Vec<u8>,
}

impl<B: ReadAt> Joined<B> {
    /// Joins `bases`, each with its length; the sum has been checked.
    pub(super) fn new(bases: impl IntoIterator<Item = (B, u64)>) -> Self {
        let mut parts = Vec::new();
        let mut len: u64 = 0;
        for (base, bytes) in bases {
            parts.push((len, base));
            len += bytes;
        }
        let places = usize::try_from(len.div_ceil(BLOCK_BYTES as u64)).unwrap_or(BLOCKS).min(BLOCKS);
        Self { parts, len, held: vec![0; places], blocks: vec![0; places * BLOCK_BYTES] }
    }

    /// Reads from all parts that `bytes` spans.
    fn fill(parts: &[(u64, B)], len: u64, mut bytes: &mut [u8], mut position: u64) -> Result<()> {
        let mut part = parts.partition_point(|(start, _)| *start <= position).saturating_sub(1);
        while !bytes.is_empty() {
            let (start, base) = parts.get(part).ok_or_else(|| damaged("it reads behind its bases"))?;
            let end = parts.get(part + 1).map_or(len, |(next, _)| *next);
            let now = usize::try_from(end - position).unwrap_or(usize::MAX).min(bytes.len());
            let (front, rest) = std::mem::take(&mut bytes).split_at_mut(now);
            base.read_exact_at(front, position - start)?;
            bytes = rest;
            position += now as u64;
            part += 1;
        }
        Ok(())
    }

    fn block(&mut self, number: u64) -> Result<&[u8]> {
        let place = (number % self.held.len() as u64) as usize;
        let at = place * BLOCK_BYTES;
        let start = number * BLOCK_BYTES as u64;
        let len = (self.len - start).min(BLOCK_BYTES as u64) as usize;
        let bytes = &mut self.blocks[at..at + len];
        if self.held[place] != number + 1 {
            self.held[place] = 0;
            Self::fill(&self.parts, self.len, bytes, start)?;
            self.held[place] = number + 1;
        }
        Ok(bytes)
    }
}

impl<B: ReadAt> Bases for Joined<B> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&mut self, position: u64, padded: &mut [u8]) -> Result<()> {
        let before = (PAD as u64).min(position) as usize;
        padded[..PAD - before].fill(0);
        let mut at = PAD - before;
        let mut position = position - before as u64;
        while at < padded.len() && position < self.len {
            let block = self.block(position / BLOCK_BYTES as u64)?;
            let from = (position % BLOCK_BYTES as u64) as usize;
            let now = (block.len() - from).min(padded.len() - at);
            padded[at..at + now].copy_from_slice(&block[from..from + now]);
            at += now;
            position += now as u64;
        }
        padded[at..].fill(0);
        Ok(())
    }
}
