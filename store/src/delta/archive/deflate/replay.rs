//! Streams of compressors that nobody here knows: their plain content is gone through as they would, and what they chose is told.

use super::super::super::coder::Coder;
use super::super::super::format::damaged;
use super::bits::Bits;
use super::block::{Block, Form, Kind, STORED_BYTES_MAX};
use super::choices::{Choices, Found, Outlook, Start};
use super::plain::Plain;
use super::read::{ReadBlock, SYMBOLS_MAX};
use super::strings::Strings;
use super::tables::{MATCH_MAX, MATCH_MIN};
use super::{AHEAD_BYTES, BACK_MAX, Effort, Family, STEP_BYTES, Symbol, WINDOW_BYTES};
use crate::error::{Error, Result};

/// Plain bytes for which a block more is allowed: empty ones are a way to make work.
const PLAIN_PER_BLOCK_MIN: usize = 256;
/// Blocks that are allowed whatever the plain content.
const BLOCKS_SPARE: usize = 64;

/// How a compressor is supposed to search: whatever it does otherwise must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Habit {
    strings: usize,
    chain: usize,
}

impl Habit {
    /// What is looked up, and whether from the first bytes of symbols alone.
    const STRINGS: [(Family, bool); 4] =
        [(Family::Zlib, false), (Family::Chromium, false), (Family::Zlib, true), (Family::Chromium, true)];
    /// How many places are looked at.
    const CHAINS: [usize; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096];
    /// So many that content can hardly be made to take much work.
    const EASY_CHAIN: usize = 6;

    /// What most compressors come near to.
    pub(in super::super) const USUAL: Self = Self { strings: 0, chain: 7 };

    /// Those that look up something else.
    pub(in super::super) fn with_other_strings(self) -> Vec<Self> {
        (0..Self::STRINGS.len()).map(|strings| Self { strings, ..self }).filter(|other| *other != self).collect()
    }

    /// Those that look farther or less far.
    pub(in super::super) fn with_other_chain(self) -> Vec<Self> {
        (0..Self::CHAINS.len()).map(|chain| Self { chain, ..self }).filter(|other| *other != self).collect()
    }

    /// The same, less far.
    pub(in super::super) fn at_ease(self) -> Self {
        Self { chain: self.chain.min(Self::EASY_CHAIN), ..self }
    }

    /// The habit in one byte below 48; see [`Habit::of_code`].
    pub(in super::super) fn code(self) -> u8 {
        (self.strings * Self::CHAINS.len() + self.chain) as u8
    }

    /// The habit of a code; `None` if there is none.
    pub(in super::super) fn of_code(code: u8) -> Option<Self> {
        let (strings, chain) = (usize::from(code) / Self::CHAINS.len(), usize::from(code) % Self::CHAINS.len());
        (strings < Self::STRINGS.len()).then_some(Self { strings, chain })
    }
}

/// Makes a stream from its plain content and what its compressor chose, or tells the choices of one.
#[derive(Debug)]
pub(in super::super) struct Replay {
    effort: Effort,
    strings: Strings,
    /// Whether only the first bytes of symbols are looked up.
    sparse: bool,
    plain: Plain,
    /// The next place.
    at: usize,
    /// Where the strings that are not known yet begin.
    known: usize,
    /// What has been found ahead: where, and what.
    ahead: Option<(usize, Found)>,
    put_off: bool,
    block: Block,
    blocks: usize,
    present: Option<Present>,
    ended: bool,
    bits: Bits,
}

/// A block that is being made.
#[derive(Debug)]
struct Present {
    start: Start,
    /// First byte.
    from: usize,
    left: usize,
    /// What it is to be; on the side that reads there is none.
    read: Option<ReadBlock>,
}

impl Replay {
    pub(in super::super) fn new(habit: Habit) -> Self {
        let (family, sparse) = Habit::STRINGS[habit.strings];
        let chain = Habit::CHAINS[habit.chain];
        Self {
            effort: Effort { good: usize::MAX, lazy: 0, nice: MATCH_MAX, chain },
            strings: Strings::new(family, 8, if sparse { 0 } else { chain }),
            sparse,
            plain: Plain::default(),
            at: 0,
            known: 0,
            ahead: None,
            put_off: false,
            block: Block::new(usize::MAX, false),
            blocks: 0,
            present: None,
            ended: false,
            bits: Bits::default(),
        }
    }

    /// Takes plain bytes and gives `sink` the stream; `next` is asked for the blocks that are to be told, where they are.
    ///
    /// # Errors
    /// Choices that cannot be, what `sink` returns; the replay is then of no more use.
    pub(in super::super) fn push<C: Coder>(
        &mut self,
        plain: &[u8],
        (choices, coder): (&mut Choices, &mut C),
        next: &mut dyn FnMut() -> Option<ReadBlock>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        for step in plain.chunks(STEP_BYTES) {
            let stored = self.present.as_ref().filter(|present| present.start.kind == Kind::Stored);
            self.plain.extend(step, stored.map_or(self.at, |present| present.from), self.at);
            self.run((choices, coder), false, next)?;
            self.give(sink)?;
        }
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// As [`Replay::push`]; a stream that ends elsewhere.
    pub(in super::super) fn finish<C: Coder>(
        mut self,
        (choices, coder): (&mut Choices, &mut C),
        next: &mut dyn FnMut() -> Option<ReadBlock>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.run((choices, coder), true, next)?;
        if !self.ended || self.at != self.plain.end() {
            return Err(damaged("a stream ends before its content"));
        }
        self.give(sink)
    }

    /// How many places have been looked at for matches: the measure of this stream's work.
    pub(in super::super) fn looks(&self) -> u64 {
        self.strings.looks
    }

    fn give(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let given = sink(&self.bits.bytes);
        self.bits.bytes.clear();
        given
    }

    fn run<C: Coder>(
        &mut self,
        (choices, coder): (&mut Choices, &mut C),
        to_end: bool,
        next: &mut dyn FnMut() -> Option<ReadBlock>,
    ) -> Result<()> {
        while !self.ended {
            let mut present = match self.present.take() {
                Some(present) => present,
                // A block begins once something of it is known, so that its beginning is not asked for too early.
                None if self.plain.end() - self.at < AHEAD_BYTES && !to_end => return Ok(()),
                None => self.begin(choices, coder, next)?,
            };
            while present.left > 0 {
                let ahead = self.plain.end() - self.at;
                if ahead == 0 && to_end {
                    return Err(damaged("a stream goes on behind its content"));
                }
                // The place behind is looked at too.
                if ahead <= AHEAD_BYTES + 1 && !to_end {
                    self.present = Some(present);
                    return Ok(());
                }
                if present.start.kind == Kind::Stored {
                    let now = present.left.min(ahead);
                    self.at += now;
                    present.left -= now;
                } else {
                    self.symbol(choices, coder, &mut present)?;
                }
            }
            self.end(choices, coder, &present)?;
        }
        Ok(())
    }

    fn begin<C: Coder>(
        &mut self,
        choices: &mut Choices,
        coder: &mut C,
        next: &mut dyn FnMut() -> Option<ReadBlock>,
    ) -> Result<Present> {
        let read = if C::WRITES { Some(next().ok_or_else(|| damaged("a stream ends early"))?) } else { None };
        let start = read.as_ref().map_or(Start { last: false, kind: Kind::Own, count: 0 }, |read| Start {
            last: read.last,
            kind: read.form.kind(),
            count: read.count,
        });
        let start = choices.start(coder, start);
        self.blocks += 1;
        let count_max = if start.kind == Kind::Stored { STORED_BYTES_MAX } else { SYMBOLS_MAX };
        if start.count > count_max || self.blocks > BLOCKS_SPARE + self.at / PLAIN_PER_BLOCK_MIN {
            return Err(Error::Limit {
                what: "a stream's blocks".into(),
                limit: format!("{count_max} symbols, {BLOCKS_SPARE} without content"),
            });
        }
        Ok(Present { start, from: self.at, left: start.count, read })
    }

    fn symbol<C: Coder>(&mut self, choices: &mut Choices, coder: &mut C, present: &mut Present) -> Result<()> {
        let at = self.at;
        let here = match self.ahead.take() {
            Some((place, found)) if place == at => found,
            _ => self.search(at, MATCH_MIN - 1),
        };
        let mut later = 0;
        if here.len >= MATCH_MIN && !self.sparse {
            let next = self.search(at + 1, here.len);
            if next.back > 0 {
                later = next.len - here.len;
                self.ahead = Some((at + 1, next));
            }
        }
        let ahead = self.plain.end() - at;
        let outlook = Outlook { here, later, put_off: self.put_off, before: at, ahead };
        let told = present.read.as_ref().map(|read| read.symbols[read.symbols.len() - present.left]);
        let byte = self.plain.byte(at);
        let mut nearest = |len: usize| self.nearest(at, len);
        let symbol = choices.symbol(coder, &outlook, byte, &mut nearest, told.unwrap_or(Symbol::literal(0)))?;
        self.put_off = !symbol.is_match() && here.len >= MATCH_MIN;
        self.block.add(symbol, 0);
        self.at += symbol.len();
        present.left -= 1;
        Ok(())
    }

    fn end<C: Coder>(&mut self, choices: &mut Choices, coder: &mut C, present: &Present) -> Result<()> {
        let form = choices.form(coder, present.start.kind, &self.block, present.read.as_ref().map(|read| &read.form))?;
        let stored = if matches!(form, Form::Stored) { self.plain.bytes(present.from, self.at) } else { &[] };
        self.block.write_as(&form, stored, present.start.last, &mut self.bits);
        self.ended = present.start.last;
        Ok(())
    }

    /// Finds the longest match at `at` that is longer than `than`.
    fn search(&mut self, at: usize, than: usize) -> Found {
        let effort = self.effort;
        self.search_by(at, than, &effort)
    }

    /// Finds how far back the nearest match of `len` bytes is; 0 if there is none.
    fn nearest(&mut self, at: usize, len: usize) -> usize {
        let enough = Effort { nice: len, ..self.effort };
        self.search_by(at, len - 1, &enough).back
    }

    fn search_by(&mut self, at: usize, than: usize, effort: &Effort) -> Found {
        let ahead = self.plain.end() - at;
        if ahead < MATCH_MIN || than >= ahead.min(MATCH_MAX) {
            return Found::NONE;
        }
        // Stored blocks are not looked into.
        self.known = self.known.max(if self.sparse { at } else { at.saturating_sub(WINDOW_BYTES) });
        while self.known <= at {
            self.strings.insert(&self.plain, self.known);
            self.known += 1;
        }
        let head = self.strings.before(at);
        if head == 0 || at - head > BACK_MAX {
            return Found::NONE;
        }
        match self.strings.longest(&self.plain, (at, head), than, BACK_MAX, effort) {
            (_, 0) => Found::NONE,
            (len, place) => Found { len, back: at - place },
        }
    }
}
