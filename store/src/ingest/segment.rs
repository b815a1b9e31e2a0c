//! The segments of a large file: each is cut by itself, and joined to the one before where both see the same cuts.
//!
//! Where a chunk ends depends on nothing before its start. So two ways of cutting the same bytes go on alike from the first start that they share,
//! which as a rule comes after a few chunks: only those before it are cut again.

use bytes::Bytes;

use crate::chunk::record::ChunkLine;
use crate::chunk::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, ChunkKind, VerifiedChunk, cut};
use crate::error::Result;
use crate::id::ChunkId;

/// What a large file is divided into, bytes.
pub(super) const SEGMENT_BYTES: usize = 4 << 20;
/// What is read of a segment at most: the last chunk that begins in it may reach into the next.
pub(super) const SEGMENT_READ_BYTES_MAX: usize = SEGMENT_BYTES + CHUNK_BYTES_MAX;

/// What a chunk on its way holds besides its bytes: itself, its line, its id among those on their way and in its record. A file of 100 bytes costs
/// more for these than for its content.
pub(super) const CHUNK_HELD_BYTES: usize = 192;

/// A chunk that was found, and its bytes if the sink lacks it.
pub(super) struct FoundChunk {
    pub line: ChunkLine,
    pub lacking: Option<VerifiedChunk>,
}

/// Says whether the sink has a content chunk.
pub(super) type Has<'a> = dyn Fn(&ChunkId) -> Result<bool> + Sync + 'a;

impl FoundChunk {
    /// Hashes `bytes` and looks them up.
    pub fn of(bytes: Bytes, has: &Has<'_>) -> Result<Self> {
        let len = u32::try_from(bytes.len()).expect("a chunk has at most CHUNK_BYTES_MAX bytes");
        let chunk = VerifiedChunk::hash(ChunkKind::Content, bytes);
        let line = ChunkLine { id: chunk.id(), len };
        Ok(Self { line, lacking: if has(&line.id)? { None } else { Some(chunk) } })
    }
}

/// A segment of a large file, cut as if a chunk began where it begins.
pub(super) struct Segment {
    /// Its bytes and those behind it that its last chunk may need.
    bytes: Bytes,
    /// Says whether the file ends with `bytes`.
    is_last: bool,
    /// Where chunks begin in `bytes`, below [`SEGMENT_BYTES`].
    cuts: Vec<(usize, FoundChunk)>,
}

impl Segment {
    /// Cuts `bytes`.
    pub fn cut(bytes: Bytes, is_last: bool, has: &Has<'_>) -> Result<Self> {
        let mut cuts = Vec::new();
        let mut at = 0;
        while at < bytes.len().min(SEGMENT_BYTES) {
            let end = at + cut::first_cut(&bytes[at..], is_last);
            cuts.push((at, FoundChunk::of(bytes.slice(at..end), has)?));
            at = end;
        }
        Ok(Self { bytes, is_last, cuts })
    }

    /// Bytes that are kept in memory for it, with those of as many chunks as it may turn out to have.
    pub fn held_bytes(&self) -> usize {
        self.bytes.len() + (self.bytes.len() / CHUNK_BYTES_MIN + 1) * CHUNK_HELD_BYTES
    }

    /// Gives the chunks that begin in this segment when the file is cut from its start, where the first one begins at `from`; and where the
    /// first one begins in the next segment.
    pub fn join(self, from: usize, has: &Has<'_>) -> Result<(Vec<FoundChunk>, usize)> {
        let Self { bytes, is_last, cuts } = self;
        let mut cuts = cuts.into_iter().peekable();
        let mut chunks = Vec::with_capacity(cuts.len());
        let mut at = from;
        while at < bytes.len().min(SEGMENT_BYTES) {
            while cuts.next_if(|(start, _)| *start < at).is_some() {}
            let chunk = match cuts.next_if(|(start, _)| *start == at) {
                Some((_, chunk)) => chunk,
                None => FoundChunk::of(bytes.slice(at..at + cut::first_cut(&bytes[at..], is_last)), has)?,
            };
            at += chunk.line.len as usize;
            chunks.push(chunk);
        }
        detach_few(&mut chunks, bytes.len());
        Ok((chunks, at.saturating_sub(SEGMENT_BYTES)))
    }
}

/// Raw bytes of the chunks that the sink lacks.
pub(super) fn lacking_bytes(chunks: &[FoundChunk]) -> usize {
    chunks.iter().filter_map(|chunk| chunk.lacking.as_ref()).map(|chunk| chunk.bytes().len()).sum()
}

/// Copies the chunks that the sink lacks out of their buffer of `buffer_bytes` where they are less than half of it, so that it need not be kept
/// for them.
pub(super) fn detach_few(chunks: &mut [FoundChunk], buffer_bytes: usize) {
    if lacking_bytes(chunks) < buffer_bytes / 2 {
        for chunk in chunks.iter_mut().filter_map(|chunk| chunk.lacking.as_mut()) {
            chunk.detach();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a xorshift generator, each taken `repeat` times: 0 makes zeros.
    fn generated(len: usize, repeat: usize) -> Bytes {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(len + 8 * repeat);
        while bytes.len() < len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let part = state.to_le_bytes();
            bytes.extend(part.iter().flat_map(|&byte| std::iter::repeat_n(if repeat == 0 { 0 } else { byte }, repeat.max(1))));
        }
        bytes.truncate(len);
        bytes.into()
    }

    fn joined(bytes: &Bytes) -> Vec<usize> {
        let (mut ends, mut from, mut end) = (Vec::new(), 0, 0);
        for start in (0..bytes.len()).step_by(SEGMENT_BYTES) {
            let stop = bytes.len().min(start + SEGMENT_READ_BYTES_MAX);
            let segment = Segment::cut(bytes.slice(start..stop), stop == bytes.len(), &|_| Ok(false)).unwrap();
            let (chunks, next) = segment.join(from, &|_| Ok(true)).unwrap();
            for chunk in chunks {
                let is = end..end + chunk.line.len as usize;
                assert_eq!(chunk.line.id, ChunkId::of_content(&bytes[is.clone()]));
                end = is.end;
                ends.push(end);
            }
            from = next;
        }
        ends
    }

    #[test]
    fn segments_join_to_the_cuts_of_the_whole() {
        for (extra, repeat) in
            [(0, 1), (1, 1), (CHUNK_BYTES_MAX, 1), (CHUNK_BYTES_MAX + 1, 1), (1 << 20, 7), (77, 0), (5000, 4096)]
        {
            let bytes = generated(2 * SEGMENT_BYTES + extra, repeat);
            let whole: Vec<usize> = cut::cut(&bytes).map(|range| range.end).collect();
            assert_eq!(joined(&bytes), whole, "{extra} {repeat}");
        }
    }

    #[test]
    fn few_lacking_chunks_do_not_keep_their_buffer() {
        let bytes = generated(SEGMENT_BYTES, 1);
        let first = ChunkId::of_content(&bytes[cut::cut(&bytes).next().unwrap()]);
        let segment = Segment::cut(bytes.clone(), true, &|id| Ok(*id != first)).unwrap();
        let (chunks, _) = segment.join(0, &|_| Ok(true)).unwrap();
        let lacking: Vec<_> = chunks.iter().filter_map(|chunk| chunk.lacking.as_ref()).collect();
        assert_eq!(lacking.len(), 1);
        assert_eq!(lacking[0].id(), first);
        assert!(!bytes.as_ptr_range().contains(&lacking[0].bytes().as_ptr()));
    }
}
