//! Canonical bytes of a manifest, written and read as a stream (byte layout: docs/formats.md).

use std::io::{ErrorKind, Read, Write};

use crate::error::{At, Error, Result};
use crate::manifest::entry::{Entry, EntryKind};
use crate::manifest::order::PathOrder;
use crate::manifest::path::refused;
use crate::manifest::wire::{self, ENTRY_BYTES_MAX, EntryRef, KindRef, damaged};

/// Most entries in one manifest.
pub const ENTRIES_MAX: u64 = 1 << 31;
/// Most entries in one block.
const BLOCK_ENTRIES_MAX: u32 = 1024;
/// A block ends when it has this many bytes of entries or more.
const BLOCK_BYTES_FULL: usize = 256 << 10;
/// Longest block, bytes.
const BLOCK_BYTES_MAX: usize = BLOCK_BYTES_FULL + ENTRY_BYTES_MAX;
const HEADER_BYTES: usize = 16;
const BLOCK_HEADER_BYTES: usize = 8;
const MAGIC: [u8; 4] = *b"CNMF";
const VERSION: u16 = 1;
const HASH_BLAKE3: u8 = 1;

/// Totals of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Entries of all kinds.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Raw bytes of the files.
    pub bytes: u64,
    /// Chunks of the files, repeated content counted each time.
    pub chunks: u64,
}

impl Totals {
    /// Adds an entry; `None` when a sum leaves its limit.
    fn add(&mut self, file: Option<(u64, u32)>) -> Option<()> {
        self.entries += 1;
        if let Some((size, chunks)) = file {
            self.files += 1;
            self.bytes = self.bytes.checked_add(size)?;
            self.chunks += u64::from(chunks);
        }
        (self.entries <= ENTRIES_MAX).then_some(())
    }

    fn encode(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (at, value) in out.chunks_exact_mut(8).zip([self.entries, self.files, self.bytes, self.chunks]) {
            at.copy_from_slice(&value.to_le_bytes());
        }
        out
    }
}

/// Says whether a block ends after an entry: where its path says so, so that an inserted entry moves no later boundary, or when it is full.
fn block_ends(path: &str, bytes: usize, entries: u32) -> bool {
    blake3::hash(path.as_bytes()).as_bytes()[0] == 0 || entries >= BLOCK_ENTRIES_MAX || bytes >= BLOCK_BYTES_FULL
}

/// Writes canonical bytes; entries must come in strictly ascending path order.
#[derive(Debug)]
pub struct ManifestWriter<W: Write> {
    out: W,
    block: Vec<u8>,
    block_entries: u32,
    order: PathOrder,
    totals: Totals,
}

impl<W: Write> ManifestWriter<W> {
    /// Starts a manifest.
    ///
    /// # Errors
    /// I/O.
    pub fn new(mut out: W) -> Result<Self> {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC);
        header[4..6].copy_from_slice(&VERSION.to_le_bytes());
        header[6] = HASH_BLAKE3;
        out.write_all(&header).at("write", "manifest")?;
        Ok(Self { out, block: Vec::new(), block_entries: 0, order: PathOrder::default(), totals: Totals::default() })
    }

    /// Appends one entry.
    ///
    /// # Errors
    /// Out of order, under a path that is no folder, over a limit, or I/O.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        let path = entry.path.as_str();
        let folder = matches!(entry.kind, EntryKind::Folder);
        self.order.accept(path, folder).map_err(|why| refused(path.as_bytes(), why))?;
        let file = if let EntryKind::File { size, chunks, .. } = entry.kind { Some((size, chunks)) } else { None };
        self.totals.add(file).ok_or_else(over_limit)?;
        wire::encode(entry, &mut self.block)?;
        self.block_entries += 1;
        if block_ends(path, self.block.len(), self.block_entries) {
            self.end_block()?;
        }
        Ok(())
    }

    /// Ends the manifest and returns the sink and the totals.
    ///
    /// # Errors
    /// I/O.
    pub fn finish(mut self) -> Result<(W, Totals)> {
        if self.block_entries > 0 {
            self.end_block()?;
        }
        self.out.write_all(&[0; BLOCK_HEADER_BYTES]).at("write", "manifest")?;
        self.out.write_all(&self.totals.encode()).at("write", "manifest")?;
        Ok((self.out, self.totals))
    }

    fn end_block(&mut self) -> Result<()> {
        let len = u32::try_from(self.block.len()).expect("a block is limited to BLOCK_BYTES_MAX");
        self.out.write_all(&len.to_le_bytes()).at("write", "manifest")?;
        self.out.write_all(&self.block_entries.to_le_bytes()).at("write", "manifest")?;
        self.out.write_all(&self.block).at("write", "manifest")?;
        self.block.clear();
        self.block_entries = 0;
        Ok(())
    }
}

/// Reads canonical bytes as a stream; refuses anything that [`ManifestWriter`] would not have written.
///
/// Holds one block and one path in memory, whatever the number of entries.
#[derive(Debug)]
pub struct ManifestReader<R: Read> {
    input: R,
    block: Vec<u8>,
    /// Offset of the block's first entry in the manifest.
    block_start: u64,
    /// Where the next entry begins in the block.
    at: usize,
    /// Entries of the block, and how many of them have been read.
    block_entries: u32,
    block_read: u32,
    /// Whether the last entry read is one that ends its block.
    closed: bool,
    ended: bool,
    order: PathOrder,
    totals: Totals,
}

impl<R: Read> ManifestReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Damaged or too new.
    pub fn new(mut input: R) -> Result<Self> {
        let mut header = [0; HEADER_BYTES];
        fill(&mut input, &mut header)?;
        let field = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        if header[..4] != MAGIC {
            return Err(damaged("it does not begin with CNMF"));
        }
        let newer = |why: String| Err(Error::TooNew { what: "the manifest".into(), why });
        if field(4) != VERSION {
            return newer(format!("version {}", field(4)));
        }
        if header[6] != HASH_BLAKE3 {
            return newer(format!("hash algorithm {}", header[6]));
        }
        if field(8) != 0 {
            return newer(format!("required features {:#06x}", field(8)));
        }
        if header[7] != 0 || header[12..] != [0; 4] {
            return Err(damaged("reserved bytes of its header are not zero"));
        }
        Ok(Self {
            input,
            block: Vec::new(),
            block_start: HEADER_BYTES as u64,
            at: 0,
            block_entries: 0,
            block_read: 0,
            closed: true,
            ended: false,
            order: PathOrder::default(),
            totals: Totals::default(),
        })
    }

    /// Returns the totals of the entries read so far; checked against the manifest's own when the last one has been read.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Reads the next entry without copying it, with its offset in the manifest; `None` after the last.
    pub(super) fn next_ref(&mut self) -> Result<Option<(u64, EntryRef<'_>)>> {
        if self.ended || !self.more()? {
            self.ended = true;
            return Ok(None);
        }
        let (entry, len) = wire::decode(&self.block[self.at..])?;
        self.order.accept(entry.path, entry.kind == KindRef::Folder).map_err(|why| damaged(&format!("{}: {why}", entry.path)))?;
        let file = if let KindRef::File { size, chunks, .. } = entry.kind { Some((size, chunks)) } else { None };
        self.totals.add(file).ok_or_else(over_limit)?;
        let offset = self.block_start + self.at as u64;
        self.at += len;
        self.block_read += 1;
        self.closed = block_ends(entry.path, self.at, self.block_read);
        Ok(Some((offset, entry)))
    }

    /// Makes the next entry stand at `at`; `false` after the trailer.
    fn more(&mut self) -> Result<bool> {
        if self.block_read < self.block_entries {
            return if self.closed { Err(damaged("a block goes on behind its end")) } else { Ok(true) };
        }
        if self.at != self.block.len() {
            return Err(damaged("a block has bytes behind its last entry"));
        }
        let mut header = [0; BLOCK_HEADER_BYTES];
        fill(&mut self.input, &mut header)?;
        let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (len, entries) = (field(0) as usize, field(4));
        if len == 0 && entries == 0 {
            return self.trailer().map(|()| false);
        }
        if !self.closed {
            return Err(damaged("a block ends where none may"));
        }
        if len > BLOCK_BYTES_MAX || entries == 0 || entries > BLOCK_ENTRIES_MAX {
            return Err(damaged("a block is over its limits"));
        }
        self.block_start += (self.at + BLOCK_HEADER_BYTES) as u64;
        self.block.resize(len, 0);
        fill(&mut self.input, &mut self.block)?;
        (self.at, self.block_read, self.block_entries) = (0, 0, entries);
        Ok(true)
    }

    fn trailer(&mut self) -> Result<()> {
        let mut totals = [0; 32];
        fill(&mut self.input, &mut totals)?;
        if totals != self.totals.encode() {
            return Err(damaged("its totals are not those of its entries"));
        }
        match self.input.read(&mut [0]).at("read", "manifest")? {
            0 => Ok(()),
            _ => Err(damaged("bytes follow its end")),
        }
    }
}

impl<R: Read> Iterator for ManifestReader<R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_ref().and_then(|next| next.map(|(_, entry)| entry.to_entry()).transpose());
        if next.is_err() {
            self.ended = true;
        }
        next.transpose()
    }
}

fn over_limit() -> Error {
    Error::Limit { what: "the manifest".into(), limit: format!("{ENTRIES_MAX} entries and 2^64 bytes") }
}

fn fill(input: &mut impl Read, out: &mut [u8]) -> Result<()> {
    match input.read_exact(out) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(damaged("it ends early")),
        other => other.at("read", "manifest"),
    }
}
