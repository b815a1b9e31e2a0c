//! Deflate, exactly as the compressors of the zlib family write it: the same bytes for the same plain content and [`Style`].
//!
//! Three members of the family are known: zlib itself, the variant that web browsers and Node.js ship, which looks strings up by another
//! hash, and gzip, which ends blocks by other rules. What a style writes is part of the format of patches: it never changes.
//! Of any other compressor's stream what that chose can be told, and done again: see [`Replay`].

mod bits;
mod block;
mod choices;
mod crew;
mod huffman;
mod parser;
mod plain;
mod read;
mod replay;
mod strings;
mod tables;

pub(super) use choices::Choices;
pub(super) use read::Reader;
pub(super) use replay::{Habit, Replay};

use bits::Bits;
use block::{Block, Symbol};
use crew::Crew;
use plain::Plain;

/// Plain bytes behind a place that zlib knows before it decides on it, but at the end.
const AHEAD_BYTES: usize = 262;
/// Bytes of the longest strings that are remembered.
const LONG_BYTES_MAX: usize = 12;
/// Farthest match.
const BACK_MAX: usize = 32_768 - AHEAD_BYTES;
/// Bytes whose strings are remembered.
const WINDOW_BYTES: usize = 32 << 10;
/// Plain bytes that are taken at once.
const STEP_BYTES: usize = 64 << 10;

/// Which program or library compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// zlib: Python, Java, most others.
    Zlib,
    /// Chromium's variant of zlib, which looks up four bytes: Node.js, and so npm.
    Chromium,
    /// GNU gzip and Info-ZIP, older than zlib.
    Gzip,
}

/// How a stream was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) family: Family,
    /// 1 to 9.
    pub(super) level: u8,
    /// zlib's memory level, 1 to 9: 2^(6 + memory) symbols a block; 9 for gzip.
    pub(super) memory: u8,
}

impl Style {
    /// The styles that compressors are usually set to, the most usual first.
    pub(super) fn usual() -> impl Iterator<Item = Self> {
        let sets = [(Family::Zlib, 8), (Family::Chromium, 8), (Family::Gzip, 9), (Family::Zlib, 9), (Family::Chromium, 9)];
        let of = move |level: u8| sets.map(|(family, memory)| Self { family, level, memory });
        [6, 9, 1, 5, 8, 7, 4, 3, 2].into_iter().flat_map(of)
    }

    /// Whether a match waits until there is no longer one at the next byte.
    fn is_lazy(self) -> bool {
        self.level >= 4
    }

    /// The style in one byte; see [`Style::of_code`].
    pub(super) fn code(self) -> u8 {
        let row = match self.family {
            Family::Zlib => self.memory - 1,
            Family::Chromium => 9 + self.memory - 1,
            Family::Gzip => 18,
        };
        row * 9 + self.level - 1
    }

    /// The style of a code; `None` if there is none.
    pub(super) fn of_code(code: u8) -> Option<Self> {
        let (row, level) = (code / 9, code % 9 + 1);
        let (family, memory) = match row {
            0..9 => (Family::Zlib, row + 1),
            9..18 => (Family::Chromium, row - 8),
            18 => (Family::Gzip, 9),
            _ => return None,
        };
        Some(Self { family, level, memory })
    }
}

/// What a level means.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// A match this long makes the search for a better one shorter.
    good: usize,
    /// A match this long is not put off (lazy levels), or its strings are not remembered (levels 1 to 3).
    lazy: usize,
    /// A match this long ends the search.
    nice: usize,
    /// Places that are looked at.
    chain: usize,
}

impl Effort {
    fn of(level: u8) -> Self {
        let (good, lazy, nice, chain) = match level {
            1 => (4, 4, 8, 4),
            2 => (4, 5, 16, 8),
            3 => (4, 6, 32, 32),
            4 => (4, 4, 16, 16),
            5 => (8, 16, 32, 32),
            6 => (8, 16, 128, 128),
            7 => (8, 32, 128, 256),
            8 => (32, 128, 258, 1024),
            _ => (32, 258, 258, 4096),
        };
        Self { good, lazy, nice, chain }
    }
}

/// Compresses a stream piece by piece.
#[derive(Debug)]
pub(super) struct Deflater {
    style: Style,
    plain: Plain,
    crew: Crew,
    block: Block,
    /// First byte of the block.
    block_start: usize,
    /// Where the symbols in blocks end.
    done: usize,
    bits: Bits,
}

impl Deflater {
    /// Begins a stream that up to `parsers` threads work on.
    pub(super) fn new(style: Style, parsers: usize) -> Self {
        Self {
            style,
            plain: Plain::default(),
            crew: Crew::new(style, parsers),
            block: Block::new((1 << (style.memory + 6)) - 1, style.family == Family::Gzip && style.level > 2),
            block_start: 0,
            done: 0,
            bits: Bits::default(),
        }
    }

    /// Has up to `parsers` threads work on what is left of the stream.
    pub(super) fn share(&mut self, parsers: usize) {
        self.crew.share(parsers);
    }

    /// Takes plain bytes and gives `sink` what has been compressed.
    ///
    /// # Errors
    /// What `sink` returns; the deflater is then of no more use.
    pub(super) fn push<E>(&mut self, plain: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for step in plain.chunks(STEP_BYTES) {
            self.plain.extend(step, self.block_start, self.crew.at());
            if self.plain.end() - self.crew.at() >= self.crew.batch_bytes() {
                self.run(false);
                self.give(sink)?;
            }
        }
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// What `sink` returns.
    pub(super) fn finish<E>(mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.plain.end_here(self.style.family);
        self.run(true);
        if let Some(last) = self.crew.finish(&self.plain) {
            self.add(last);
        }
        self.write(true);
        self.give(sink)
    }

    /// How many places have been looked at for matches: the measure of this stream's work. A few are looked at twice where several threads
    /// work on it.
    pub(super) fn looks(&self) -> u64 {
        self.crew.looks()
    }

    fn give<E>(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let given = sink(&self.bits.bytes);
        self.bits.bytes.clear();
        given
    }

    fn run(&mut self, to_end: bool) {
        for symbol in self.crew.run(&self.plain, to_end) {
            if self.add(symbol) {
                self.write(false);
            }
        }
    }

    /// Adds a symbol to the block and says whether that is full.
    fn add(&mut self, symbol: Symbol) -> bool {
        // What zlib thinks that the block stands for then: where it is lazy it has gone one byte further.
        let plain = self.done + usize::from(self.style.is_lazy()) - self.block_start;
        self.done += symbol.len();
        self.block.add(symbol, plain)
    }

    fn write(&mut self, last: bool) {
        self.block.write(self.plain.bytes(self.block_start, self.done), last, &mut self.bits);
        self.block_start = self.done;
    }
}

#[cfg(test)]
mod tests;
