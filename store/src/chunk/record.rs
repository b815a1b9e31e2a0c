//! The record: header and one compressed frame, the same bytes on disk and on the wire (byte layout: docs/formats.md).
//!
//! ```text
//!  0 magic "CNRC"   4 version u16   6 hash u8   7 codec u8   8 required u16   10 optional u16   12 kind u8   13 zero ×3
//! 16 chunks u32    20 raw length u32   24 payload length u32   28 zero ×4   32 frame checksum ×16 (zero: raw)   48 header checksum ×16
//! 64 chunks × (id ×32, length u32)   then the payload
//! ```

use std::ops::Range;

use bytes::Bytes;

pub use super::split::RecordSplitter;
use super::{CHUNK_BYTES_MAX, ChunkKind, VerifiedChunk, codec, fields};
use crate::error::{Error, Result};
use crate::id::ChunkId;

/// Most raw bytes in one record.
pub const RECORD_RAW_BYTES_MAX: usize = 2 << 20;
/// Most chunks in one record.
pub const RECORD_CHUNKS_MAX: usize = 16 << 10;
/// Bytes of the fixed part of a record header.
pub const RECORD_FIXED_BYTES: usize = 64;
/// Bytes of one chunk line of a record header.
pub const RECORD_LINE_BYTES: usize = 36;
/// Most bytes of a record's header.
pub const RECORD_HEADER_BYTES_MAX: usize = RECORD_FIXED_BYTES + RECORD_CHUNKS_MAX * RECORD_LINE_BYTES;
/// Most bytes in one record, header included.
pub const RECORD_BYTES_MAX: usize = RECORD_HEADER_BYTES_MAX + RECORD_RAW_BYTES_MAX;

const MAGIC: [u8; 4] = *b"CNRC";
const CODEC_RAW: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const PAYLOAD_SUM_AT: usize = 32;
const HEADER_SUM_AT: usize = 48;
const HEADER_CONTEXT: &str = "consign 2026-11 v1 record header";
const PAYLOAD_CONTEXT: &str = "consign 2026-11 v1 record payload";
/// zstd must save at least one part in this many, or the payload is stored raw.
pub(super) const SAVED_PART_MIN: usize = 64;

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
    codec: u8,
    payload_sum: [u8; fields::SUM_BYTES],
    header_sum: [u8; fields::SUM_BYTES],
}

impl RecordHeader {
    /// Returns how many bytes the header that starts with `fixed` ([`RECORD_FIXED_BYTES`]) has in all, after checking magic, version,
    /// features and limits.
    ///
    /// # Errors
    /// Damaged or too new.
    pub fn header_len(fixed: &[u8]) -> Result<usize> {
        Ok(Self::parse_fixed(fixed)?.header_len)
    }

    /// Returns how many bytes the record that starts with `fixed` has in all, after the checks of [`RecordHeader::header_len`].
    ///
    /// # Errors
    /// Damaged or too new.
    pub fn whole_len(fixed: &[u8]) -> Result<usize> {
        Ok(Self::parse_fixed(fixed)?.record_len())
    }

    /// Parses a whole header (checksum, limits, sums); `bytes` may go on behind it.
    ///
    /// # Errors
    /// Damaged, too new, or over a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut header = Self::parse_fixed(bytes)?;
        let lines = bytes.get(RECORD_FIXED_BYTES..header.header_len).ok_or_else(|| damaged("it ends inside its header"))?;
        if fields::sum(HEADER_CONTEXT, &[&bytes[..HEADER_SUM_AT], lines]) != header.header_sum {
            return Err(damaged("the checksum of its header is wrong"));
        }
        header.chunks = lines
            .chunks_exact(RECORD_LINE_BYTES)
            .map(|line| ChunkLine { id: ChunkId(fields::array_at(line, 0)), len: fields::u32_at(line, 32) })
            .collect();
        if header.chunks.iter().any(|line| line.len == 0 || line.len as usize > CHUNK_BYTES_MAX) {
            return Err(damaged("a chunk length is zero or over the limit"));
        }
        let sum: u64 = header.chunks.iter().map(|line| u64::from(line.len)).sum();
        if sum != header.raw_len as u64 {
            return Err(damaged("its chunk lengths do not add up to its raw length"));
        }
        Ok(header)
    }

    /// Says whether `bytes`, which begin with what [`RecordHeader::parse`] finds too new, are a header of this version of which just that is damaged:
    /// with what this version writes there its checksum is right.
    #[must_use]
    pub fn is_damaged_start(bytes: &[u8]) -> bool {
        let is_whole = |codec| {
            let start = fields::start(MAGIC, codec);
            let behind = bytes.get(start.len()..).unwrap_or_default();
            Self::parse(&[&start, behind].concat()).is_ok()
        };
        [CODEC_RAW, CODEC_ZSTD].into_iter().any(is_whole)
    }

    /// Reads the fixed part and checks all that can be checked before more is read or allocated.
    fn parse_fixed(bytes: &[u8]) -> Result<Self> {
        fields::check_start(bytes, MAGIC, "record")?;
        if bytes.len() < RECORD_FIXED_BYTES {
            return Err(damaged("it ends inside its header"));
        }
        let codec = bytes[7];
        let kind = match bytes[12] {
            0 => ChunkKind::Content,
            1 => ChunkKind::RecipePage,
            _ => return Err(damaged("its kind is unknown")),
        };
        let count = fields::len_at(bytes, 16);
        let raw_len = fields::len_at(bytes, 20);
        let payload_len = fields::len_at(bytes, 24);
        if count == 0 || count > RECORD_CHUNKS_MAX {
            return Err(damaged("its chunk count is zero or over the limit"));
        }
        if raw_len == 0 || raw_len > RECORD_RAW_BYTES_MAX {
            return Err(damaged("its raw length is zero or over the limit"));
        }
        let payload_fits = match codec {
            CODEC_RAW => payload_len == raw_len,
            CODEC_ZSTD => payload_len > 0 && payload_len < raw_len,
            _ => return Err(Error::TooNew { what: "record".to_owned(), why: format!("codec {codec}") }),
        };
        if !payload_fits {
            return Err(damaged("its payload length does not fit its codec"));
        }
        let payload_sum = fields::array_at(bytes, PAYLOAD_SUM_AT);
        if codec == CODEC_RAW && payload_sum != [0; fields::SUM_BYTES] {
            return Err(damaged("its payload is raw and yet has a checksum"));
        }
        Ok(Self {
            kind,
            header_len: RECORD_FIXED_BYTES + count * RECORD_LINE_BYTES,
            payload_len,
            raw_len,
            chunks: Vec::new(),
            codec,
            payload_sum,
            header_sum: fields::array_at(bytes, HEADER_SUM_AT),
        })
    }

    /// Length of the whole record, bytes.
    #[must_use]
    pub fn record_len(&self) -> usize {
        self.header_len + self.payload_len
    }

    /// Returns the checksum of the header, which covers its lengths, its chunk ids and the checksum of a compressed payload.
    #[must_use]
    pub fn checksum(&self) -> [u8; 16] {
        self.header_sum
    }

    /// Compares the payload in `record`, the whole record that this header was parsed from, with its length and with what the header says of its
    /// bytes, without decoding it.
    ///
    /// # Errors
    /// Damaged.
    pub fn check_payload(&self, record: &[u8]) -> Result<()> {
        let payload = self.payload_of(record)?;
        if self.codec == CODEC_RAW { self.check_chunks(payload) } else { self.check_frame(payload) }
    }

    /// Returns the payload of `record` if that has the right length.
    fn payload_of<'a>(&self, record: &'a [u8]) -> Result<&'a [u8]> {
        if record.len() != self.record_len() {
            return Err(damaged("its length is not what its header says"));
        }
        Ok(&record[self.header_len..])
    }

    fn check_frame(&self, frame: &[u8]) -> Result<()> {
        let same = fields::sum(PAYLOAD_CONTEXT, &[frame]) == self.payload_sum;
        if same { Ok(()) } else { Err(damaged("the checksum of its payload is wrong")) }
    }

    /// Compares each chunk in `raw` with its id.
    fn check_chunks(&self, raw: &[u8]) -> Result<()> {
        match self.places().find(|(line, place)| self.kind.id_of(&raw[place.clone()]) != line.id) {
            Some((line, _)) => Err(Error::damaged(format!("chunk {} of a record", line.id), "its bytes have another digest")),
            None => Ok(()),
        }
    }

    /// Iterates the chunk lines with the place of each in the raw bytes.
    fn places(&self) -> impl Iterator<Item = (ChunkLine, Range<usize>)> + '_ {
        let mut end = 0;
        self.chunks.iter().map(move |&line| {
            let start = end;
            end += line.len as usize;
            (line, start..end)
        })
    }
}

fn damaged(why: &str) -> Error {
    Error::damaged("record", why)
}

/// Encodes `chunks` (all of `kind`, at most [`RECORD_RAW_BYTES_MAX`] raw bytes) as one record, zstd `level`, raw where that is smaller.
///
/// # Errors
/// Over a limit, no chunk at all, an empty chunk, or a chunk of another kind.
pub fn encode(kind: ChunkKind, chunks: &[VerifiedChunk], level: i32) -> Result<Bytes> {
    let raw_len = check(kind, chunks)?;
    let mut raw = Vec::with_capacity(raw_len);
    for chunk in chunks {
        raw.extend_from_slice(&chunk.bytes);
    }
    let mut payload = vec![0; raw_len - raw_len.div_ceil(SAVED_PART_MIN)];
    // A frame that saves too little does not fit and is an error here: then the raw bytes are the payload.
    let mut record = if let Ok(frame_len) = codec::compress(&raw, level, &mut payload) {
        payload.truncate(frame_len);
        header_of(kind, chunks, &Payload::Zstd(&payload))
    } else {
        payload = raw;
        header_of(kind, chunks, &Payload::Raw(&[&payload]))
    };
    record.reserve_exact(payload.len());
    record.extend_from_slice(&payload);
    Ok(Bytes::from(record))
}

/// The payload of a record that is being encoded.
pub(super) enum Payload<'a> {
    /// The chunks' bytes.
    Raw(&'a [&'a [u8]]),
    /// One frame.
    Zstd(&'a [u8]),
}

/// Makes the header of a record of `chunks`, which [`check`] has seen, and `payload`.
pub(super) fn header_of(kind: ChunkKind, chunks: &[VerifiedChunk], payload: &Payload<'_>) -> Vec<u8> {
    let (codec, parts) = match payload {
        Payload::Raw(parts) => (CODEC_RAW, *parts),
        Payload::Zstd(frame) => (CODEC_ZSTD, std::slice::from_ref(frame)),
    };
    let raw_len = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    let payload_len = parts.iter().map(|part| part.len()).sum();
    let header_len = RECORD_FIXED_BYTES + chunks.len() * RECORD_LINE_BYTES;
    let mut header = Vec::with_capacity(header_len);
    fields::put_start(&mut header, MAGIC, codec);
    header.extend_from_slice(&[u8::from(kind == ChunkKind::RecipePage), 0, 0, 0]);
    for length in [chunks.len(), raw_len, payload_len, 0] {
        header.extend_from_slice(&u32_of(length).to_le_bytes());
    }
    // The ids in the header say what a raw payload is: hashing it once more would say nothing new.
    header.extend_from_slice(&match payload {
        Payload::Raw(_) => [0; fields::SUM_BYTES],
        Payload::Zstd(frame) => fields::sum(PAYLOAD_CONTEXT, &[frame]),
    });
    let mut lines = Vec::with_capacity(header_len - RECORD_FIXED_BYTES);
    for chunk in chunks {
        lines.extend_from_slice(chunk.id.as_bytes());
        lines.extend_from_slice(&u32_of(chunk.bytes.len()).to_le_bytes());
    }
    header.extend_from_slice(&fields::sum(HEADER_CONTEXT, &[&header[..], &lines]));
    header.extend_from_slice(&lines);
    header
}

/// Checks that `chunks` may form one record; returns their raw bytes.
pub(super) fn check(kind: ChunkKind, chunks: &[VerifiedChunk]) -> Result<usize> {
    let over = |limit: String| Err(Error::Limit { what: "a record to be written".to_owned(), limit });
    let raw_len: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    if chunks.len() > RECORD_CHUNKS_MAX {
        return over(format!("{RECORD_CHUNKS_MAX} chunks"));
    }
    if raw_len > RECORD_RAW_BYTES_MAX {
        return over(format!("{RECORD_RAW_BYTES_MAX} raw bytes"));
    }
    if chunks.iter().any(|chunk| chunk.bytes.len() > CHUNK_BYTES_MAX) {
        return over(format!("{CHUNK_BYTES_MAX} bytes a chunk"));
    }
    if chunks.is_empty() || chunks.iter().any(|chunk| chunk.bytes.is_empty() || chunk.kind != kind) {
        return Err(Error::Refused {
            path: "a record to be written".to_owned(),
            why: "it needs at least one chunk, none of them empty or of another kind".to_owned(),
        });
    }
    Ok(raw_len)
}

fn u32_of(length: usize) -> u32 {
    u32::try_from(length).expect("lengths in a record are checked against limits below 4 GiB")
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
    pub fn decode(encoded: Bytes) -> Result<Self> {
        let header = RecordHeader::parse(&encoded)?;
        let payload = encoded.slice_ref(header.payload_of(&encoded)?);
        let raw = if header.codec == CODEC_RAW {
            payload
        } else {
            header.check_frame(&payload)?;
            Bytes::from(codec::decompress(&payload, header.raw_len).map_err(|error| damaged(&format!("its payload: {error}")))?)
        };
        header.check_chunks(&raw)?;
        Ok(Self { header, encoded, raw })
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

    /// Returns the chunk at `ordinal` (0 is the first), if the record has that many.
    #[must_use]
    pub fn chunk(&self, ordinal: u16) -> Option<VerifiedChunk> {
        // The place first: each chunk that is made counts one more holder of the buffer.
        self.header.places().nth(usize::from(ordinal)).map(|place| self.chunk_in(place))
    }

    /// Iterates the chunks in order; their bytes share one buffer.
    pub fn chunks(&self) -> impl Iterator<Item = VerifiedChunk> + '_ {
        self.header.places().map(|place| self.chunk_in(place))
    }

    fn chunk_in(&self, (line, place): (ChunkLine, Range<usize>)) -> VerifiedChunk {
        VerifiedChunk { id: line.id, kind: self.header.kind, bytes: self.raw.slice(place) }
    }
}
