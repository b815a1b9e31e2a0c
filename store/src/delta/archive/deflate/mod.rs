//! Deflate, exactly as the compressors of the zlib family write it: the same bytes for the same plain content and [`Style`].
//!
//! Three members of the family are known: zlib itself, the variant that web browsers and Node.js ship, which looks strings up by another
//! hash, and gzip, which ends blocks by other rules. What a style writes is part of the format of patches: it never changes.

mod bits;
mod block;
mod huffman;
mod strings;
mod tables;

use bits::Bits;
use block::Block;
use strings::Strings;
use tables::MATCH_MIN;

/// Plain bytes behind a place that are known before it is decided on, but at the end.
const AHEAD_BYTES: usize = 262;
/// Farthest match.
const BACK_MAX: usize = 32_768 - AHEAD_BYTES;
/// Farther matches of three bytes are not worth it.
const SHORT_BACK_MAX: usize = 4096;
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
    effort: Effort,
    lazy: bool,
    strings: Strings,
    block: Block,
    /// First byte of the block.
    block_start: usize,
    /// The next byte to decide on.
    at: usize,
    /// What was found at the place before `at`: length (2: nothing) and place.
    found: (usize, usize),
    /// Whether the byte before `at` waits for a decision.
    waiting: bool,
    bits: Bits,
}

impl Deflater {
    pub(super) fn new(style: Style) -> Self {
        Self {
            effort: Effort::of(style.level),
            lazy: style.level >= 4,
            strings: Strings::new(style.family, style.memory),
            block: Block::new((1 << (style.memory + 6)) - 1, style.family == Family::Gzip && style.level > 2),
            block_start: 0,
            at: 0,
            found: (MATCH_MIN - 1, 0),
            waiting: false,
            bits: Bits::default(),
        }
    }

    /// Takes plain bytes and gives `sink` what has been compressed.
    ///
    /// # Errors
    /// What `sink` returns; the deflater is then of no more use.
    pub(super) fn push<E>(&mut self, plain: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for step in plain.chunks(STEP_BYTES) {
            self.strings.extend(step, self.block_start);
            self.run(false);
            self.give(sink)?;
        }
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// What `sink` returns.
    pub(super) fn finish<E>(mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.strings.end_here();
        self.run(true);
        if self.waiting {
            self.literal(self.at);
        }
        self.write(true);
        self.give(sink)
    }

    /// How many places have been looked at for matches: the measure of this stream's work.
    pub(super) fn looks(&self) -> u64 {
        self.strings.looks
    }

    fn give<E>(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let given = sink(&self.bits.bytes);
        self.bits.bytes.clear();
        given
    }

    fn run(&mut self, to_end: bool) {
        loop {
            let ahead = self.strings.end() - self.at;
            if ahead == 0 || (ahead < AHEAD_BYTES && !to_end) {
                break;
            }
            if self.lazy { self.decide_lazily(ahead) } else { self.decide(ahead) }
        }
    }

    /// Takes the longest match here, else a literal: levels 1 to 3.
    fn decide(&mut self, ahead: usize) {
        let (len, place) = self.search(ahead, MATCH_MIN - 1);
        let full = if len >= MATCH_MIN {
            let full = self.block.found(len, self.at - place, self.at - self.block_start);
            if len <= self.effort.lazy && ahead - len >= MATCH_MIN {
                for at in self.at + 1..self.at + len {
                    self.strings.insert(at);
                }
            }
            self.at += len;
            full
        } else {
            self.at += 1;
            self.block.literal(self.strings.byte(self.at - 1), self.at - 1 - self.block_start)
        };
        if full {
            self.write(false);
        }
    }

    /// Takes a match only if there is no longer one at the next byte: levels 4 to 9.
    fn decide_lazily(&mut self, ahead: usize) {
        let (before, place) = self.found;
        let mut found = (MATCH_MIN - 1, 0);
        if before < self.effort.lazy {
            found = self.search(ahead, before);
            if found.0 == MATCH_MIN && self.at - found.1 > SHORT_BACK_MAX {
                found.0 = MATCH_MIN - 1;
            }
        } else if ahead >= MATCH_MIN {
            self.strings.insert(self.at);
        }
        if before >= MATCH_MIN && found.0 <= before {
            let start = self.at - 1;
            let full = self.block.found(before, start - place, self.at - self.block_start);
            let end = start + before;
            for at in self.at + 1..end.min(self.strings.end() - 2) {
                self.strings.insert(at);
            }
            self.at = end;
            self.found = (MATCH_MIN - 1, 0);
            self.waiting = false;
            if full {
                self.write(false);
            }
            return;
        }
        if self.waiting && self.literal(self.at) {
            self.write(false);
        }
        self.waiting = true;
        self.found = found;
        self.at += 1;
    }

    /// Makes the byte before `at` a literal and says whether the block is full.
    fn literal(&mut self, at: usize) -> bool {
        self.block.literal(self.strings.byte(at - 1), at - self.block_start)
    }

    /// Remembers the string here and finds the longest earlier one that is longer than `than`.
    fn search(&mut self, ahead: usize, than: usize) -> (usize, usize) {
        if ahead < MATCH_MIN {
            return (MATCH_MIN - 1, 0);
        }
        let head = self.strings.insert(self.at);
        if head == 0 || self.at - head > BACK_MAX {
            return (MATCH_MIN - 1, 0);
        }
        self.strings.longest(self.at, head, than, &self.effort)
    }

    fn write(&mut self, last: bool) {
        let end = self.at;
        self.block.write(self.strings.bytes(self.block_start, end), last, &mut self.bits);
        self.block_start = end;
    }
}

#[cfg(test)]
mod tests;
