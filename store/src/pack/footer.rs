//! The footer of a sealed pack: a sorted index of its chunks, and a trailer that names the pack.

use std::path::Path;

use bytes::Bytes;

use super::damaged;
use super::sort::LineSorter;
use crate::chunk::fields;
use crate::chunk::record::RecordHeader;
use crate::error::{Error, Result};
use crate::id::ChunkId;

/// Bytes of one line of a footer.
pub(crate) const LINE_BYTES: usize = 42;
/// Bytes of the trailer that ends a sealed pack.
pub(super) const TRAILER_BYTES: usize = 96;

/// Bytes of a footer that are read or written at once.
const PIECE_BYTES: usize = 1 << 20;
const MAGIC: [u8; 4] = *b"CNPF";
const SUM_AT: usize = 80;
const LINES_CONTEXT: &str = "consign 2026-11 v1 pack footer lines";
const TRAILER_CONTEXT: &str = "consign 2026-11 v1 pack trailer";
const NAME_CONTEXT: &str = "consign 2026-11 v1 pack";

/// Where a chunk lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FooterLine {
    pub(crate) id: ChunkId,
    /// Offset of the record, bytes.
    pub(crate) offset: u32,
    /// Place in the record.
    pub(crate) ordinal: u16,
    /// Raw length of the chunk, bytes.
    pub(crate) len: u32,
}

impl FooterLine {
    /// Iterates the lines of the record at `offset`.
    pub(crate) fn of_record(offset: u32, header: &RecordHeader) -> impl Iterator<Item = Self> + '_ {
        (0_u16..).zip(&header.chunks).map(move |(ordinal, chunk)| Self { id: chunk.id, offset, ordinal, len: chunk.len })
    }

    /// Encodes it.
    pub(super) fn encode(&self) -> [u8; LINE_BYTES] {
        let mut line = [0; LINE_BYTES];
        line[..32].copy_from_slice(self.id.as_bytes());
        line[32..36].copy_from_slice(&self.offset.to_le_bytes());
        line[36..38].copy_from_slice(&self.ordinal.to_le_bytes());
        line[38..].copy_from_slice(&self.len.to_le_bytes());
        line
    }

    /// Reads one line of [`LINE_BYTES`].
    pub(crate) fn parse(line: &[u8]) -> Self {
        Self {
            id: ChunkId(fields::array_at(line, 0)),
            offset: fields::u32_at(line, 32),
            ordinal: fields::u16_at(line, 36),
            len: fields::u32_at(line, 38),
        }
    }
}

/// What a pack's name is the digest of, taken record by record.
pub(super) struct NameHasher(blake3::Hasher);

impl NameHasher {
    /// Begins with the header of the pack.
    pub(super) fn new(pack_header: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(NAME_CONTEXT);
        hasher.update(pack_header);
        Self(hasher)
    }

    /// Adds the next record; its header's checksum covers all of it.
    pub(super) fn push(&mut self, header: &RecordHeader) {
        self.0.update(&header.checksum());
    }

    /// Returns the digest.
    pub(super) fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The checked trailer of a sealed pack.
///
/// ```text
///  0 magic "CNPF"  4 version u16  6 hash u8  7 zero  8 required u16  10 optional u16  12 zero ×4
/// 16 footer offset u64   24 lines u32   28 records u32   32 name ×32   64 checksum of the lines ×16   80 checksum of bytes 0–79 ×16
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where the records end and the footer begins, bytes.
    pub(super) footer_at: u64,
    lines: u32,
    pub(super) records: u32,
    pub(super) name: [u8; 32],
    lines_sum: [u8; fields::SUM_BYTES],
}

impl Trailer {
    /// Parses the trailer of a pack file of `file_len` bytes.
    pub(super) fn parse(bytes: &[u8], file_len: u64, path: &Path) -> Result<Self> {
        fields::check_start(bytes, MAGIC, &path.display().to_string())?;
        if fields::sum(TRAILER_CONTEXT, &[&bytes[..SUM_AT]]) != bytes[SUM_AT..TRAILER_BYTES] {
            return Err(damaged(path, "the checksum of its trailer is wrong"));
        }
        let trailer = Self {
            footer_at: fields::u64_at(bytes, 16),
            lines: fields::u32_at(bytes, 24),
            records: fields::u32_at(bytes, 28),
            name: fields::array_at(bytes, 32),
            lines_sum: fields::array_at(bytes, 64),
        };
        let footer_len = u64::from(trailer.lines) * LINE_BYTES as u64 + TRAILER_BYTES as u64;
        if trailer.footer_at.checked_add(footer_len) != Some(file_len) {
            return Err(damaged(path, "its length is not what its trailer says"));
        }
        Ok(trailer)
    }

    /// Bytes of all lines.
    pub(super) fn lines_len(&self) -> usize {
        self.lines as usize * LINE_BYTES
    }

    /// Compares the lines, which `read` reads by position and length in the file, with their checksum.
    pub(super) fn check_lines(&self, path: &Path, read: &mut dyn FnMut(u64, usize) -> Result<Bytes>) -> Result<()> {
        let mut sum = blake3::Hasher::new_derive_key(LINES_CONTEXT);
        for start in (0..self.lines_len()).step_by(PIECE_BYTES) {
            sum.update(&read(self.footer_at + start as u64, PIECE_BYTES.min(self.lines_len() - start))?);
        }
        if sum.finalize().as_bytes()[..fields::SUM_BYTES] == self.lines_sum {
            Ok(())
        } else {
            Err(damaged(path, "the checksum of its footer is wrong"))
        }
    }
}

/// Passes lines and trailer to `write`, piece by piece.
pub(super) fn encode(
    lines: LineSorter,
    footer_at: u64,
    records: u32,
    name: &[u8; 32],
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let count = u32::try_from(lines.len())
        .map_err(|_| Error::Limit { what: "the footer of a pack".to_owned(), limit: "4,294,967,295 chunks".to_owned() })?;
    let mut sum = blake3::Hasher::new_derive_key(LINES_CONTEXT);
    let mut bytes = Vec::with_capacity(PIECE_BYTES + LINE_BYTES);
    lines.finish(&mut |line| {
        bytes.extend_from_slice(line);
        if bytes.len() >= PIECE_BYTES {
            sum.update(&bytes);
            write(&bytes)?;
            bytes.clear();
        }
        Ok(())
    })?;
    sum.update(&bytes);
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    fields::put_start(&mut trailer, MAGIC, 0);
    trailer.extend_from_slice(&[0; 4]);
    trailer.extend_from_slice(&footer_at.to_le_bytes());
    trailer.extend_from_slice(&count.to_le_bytes());
    trailer.extend_from_slice(&records.to_le_bytes());
    trailer.extend_from_slice(name);
    trailer.extend_from_slice(&sum.finalize().as_bytes()[..fields::SUM_BYTES]);
    trailer.extend_from_slice(&fields::sum(TRAILER_CONTEXT, &[&trailer]));
    bytes.extend_from_slice(&trailer);
    write(&bytes)
}
