//! Bringing content by a patch and records at the same time.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::chunk::VerifiedChunk;
use crate::delta::{self, Front, FrontSplit, Limits, Scope, Share, TakeFront, Watched};
use crate::error::{Error, Result};
use crate::id::ChunkId;

use super::Seed;
use super::assembly::Assembly;
use super::content::Content;
use super::needed::ranges_of;
use super::patched::JoinedFiles;

impl Assembly {
    /// Makes a front of each of `shares`, for [`Assembly::take_front`]; none where nothing of it is missing. Call it after [`Assembly::take_local`].
    #[must_use]
    pub fn fronts(&self, shares: &[Share]) -> Vec<Option<Front>> {
        let Some(content) = &self.content else { return shares.iter().map(|_| None).collect() };
        delta::fronts_of(shares, (&self.layout, &content.table), &|ordinal| content.lacking_at(ordinal))
    }

    /// Returns the ordinals still missing that none of `fronts` makes, ascending, each distinct chunk once.
    #[must_use]
    pub fn missing_behind(&self, fronts: &[Arc<Front>]) -> Vec<Range<u32>> {
        let missing = self.missing();
        if fronts.is_empty() {
            return missing;
        }
        ranges_of(missing.into_iter().flatten().filter(|ordinal| !fronts.iter().any(|front| front.makes(*ordinal))))
    }

    /// Takes something of what is left to `fronts`, as [`delta::hand_over`] does: whoever brings records has nothing else to bring.
    #[must_use]
    pub fn hand_over(&self, fronts: &[Arc<Front>]) -> bool {
        self.content.as_ref().is_some_and(|content| delta::hand_over(fronts, &|ordinal| content.lacking_at(ordinal)))
    }

    /// Makes what is left to `front` of what `scope` says by a patch from what it says of `seed`, and gives `progress` the raw bytes as they are
    /// there. Returns their sum.
    ///
    /// Call it after [`Assembly::take_local`], beside [`Assembly::accept`]. The patch is not trusted: each chunk counts by its id, and the first
    /// that is another one is an error, whereupon nothing is left to the front.
    ///
    /// # Errors
    /// The patch is damaged, made of something else, or for something else: fetch records instead. I/O.
    pub fn take_front(
        &self,
        patch: &mut (dyn Read + Send),
        (scope, front): (&Scope, &Front),
        seed: &Seed,
        progress: &dyn Fn(u64),
    ) -> Result<u64> {
        let early = || Error::damaged("this assembly", "a patch came before the local content was taken");
        let content = self.content.as_ref().ok_or_else(early)?;
        let mut split = FrontSplit::of(front, &content.table, Placing { assembly: self, content, progress, made: 0 });
        let ended = JoinedFiles::of(seed, scope).and_then(|base| {
            let (mut scratch, watched) = (|| self.staging.scratch(), Watched { base: &base, front });
            delta::apply_joined(patch, &Limits::default(), (&watched, base.len), &mut scratch, &mut |bytes| split.push(bytes))
        });
        split.finish(ended).map(|placing| placing.made)
    }
}

/// Puts chunks where they belong.
struct Placing<'a> {
    assembly: &'a Assembly,
    content: &'a Content,
    progress: &'a dyn Fn(u64),
    made: u64,
}

impl TakeFront for Placing<'_> {
    fn wants(&self, ordinal: u32, _: &ChunkId) -> Result<bool> {
        Ok(self.content.lacking_at(ordinal) > 0)
    }

    fn take(&mut self, chunk: VerifiedChunk) -> Result<()> {
        let filled = self.content.fill(self.assembly.tree(), &chunk.id(), chunk.bytes())?;
        self.assembly.patch_bytes.fetch_add(filled.written, Ordering::Relaxed);
        self.made += filled.written;
        (self.progress)(filled.new);
        Ok(())
    }
}
