//! Recipes: the chunk list of a file with several chunks, as a tree of pages of at most [`PAGE_LINES_MAX`] lines.

use std::ops::Range;

use bytes::Bytes;

use crate::chunk::record::ChunkLine;
use crate::chunk::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, ChunkKind, VerifiedChunk, cut};
use crate::error::{Error, Result};
use crate::id::{ChunkId, FileDigest};

/// Most lines in one page.
pub const PAGE_LINES_MAX: usize = 4096;

const MAGIC: [u8; 4] = *b"CNRP";
const VERSION: u16 = 1;
const HASH_BLAKE3: u8 = 1;
const HEADER_BYTES: usize = 16;
const LINE_BYTES: usize = 44;

/// One line of a page: a chunk, or a page one level below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PageLine {
    id: ChunkId,
    /// Raw bytes below.
    bytes: u64,
    /// Chunks below.
    chunks: u32,
}

/// Builds a file's digest and, where it has more than one chunk, its recipe pages, from its chunks in order, as a stream.
#[derive(Debug, Default)]
pub struct RecipeBuilder {
    /// Lines not yet in a page, by level; level 0 lists chunks.
    levels: Vec<Vec<PageLine>>,
    size: u64,
    chunks: u32,
    pages: Vec<VerifiedChunk>,
}

/// What a [`RecipeBuilder`] ends with.
#[derive(Debug)]
pub struct BuiltRecipe {
    /// The file's digest.
    pub digest: FileDigest,
    /// The file's length, bytes.
    pub size: u64,
    /// The file's chunks.
    pub chunks: u32,
    /// Its recipe pages that have not been taken before, root last; none for a file of one chunk or none.
    pub pages: Vec<VerifiedChunk>,
}

impl RecipeBuilder {
    /// Appends the next chunk. A file has fewer than 2³² chunks.
    pub fn push(&mut self, line: ChunkLine) {
        self.size += u64::from(line.len);
        self.chunks = self.chunks.saturating_add(1);
        self.add(0, PageLine { id: line.id, bytes: u64::from(line.len), chunks: 1 });
    }

    /// Takes the pages that are complete so far, so that a huge file's need not all be held.
    pub fn take_pages(&mut self) -> Vec<VerifiedChunk> {
        std::mem::take(&mut self.pages)
    }

    /// Ends the file.
    #[must_use]
    pub fn finish(mut self) -> BuiltRecipe {
        let digest = match (self.chunks, self.levels.first()) {
            (0, _) | (_, None) => FileDigest::empty(),
            (1, Some(lines)) => lines[0].id.into(),
            _ => {
                // Each level's rest goes into a page of the level above, up to the only page of the highest one. A level exists only once the
                // one below it overflowed, so the level above a page is never left with that page alone.
                let mut level = 0;
                loop {
                    let line = self.page(level);
                    level += 1;
                    if level >= self.levels.len() {
                        break line.id.into();
                    }
                    self.add(level, line);
                }
            }
        };
        BuiltRecipe { digest, size: self.size, chunks: self.chunks, pages: self.pages }
    }

    fn add(&mut self, level: usize, line: PageLine) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        // A full level waits for a further line before it becomes a page, so that a tree is never higher than it must be.
        if self.levels[level].len() == PAGE_LINES_MAX {
            let full = self.page(level);
            self.add(level + 1, full);
        }
        self.levels[level].push(line);
    }

    /// Makes the lines of `level` a page and returns its line for the level above.
    fn page(&mut self, level: usize) -> PageLine {
        let lines = std::mem::take(&mut self.levels[level]);
        let page = VerifiedChunk::hash(ChunkKind::RecipePage, encode(level, &lines));
        let line = PageLine {
            id: page.id(),
            bytes: lines.iter().map(|line| line.bytes).sum(),
            chunks: lines.iter().fold(0, |sum: u32, line| sum.saturating_add(line.chunks)),
        };
        self.pages.push(page);
        line
    }
}

/// Cuts and hashes a whole file held in `bytes`.
///
/// # Panics
/// Never: a chunk's length fits 32 bits.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> BuiltRecipe {
    let mut builder = RecipeBuilder::default();
    for range in cut::cut(bytes) {
        let len = u32::try_from(range.len()).expect("a chunk has at most CHUNK_BYTES_MAX bytes");
        builder.push(ChunkLine { id: ChunkId::of_content(&bytes[range]), len });
    }
    builder.finish()
}

/// Walks the recipe of a file: calls `line` for each chunk in order, fetching pages with `page`; verifies every page.
///
/// A file of one chunk has one line and no page, an empty one nothing.
///
/// # Errors
/// What `page` or `line` returns, and damage: wrong sums, counts or levels, more lines than `chunks`.
pub fn walk(
    digest: FileDigest,
    size: u64,
    chunks: u32,
    page: &mut dyn FnMut(ChunkId) -> Result<Bytes>,
    line: &mut dyn FnMut(ChunkLine) -> Result<()>,
) -> Result<()> {
    walk_in(digest, size, chunks, 0..u64::MAX, page, &mut |_, chunk| line(chunk))
}

/// As [`walk`] for the chunks that begin in `range` alone, each with the byte where it begins; only pages that list such are fetched.
///
/// # Errors
/// As [`walk`].
pub fn walk_in(
    digest: FileDigest,
    size: u64,
    chunks: u32,
    range: Range<u64>,
    page: &mut dyn FnMut(ChunkId) -> Result<Bytes>,
    line: &mut dyn FnMut(u64, ChunkLine) -> Result<()>,
) -> Result<()> {
    let root = PageLine { id: digest.into(), bytes: size, chunks };
    if chunks == 0 {
        return if size == 0 && digest == FileDigest::empty() {
            Ok(())
        } else {
            Err(damaged(root.id, "no chunk, yet not empty"))
        };
    }
    if chunks == 1 {
        let len = chunk_len(&root, true)?;
        return if range.contains(&0) { line(0, ChunkLine { id: root.id, len }) } else { Ok(()) };
    }
    let height = height_of(chunks);
    // The open page of each level, highest first: its lines still to be walked, last first.
    let mut open = vec![(height, read_page(&root, height, page)?)];
    let (mut at, mut seen) = (0_u64, 0);
    while let Some((level, lines)) = open.last_mut() {
        let Some(next) = lines.pop() else {
            open.pop();
            continue;
        };
        let begin = at;
        let end = at.checked_add(next.bytes).filter(|end| *end <= size);
        let end = end.ok_or_else(|| damaged(root.id, "its chunks are longer than the file"))?;
        if *level == 0 {
            (at, seen) = (end, seen + 1);
            let len = chunk_len(&next, seen == chunks)?;
            if range.contains(&begin) {
                line(begin, ChunkLine { id: next.id, len })?;
            }
        } else if begin < range.end && end > range.start {
            let level = *level - 1;
            open.push((level, read_page(&next, level, page)?));
        } else {
            (at, seen) = (end, seen + next.chunks);
        }
    }
    Ok(())
}

/// Reads the file size and chunk count that a root page states, without walking the recipe.
///
/// # Errors
/// Damaged or too new.
pub fn sums_of_root(root: ChunkId, bytes: &[u8]) -> Result<(u64, u32)> {
    let (_, lines) = decode(root, bytes)?;
    let sums = lines
        .iter()
        .try_fold((0u64, 0u32), |(size, chunks), line| Some((size.checked_add(line.bytes)?, chunks.checked_add(line.chunks)?)));
    sums.ok_or_else(|| damaged(root, "its sums are over their limits"))
}

fn chunk_len(chunk: &PageLine, last: bool) -> Result<u32> {
    let shortest = if last { 1 } else { CHUNK_BYTES_MIN as u64 };
    u32::try_from(chunk.bytes)
        .ok()
        .filter(|_| (shortest..=CHUNK_BYTES_MAX as u64).contains(&chunk.bytes))
        .ok_or_else(|| damaged(chunk.id, "a chunk's length is out of its limits"))
}

/// Level of the root page of a file with `chunks` chunks, at least two.
fn height_of(chunks: u32) -> usize {
    let mut height = 0;
    let mut pages = (chunks as usize).div_ceil(PAGE_LINES_MAX);
    while pages > 1 {
        pages = pages.div_ceil(PAGE_LINES_MAX);
        height += 1;
    }
    height
}

/// Fetches the page that `line` names, checks it whole and returns its lines, last first.
fn read_page(line: &PageLine, level: usize, page: &mut dyn FnMut(ChunkId) -> Result<Bytes>) -> Result<Vec<PageLine>> {
    let bytes = page(line.id)?;
    if ChunkId::of_page(&bytes) != line.id {
        return Err(damaged(line.id, "its bytes are not what its id names"));
    }
    let (found, mut lines) = decode(line.id, &bytes)?;
    if found != level {
        return Err(damaged(line.id, "it has the wrong level"));
    }
    // The shape follows from the chunk count alone: every line stands for a full subtree, but the last.
    let full = (PAGE_LINES_MAX as u64).pow(u32::try_from(level).unwrap_or(u32::MAX).min(3));
    let mut chunks = u64::from(line.chunks);
    let mut bytes = line.bytes;
    for below in &lines {
        if u64::from(below.chunks) != chunks.min(full) || below.chunks == 0 {
            return Err(damaged(line.id, "its chunk counts are wrong"));
        }
        chunks -= u64::from(below.chunks);
        bytes = bytes.checked_sub(below.bytes).ok_or_else(|| damaged(line.id, "its lengths are wrong"))?;
    }
    if chunks != 0 || bytes != 0 {
        return Err(damaged(line.id, "its sums are wrong"));
    }
    lines.reverse();
    Ok(lines)
}

fn encode(level: usize, lines: &[PageLine]) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_BYTES + lines.len() * LINE_BYTES);
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend([HASH_BLAKE3, u8::try_from(level).expect("2^32 chunks need three levels")]);
    // No required and no optional feature.
    out.extend([0; 4]);
    out.extend(u32::try_from(lines.len()).expect("a page has at most PAGE_LINES_MAX lines").to_le_bytes());
    for line in lines {
        out.extend(line.id.as_bytes());
        out.extend(line.bytes.to_le_bytes());
        out.extend(line.chunks.to_le_bytes());
    }
    out.into()
}

fn decode(id: ChunkId, bytes: &[u8]) -> Result<(usize, Vec<PageLine>)> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged(id, "it ends early"))?;
    if header[..4] != MAGIC {
        return Err(damaged(id, "it does not begin with CNRP"));
    }
    let field = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if field(4) != VERSION || header[6] != HASH_BLAKE3 || field(8) != 0 {
        let why = format!("version {}, hash algorithm {}, required features {:#06x}", field(4), header[6], field(8));
        return Err(Error::TooNew { what: format!("recipe page {id}"), why });
    }
    let count = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
    if count == 0 || count > PAGE_LINES_MAX || body.len() != count * LINE_BYTES {
        return Err(damaged(id, "its line count is wrong"));
    }
    let (lines, _) = body.as_chunks::<LINE_BYTES>();
    let line = |line: &[u8; LINE_BYTES]| {
        let (mut id, mut bytes, mut chunks) = ([0; 32], [0; 8], [0; 4]);
        id.copy_from_slice(&line[..32]);
        bytes.copy_from_slice(&line[32..40]);
        chunks.copy_from_slice(&line[40..]);
        PageLine { id: ChunkId(id), bytes: u64::from_le_bytes(bytes), chunks: u32::from_le_bytes(chunks) }
    };
    Ok((usize::from(header[7]), lines.iter().map(line).collect()))
}

fn damaged(id: ChunkId, why: &str) -> Error {
    Error::damaged(format!("recipe page {id}"), why)
}
