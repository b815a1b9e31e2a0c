//! The record: header and one compressed frame, the same bytes on disk and on the wire (byte layout: docs/formats.md).

use bytes::Bytes;

use crate::chunk::{ChunkKind, VerifiedChunk};
use crate::error::Result;
use crate::id::ChunkId;

/// Most raw bytes in one record.
pub const RECORD_RAW_BYTES_MAX: usize = 2 << 20;
/// Most chunks in one record.
pub const RECORD_CHUNKS_MAX: usize = 16 << 10;
/// Bytes of the fixed part of a record header.
pub const RECORD_FIXED_BYTES: usize = 64;

/// One chunk's line in a record header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLine {
    /// The chunk's id.
    pub id: ChunkId,
    /// Its raw length, bytes.
    pub len: u32,
}

/// A parsed and checked record header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the chunks are.
    pub kind: ChunkKind,
    /// Length of the header, chunk lines included, bytes.
    pub header_len: usize,
    /// Length of the encoded payload, bytes.
    pub payload_len: usize,
    /// Sum of the raw chunk lengths, bytes.
    pub raw_len: usize,
    /// The chunks in order.
    pub chunks: Vec<ChunkLine>,
}

impl RecordHeader {
    /// Returns how many bytes the header that starts with `fixed` ([`RECORD_FIXED_BYTES`]) has in all, after checking magic, version,
    /// features and limits.
    ///
    /// # Errors
    /// Damaged or too new.
    pub fn header_len(_fixed: &[u8]) -> Result<usize> {
        todo!()
    }

    /// Parses a whole header (checksum, limits, sums).
    ///
    /// # Errors
    /// Damaged, too new, or over a limit.
    pub fn parse(_bytes: &[u8]) -> Result<Self> {
        todo!()
    }

    /// Length of the whole record, bytes.
    #[must_use]
    pub fn record_len(&self) -> usize {
        self.header_len + self.payload_len
    }
}

/// Encodes `chunks` (all of `kind`, at most [`RECORD_RAW_BYTES_MAX`] raw bytes) as one record, zstd `level`, raw where that is smaller.
///
/// # Errors
/// Over a limit, or no chunk at all.
pub fn encode(_kind: ChunkKind, _chunks: &[VerifiedChunk], _level: i32) -> Result<Bytes> {
    todo!()
}

/// A record whose every chunk has been decoded and compared with its id.
#[derive(Debug, Clone)]
pub struct VerifiedRecord {
    header: RecordHeader,
    encoded: Bytes,
    raw: Bytes,
}

impl VerifiedRecord {
    /// Decodes one whole record and verifies its every chunk.
    ///
    /// # Errors
    /// Damaged (naming the first chunk that is wrong), too new, or over a limit; memory stays bounded by the header's checked lengths.
    pub fn decode(_encoded: Bytes) -> Result<Self> {
        todo!()
    }

    /// Returns the header.
    #[must_use]
    pub fn header(&self) -> &RecordHeader {
        &self.header
    }

    /// Returns the record as stored and as sent.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// Iterates the chunks in order; their bytes share one buffer.
    pub fn chunks(&self) -> impl Iterator<Item = VerifiedChunk> + '_ {
        let _ = &self.raw;
        std::iter::empty()
    }
}

/// Splits a byte stream into whole records without decoding them: push what arrives, take what is complete.
#[derive(Debug, Default)]
pub struct RecordSplitter {}

impl RecordSplitter {
    /// Appends received bytes.
    pub fn push(&mut self, _bytes: &[u8]) {
        todo!()
    }

    /// Takes the next whole record, or `None` until more has arrived.
    ///
    /// # Errors
    /// The header is damaged, too new, or over a limit.
    pub fn next_record(&mut self) -> Result<Option<Bytes>> {
        todo!()
    }

    /// Bytes held that belong to no whole record yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        todo!()
    }
}
