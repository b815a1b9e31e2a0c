//! A sorted, immutable, mapped part of the index (byte layout: docs/formats.md).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::covers::Covers;
use crate::chunk::fields;
use crate::error::{At, Error, Result};
use crate::id::ChunkId;
use crate::map::is_resident;
use crate::pack::map::Map;
use crate::store::{ChunkAt, RecordAt};

/// Bytes of one entry.
pub(super) const ENTRY_BYTES: usize = 42;
/// Bytes of the fixed part of the header.
pub(super) const FIXED_BYTES: usize = 64;
/// Bytes of one covered range.
pub(super) const COVER_BYTES: usize = 12;
/// Most bits of an id that the fan-out takes.
const FAN_BITS_MAX: u32 = 16;
/// About how many entries share a bucket of the fan-out.
const BUCKET_ENTRIES: usize = 64;
const SUM_AT: usize = 48;
const MAGIC: [u8; 4] = *b"CNIX";
const CONTEXT: &str = "consign 2026-11 v1 index run header";
/// Pages are brought in by blocks of this many bytes, each once.
const BLOCK_BYTES: usize = 64 << 10;

/// What a run says about itself.
///
/// ```text
///  0 magic "CNIX"   4 version u16   6 hash u8   7 fan-out bits u8   8 required u16   10 optional u16   12 covers u32
/// 16 entries u32   20 replaced u32   24 raw bytes u64   32 records u64   40 repeated u64   48 checksum ×16
/// 64 covers × (pack, from, to: u32)   then 2^bits × end u32   then entries × (id ×32, pack u32, offset u32, ordinal u16)
/// ```
#[derive(Debug, Clone, Default)]
pub(super) struct RunHead {
    pub(super) covers: Covers,
    pub(super) entries: u32,
    /// This run holds all that the runs with the so many numbers right before its own held.
    pub(super) replaced: u32,
    /// Raw bytes of the chunks entered.
    pub(super) raw_bytes: u64,
    /// Records in the covered ranges.
    pub(super) records: u64,
    /// Entries whose id has an entry in an older run too.
    pub(super) repeated: u64,
}

/// Returns how many bits the fan-out of a run of `entries` takes.
pub(super) fn fan_bits(entries: usize) -> u32 {
    (entries / BUCKET_ENTRIES).checked_ilog2().unwrap_or(0).min(FAN_BITS_MAX)
}

/// Returns the bucket of an id (its first two bytes) in a fan-out of `bits` bits.
pub(super) fn bucket_of(id: &[u8], bits: u32) -> usize {
    usize::from(u16::from_be_bytes(fields::array_at(id, 0))) >> (FAN_BITS_MAX - bits)
}

impl RunHead {
    /// Encodes header, covers and fan-out (`ends`: the number of entries up to each bucket's end).
    pub(super) fn encode(&self, bits: u32, ends: &[u32]) -> Vec<u8> {
        let mut fixed = Vec::with_capacity(FIXED_BYTES);
        fields::put_start(&mut fixed, MAGIC, u8::try_from(bits).expect("the fan-out takes at most 16 bits"));
        let covers = u32::try_from(self.covers.len()).expect("a store has fewer than 2³² covered ranges");
        fixed.extend_from_slice(&covers.to_le_bytes());
        fixed.extend_from_slice(&self.entries.to_le_bytes());
        fixed.extend_from_slice(&self.replaced.to_le_bytes());
        fixed.extend_from_slice(&self.raw_bytes.to_le_bytes());
        fixed.extend_from_slice(&self.records.to_le_bytes());
        fixed.extend_from_slice(&self.repeated.to_le_bytes());
        let mut rest = Vec::with_capacity(self.covers.len() * COVER_BYTES + ends.len() * 4);
        for (pack, range) in self.covers.iter() {
            for field in [pack, range.start, range.end] {
                rest.extend_from_slice(&field.to_le_bytes());
            }
        }
        for end in ends {
            rest.extend_from_slice(&end.to_le_bytes());
        }
        let sum = fields::sum(CONTEXT, &[&fixed, &rest]);
        fixed.extend_from_slice(&sum);
        fixed.extend_from_slice(&rest);
        fixed
    }
}

/// The answer lies in pages that are not in memory.
#[derive(Debug)]
pub(super) struct Cold;

/// An opened run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) path: PathBuf,
    pub(super) head: RunHead,
    map: Map,
    bits: u32,
    fan_at: usize,
    entries_at: usize,
    /// A bit for each block that has been brought in without a fault.
    warm: Box<[AtomicU64]>,
}

impl Run {
    /// Maps the run at `path` and checks everything but its entries: what those say is checked against the record when it is read.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let damaged = |why: &str| Error::damaged(path.display().to_string(), why);
        let map = match Map::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => return Err(damaged("it is empty")),
            other => other.at("open", &path)?,
        };
        bring(&map, 0..map.len().min(FIXED_BYTES), &path)?;
        let fixed = map.bytes();
        fields::check_start(fixed, MAGIC, &path.display().to_string())?;
        if fixed.len() < FIXED_BYTES {
            return Err(damaged("it ends inside its header"));
        }
        let bits = u32::from(fixed[7]);
        if bits > FAN_BITS_MAX {
            return Err(damaged("its fan-out is over the limit"));
        }
        let (covers, entries) = (fields::len_at(fixed, 12) as u64, fields::u32_at(fixed, 16));
        let fan_at = FIXED_BYTES as u64 + covers * COVER_BYTES as u64;
        let entries_at = fan_at + (4 << bits);
        if entries_at + u64::from(entries) * ENTRY_BYTES as u64 != map.len() as u64 {
            return Err(damaged("its length is not what its header says"));
        }
        let place = |at: u64| usize::try_from(at).map_err(|_| damaged("it is too large for this machine"));
        let (fan_at, entries_at) = (place(fan_at)?, place(entries_at)?);
        bring(&map, 0..entries_at, &path)?;
        let bytes = map.bytes();
        if fields::sum(CONTEXT, &[&bytes[..SUM_AT], &bytes[FIXED_BYTES..entries_at]]) != bytes[SUM_AT..FIXED_BYTES] {
            return Err(damaged("the checksum of its header is wrong"));
        }
        let mut head = RunHead {
            covers: Covers::default(),
            entries,
            replaced: fields::u32_at(bytes, 20),
            raw_bytes: fields::u64_at(bytes, 24),
            records: fields::u64_at(bytes, 32),
            repeated: fields::u64_at(bytes, 40),
        };
        for cover in bytes[FIXED_BYTES..fan_at].chunks_exact(COVER_BYTES) {
            head.covers.insert(fields::u32_at(cover, 0), fields::u32_at(cover, 4)..fields::u32_at(cover, 8));
        }
        let warm = (0..map.len().div_ceil(BLOCK_BYTES * 64)).map(|_| AtomicU64::new(0)).collect();
        let run = Self { path, head, map, bits, fan_at, entries_at, warm };
        let mut ends = (0..1_usize << bits).map(|bucket| run.bucket_end(bucket));
        if ends.clone().is_sorted() && ends.next_back() == Some(entries as usize) {
            Ok(run)
        } else {
            Err(run.damaged("its fan-out is wrong"))
        }
    }

    /// Finds a chunk: the number of its entry, and where the chunk lies.
    pub(super) fn find(&self, id: &ChunkId) -> Result<Option<(usize, ChunkAt)>> {
        let bucket = self.bucket(id);
        Ok(search(self.entries(bucket.clone())?, id).map(|(number, at)| (bucket.start + number, at)))
    }

    /// Finds a chunk if the entries among which it would be are in memory.
    pub(super) fn find_now(&self, id: &ChunkId) -> Result<Option<ChunkAt>, Cold> {
        let bucket = self.bucket(id);
        let entries = &self.map.bytes()[self.entries_at..][bucket.start * ENTRY_BYTES..bucket.end * ENTRY_BYTES];
        if is_resident(entries) { Ok(search(entries, id).map(|(_, at)| at)) } else { Err(Cold) }
    }

    /// The entries among which that of `id` would be.
    fn bucket(&self, id: &ChunkId) -> Range<usize> {
        let bucket = bucket_of(id.as_bytes(), self.bits);
        bucket.checked_sub(1).map_or(0, |before| self.bucket_end(before))..self.bucket_end(bucket)
    }

    /// Returns the bytes of entries `range`, brought into memory.
    pub(super) fn entries(&self, range: Range<usize>) -> Result<&[u8]> {
        let range = self.entries_at + range.start * ENTRY_BYTES..self.entries_at + range.end * ENTRY_BYTES;
        for block in range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES) {
            let (word, bit) = (&self.warm[block / 64], 1 << (block % 64));
            if word.load(Ordering::Relaxed) & bit == 0 {
                bring(&self.map, block * BLOCK_BYTES..((block + 1) * BLOCK_BYTES).min(self.map.len()), &self.path)?;
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        Ok(&self.map.bytes()[range])
    }

    fn bucket_end(&self, bucket: usize) -> usize {
        fields::len_at(self.map.bytes(), self.fan_at + bucket * 4)
    }

    fn damaged(&self, why: &str) -> Error {
        Error::damaged(self.path.display().to_string(), why)
    }
}

/// Finds an id among sorted `entries`.
fn search(entries: &[u8], id: &ChunkId) -> Option<(usize, ChunkAt)> {
    let (mut low, mut high) = (0, entries.len() / ENTRY_BYTES);
    while low < high {
        let middle = usize::midpoint(low, high);
        let entry = &entries[middle * ENTRY_BYTES..][..ENTRY_BYTES];
        match entry[..32].cmp(id.as_bytes()) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Some((middle, parse_place(entry))),
        }
    }
    None
}

/// Brings pages in; where the system cannot do it beforehand they come at the first access.
fn bring(map: &Map, range: Range<usize>, path: &Path) -> Result<()> {
    map.populate(&range).map(|_| ()).at("read", path)
}

/// Reads where the chunk of an entry lies.
pub(super) fn parse_place(entry: &[u8]) -> ChunkAt {
    ChunkAt {
        record: RecordAt { pack: fields::u32_at(entry, 32), offset: fields::u32_at(entry, 36) },
        ordinal: fields::u16_at(entry, 40),
    }
}

/// Encodes one entry.
pub(super) fn encode_entry(id: &ChunkId, at: &ChunkAt) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..32].copy_from_slice(id.as_bytes());
    entry[32..36].copy_from_slice(&at.record.pack.to_le_bytes());
    entry[36..40].copy_from_slice(&at.record.offset.to_le_bytes());
    entry[40..].copy_from_slice(&at.ordinal.to_le_bytes());
    entry
}
