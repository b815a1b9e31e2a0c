//! Encoding many records one after the other, for who puts content into a store: more care for the bytes, no memory fetched anew for each.

use std::io;

use bytes::Bytes;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{self, CParameter};

use super::record::{self, Payload, SAVED_PART_MIN};
use super::{ChunkKind, VerifiedChunk};
use crate::error::{At, Result};

/// zstd's default, the best bytes for the time.
const LEVEL: i32 = 3;
/// Raw bytes from which a record is compressed by what is in it. The tables of the match finder are cleared for each frame, which for shorter ones
/// costs more than larger tables bring.
const LARGE_RAW_BYTES_MIN: usize = 512 << 10;
/// Tables that remember most of a large record; what the level says are 17 and 16.
const LARGE_HASH_LOG: u32 = 18;
const LARGE_CHAIN_LOG: u32 = 17;
/// How sparsely long matches are looked for: one place in 2⁸.
const LONG_HASH_RATE_LOG: u32 = 8;
/// What a record is judged by: places, and bytes at each.
const PROBES: usize = 4;
const PROBE_BYTES: usize = 4096;
/// Level of the attempt, and the most bytes it makes of 22 for long matches to be looked for. Those of source code and markup pay there; plain
/// words, where they do not, stay above.
const PROBE_LEVEL: i32 = 1;
const REPETITIVE_OF_22_MAX: usize = 10;
/// One zero byte in this many tells machine code and tables.
const ZERO_PART_MIN: usize = 64;
/// Bytes of a chunk that are looked at to see whether it may be noise.
const SAMPLE_BYTES: usize = 4096;
/// How much more often than in noise, in 1/256, two sampled bytes may be equal: noise of this many bytes stays below 1.03, and what zstd can save
/// anything of by counting bytes is above 1.1.
const NOISE_PAIRS_MAX: u64 = 256 * 106 / 100;

/// How a record is compressed; each costs more time than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As the level says.
    Plain,
    /// With larger tables: 1 % smaller for machine code, a fifth slower for words.
    Tables,
    /// With long matches, too: another 1 to 2 % for what repeats itself.
    LongMatches,
}

/// Encodes records.
pub(crate) struct Encoder {
    compressor: Compressor<'static>,
    /// What `compressor` is set to.
    way: Way,
    probe: Compressor<'static>,
    joined: Vec<u8>,
    frame: Vec<u8>,
}

impl Encoder {
    /// Makes an encoder.
    pub(crate) fn new() -> Result<Self> {
        let with = |level| Compressor::new(level).at("prepare compression of", "records");
        Ok(Self { compressor: with(LEVEL)?, way: Way::Plain, probe: with(PROBE_LEVEL)?, joined: Vec::new(), frame: Vec::new() })
    }

    /// Encodes `chunks` as [`record::encode`] does; gives the record in parts, the first of which holds the whole header. What looks like noise is
    /// stored raw without being tried, in the chunks' own bytes.
    pub(crate) fn encode(&mut self, kind: ChunkKind, chunks: &[VerifiedChunk]) -> Result<Vec<Bytes>> {
        let raw_len = record::check(kind, chunks)?;
        let frame_len = if self.is_noise(chunks)? { None } else { self.compress(chunks, raw_len)? };
        let Some(frame_len) = frame_len else {
            let payload: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk.bytes[..]).collect();
            let header = record::header_of(kind, chunks, &Payload::Raw(&payload));
            return Ok(std::iter::once(header.into()).chain(chunks.iter().map(|chunk| chunk.bytes.clone())).collect());
        };
        let frame = &self.frame[..frame_len];
        let mut record = record::header_of(kind, chunks, &Payload::Zstd(frame));
        record.reserve_exact(frame.len());
        record.extend_from_slice(frame);
        Ok(vec![record.into()])
    }

    /// Compresses into `frame`; `None` when too little is saved.
    fn compress(&mut self, chunks: &[VerifiedChunk], raw_len: usize) -> Result<Option<usize>> {
        self.joined.clear();
        self.joined.reserve_exact(raw_len);
        for chunk in chunks {
            self.joined.extend_from_slice(&chunk.bytes);
        }
        // Room for whatever becomes of it: a frame cut short would leave the compressor in the middle of it.
        self.frame.resize(self.frame.len().max(zstd_safe::compress_bound(raw_len)), 0);
        let frame_len = self.compress_joined().at("compress", "a record")?;
        Ok(Some(frame_len).filter(|len| *len <= raw_len - raw_len.div_ceil(SAVED_PART_MIN)))
    }

    fn compress_joined(&mut self) -> io::Result<usize> {
        let way = self.judge()?;
        if way != self.way {
            // 0 is what the level says.
            let (hash, chain) = if way == Way::Plain { (0, 0) } else { (LARGE_HASH_LOG, LARGE_CHAIN_LOG) };
            self.compressor.set_parameter(CParameter::HashLog(hash))?;
            self.compressor.set_parameter(CParameter::ChainLog(chain))?;
            self.compressor.set_parameter(CParameter::EnableLongDistanceMatching(way == Way::LongMatches))?;
            self.compressor.set_parameter(CParameter::LdmHashRateLog(LONG_HASH_RATE_LOG))?;
            self.way = way;
        }
        self.compressor.compress_to_buffer(&self.joined, self.frame.as_mut_slice())
    }

    /// Chooses how to compress what has been joined.
    fn judge(&mut self) -> io::Result<Way> {
        let len = self.joined.len();
        if len < LARGE_RAW_BYTES_MIN {
            return Ok(Way::Plain);
        }
        let (mut packed, mut zeros) = (0, 0);
        for number in 1..=PROBES {
            let at = len * number / (PROBES + 1);
            let sample = &self.joined[at..at + PROBE_BYTES];
            zeros += sample.iter().map(|&byte| usize::from(byte == 0)).sum::<usize>();
            packed += self.probe.compress_to_buffer(sample, self.frame.as_mut_slice())?;
        }
        let bytes = PROBES * PROBE_BYTES;
        Ok(if packed * 22 <= bytes * REPETITIVE_OF_22_MAX {
            Way::LongMatches
        } else if zeros >= bytes / ZERO_PART_MIN {
            Way::Tables
        } else {
            Way::Plain
        })
    }

    /// Says whether bytes of all `chunks` are as frequent as in noise, and the largest chunk cannot be compressed.
    fn is_noise(&mut self, chunks: &[VerifiedChunk]) -> Result<bool> {
        let largest = chunks.iter().max_by_key(|chunk| chunk.bytes.len());
        match largest.filter(|_| chunks.iter().all(|chunk| is_even(&chunk.bytes))) {
            Some(largest) => Ok(self.compress(std::slice::from_ref(largest), largest.bytes.len())?.is_none()),
            None => Ok(false),
        }
    }
}

/// Says whether all values are about equally frequent in a sample of `bytes`.
fn is_even(bytes: &[u8]) -> bool {
    let start = bytes.len().saturating_sub(SAMPLE_BYTES) / 2;
    let Some(sample) = bytes.get(start..start + SAMPLE_BYTES) else { return false };
    let mut counts = [0_u64; 256];
    for &byte in sample {
        counts[usize::from(byte)] += 1;
    }
    let pairs: u64 = counts.iter().map(|count| count * count.saturating_sub(1)).sum();
    let len = sample.len() as u64;
    pairs * 256 * 256 <= len * (len - 1) * NOISE_PAIRS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::record::VerifiedRecord;

    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn encoded(contents: &[Vec<u8>]) -> (Vec<Bytes>, VerifiedRecord) {
        let chunks: Vec<_> = contents.iter().map(|bytes| VerifiedChunk::hash(ChunkKind::Content, bytes.clone().into())).collect();
        let parts = Encoder::new().unwrap().encode(ChunkKind::Content, &chunks).unwrap();
        let record = VerifiedRecord::decode(parts.concat().into()).unwrap();
        assert!(record.chunks().map(|chunk| chunk.bytes().to_vec()).eq(contents.iter().cloned()));
        (parts, record)
    }

    #[test]
    fn noise_is_stored_as_it_is() {
        let (parts, record) = encoded(&[noise(1, 70_000), noise(2, 20_000)]);
        assert_eq!(parts.len(), 3);
        assert_eq!(record.header().payload_len, 90_000);
    }

    #[test]
    fn what_only_looks_like_noise_is_compressed() {
        let counting: Vec<u8> = (0..70_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        assert!(is_even(&counting));
        let (parts, record) = encoded(&[counting]);
        assert_eq!(parts.len(), 1);
        assert!(record.header().payload_len < 1000);
    }

    #[test]
    fn noise_beside_text_is_compressed_with_it() {
        let (_, record) = encoded(&[noise(3, 70_000), b"once more ".repeat(7000)]);
        assert!(record.header().payload_len < 75_000);
    }

    #[test]
    fn records_of_all_kinds_take_turns() {
        let text = |len: usize| b"the quick brown fox ".repeat(len / 20);
        let mut encoder = Encoder::new().unwrap();
        let mut lens = Vec::new();
        for content in [text(250_000), text(4000), noise(4, 200_000), text(250_000), text(4000), noise(4, 200_000)] {
            let chunks = vec![VerifiedChunk::hash(ChunkKind::Content, content.into()); 4];
            lens.push(encoder.encode(ChunkKind::Content, &chunks).unwrap().concat().len());
        }
        assert_eq!(lens[..3], lens[3..]);
        assert!(lens[0] < 1000 && lens[2] > 800_000);
    }
}
