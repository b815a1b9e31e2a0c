//! Taking the joined target of a patch apart into its files, or the part of one.

use std::ops::Range;

use super::scope::{Scope, Targets, useless};
use crate::error::Result;
use crate::manifest::file::ManifestFile;
use crate::manifest::recipe::BuiltRecipe;
use crate::manifest::stream::RecipeStream;

/// Whoever takes what a patch makes.
pub(crate) trait Take {
    /// Takes a chunk of the file `entry`, which begins at `offset` in it. Nothing is believed yet.
    fn chunk(&mut self, entry: u32, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Takes the recipe of a file, or of a part as if it were a file, which is the one expected.
    fn recipe(&mut self, built: &BuiltRecipe) -> Result<()>;
}

/// Cuts and hashes what a patch makes, piece by piece, and compares each with the manifest, or with what the part should be.
pub(crate) struct Split<'a, T> {
    target: &'a ManifestFile,
    scope: &'a Scope,
    pieces: std::vec::IntoIter<(u32, Range<u64>)>,
    current: Option<(u32, Range<u64>, RecipeStream)>,
    made: u64,
    taker: T,
}

impl<'a, T: Take> Split<'a, T> {
    pub(crate) fn new(target: &'a ManifestFile, scope: &'a Scope, taker: T) -> Result<Self> {
        Ok(Self { target, scope, pieces: scope.pieces(target)?.into_iter(), current: None, made: 0, taker })
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (entry, mut left, mut stream) = match self.current.take() {
                Some(current) => current,
                None => self.next()?,
            };
            let now = usize::try_from(left.end - left.start).unwrap_or(usize::MAX).min(bytes.len());
            let (front, rest) = bytes.split_at(now);
            let start = self.start();
            stream.push(front, &mut |offset, _, chunk| self.taker.chunk(entry, start + offset, chunk))?;
            bytes = rest;
            left.start += now as u64;
            if left.is_empty() {
                self.complete(entry, stream)?;
            } else {
                self.current = Some((entry, left, stream));
            }
        }
        Ok(())
    }

    /// Ends the target; returns whoever took it, and how many bytes that were.
    pub(crate) fn finish(mut self) -> Result<(T, u64)> {
        if self.current.is_some() || self.pieces.next().is_some() {
            return Err(useless("it makes less than was asked for"));
        }
        Ok((self.taker, self.made))
    }

    fn next(&mut self) -> Result<(u32, Range<u64>, RecipeStream)> {
        let (entry, range) = self.pieces.next().ok_or_else(|| useless("it makes more than was asked for"))?;
        Ok((entry, range, RecipeStream::default()))
    }

    /// Where in its file the piece begins: a part is the only piece of its patch.
    fn start(&self) -> u64 {
        self.scope.part().map_or(0, |part| part.from)
    }

    fn complete(&mut self, entry: u32, stream: RecipeStream) -> Result<()> {
        let start = self.start();
        let built = stream.finish(&mut |offset, _, chunk| self.taker.chunk(entry, start + offset, chunk))?;
        let expected = match self.scope.targets {
            Targets::Files(_) => self.target.file_of(entry).map(|(_, digest, chunks)| (digest, chunks)),
            Targets::Part(part) => Some((part.digest, part.chunks)),
        };
        if expected != Some((built.digest, built.chunks)) {
            return Err(useless(&format!("what it makes of {} has another digest", self.target.path_of(entry))));
        }
        self.made += built.size;
        self.taker.recipe(&built)
    }
}
