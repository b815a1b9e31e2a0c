//! What a compressor chose, coded in as few bits as its habits allow: once they are learnt, what any compressor of the usual kind does next is
//! hardly ever a surprise.
//!
//! Each choice is told by what a search finds: the longest match here, and whether a byte later there is a longer one. Written once, for both
//! sides.

use super::super::super::coder::Coder;
use super::super::super::format::damaged;
use super::super::super::model::{NumberModel, Slot, code_bit, code_tree};
use super::block::{Block, Form, Kind, Lengths, Own, Symbol, codes_of, run_len};
use super::huffman::Code;
use super::tables::{
    DISTANCE_EXTRA, DISTANCES, LENGTH_CODE_EXTRA, LENGTH_CODE_ORDER, LENGTHS, LITERALS, MATCH_MIN, distance, distance_of,
};
use crate::error::Result;

/// How fast a probability follows what happens, at its slowest: one such part a decision.
const USES_MAX: u32 = 250;
/// Ranges of match lengths that compressors tell apart: their first lengths. Below the first there is none.
const LENGTH_RANGES: [usize; 13] = [3, 4, 5, 6, 7, 8, 9, 16, 17, 32, 33, 128, 258];
const LENGTH_KINDS: usize = LENGTH_RANGES.len() + 1;
/// How much longer the match a byte later is: none, 1, 2, 3, more.
const LATER_KINDS: usize = 5;
/// Distances by the bits of what is before them.
const BACK_KINDS: usize = 16;
/// Whether the last four matches were the expected ones.
const LATELY: usize = 16;

/// A match that a search found; of fewer than three bytes there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) len: usize,
    pub(super) back: usize,
}

impl Found {
    pub(super) const NONE: Self = Self { len: MATCH_MIN - 1, back: 0 };
}

/// What is known where a choice is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    /// The longest match here.
    pub(super) here: Found,
    /// How much longer the longest of the next byte is; 0 if it is not.
    pub(super) later: usize,
    /// Whether there was a match a byte before that was not taken.
    pub(super) put_off: bool,
    /// Plain bytes before, and from here on: no match is longer.
    pub(super) before: usize,
    pub(super) ahead: usize,
}

/// What is learnt of a compressor.
#[derive(Debug, Clone)]
pub(in super::super) struct Choices {
    is_match: Vec<Slot>,
    is_expected: Vec<Slot>,
    is_expected_len: Vec<Slot>,
    lens: Vec<Slot>,
    is_nearest: Vec<Slot>,
    distances: Vec<Slot>,
    lately: usize,
    last: Slot,
    forms: [Slot; 4],
    counts: NumberModel,
    /// The count of the block before.
    count: usize,
    is_same_count: Slot,
    headers: Headers,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            is_match: vec![Slot::NEW; LENGTH_KINDS * LATER_KINDS * BACK_KINDS * 2],
            is_expected: vec![Slot::NEW; LENGTH_KINDS * LATELY],
            is_expected_len: vec![Slot::NEW; LENGTH_KINDS],
            lens: vec![Slot::NEW; 256],
            is_nearest: vec![Slot::NEW; LATELY],
            distances: vec![Slot::NEW; 32],
            lately: 0,
            last: Slot::NEW,
            forms: [Slot::NEW; 4],
            counts: NumberModel::new(2),
            count: 0,
            is_same_count: Slot::NEW,
            headers: Headers::default(),
        }
    }
}

/// What begins a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) last: bool,
    pub(super) kind: Kind,
    /// Bytes of a stored block, else symbols.
    pub(super) count: usize,
}

impl Choices {
    /// Codes how a block begins.
    pub(super) fn start<C: Coder>(&mut self, coder: &mut C, start: Start) -> Start {
        let last = code_bit(coder, &mut self.last, start.last, USES_MAX);
        let kind = match code_tree(coder, &mut self.forms, 2, start.kind as usize, USES_MAX) {
            0 => Kind::Stored,
            1 => Kind::Fixed,
            _ => Kind::Own,
        };
        let same = code_bit(coder, &mut self.is_same_count, start.count == self.count, USES_MAX);
        let count = if same {
            self.count
        } else {
            self.counts.code(coder, usize::from(kind == Kind::Stored), start.count as u64) as usize
        };
        self.count = count;
        Start { last, kind, count }
    }

    /// Codes what the compressor made of a place; `byte` is there, and `nearest` finds the nearest match of so many bytes at least.
    ///
    /// # Errors
    /// A match that cannot be.
    pub(super) fn symbol<C: Coder>(
        &mut self,
        coder: &mut C,
        outlook: &Outlook,
        byte: u8,
        nearest: &mut dyn FnMut(usize) -> usize,
        symbol: Symbol,
    ) -> Result<Symbol> {
        let Outlook { here, later, .. } = *outlook;
        let kind = LENGTH_RANGES.partition_point(|first| *first <= here.len);
        // Short matches are not worth a long distance to some.
        let back = if (3..6).contains(&here.len) { here.back.ilog2() as usize } else { 0 };
        let context = ((kind * LATER_KINDS + later.min(LATER_KINDS - 1)) * BACK_KINDS + back.min(BACK_KINDS - 1)) * 2;
        let slot = &mut self.is_match[context + usize::from(outlook.put_off)];
        if !code_bit(coder, slot, symbol.is_match(), USES_MAX) {
            return Ok(Symbol::literal(byte));
        }
        let expected = here.len >= MATCH_MIN
            && code_bit(
                coder,
                &mut self.is_expected[kind * LATELY + self.lately],
                (symbol.len(), symbol.back()) == (here.len, here.back),
                USES_MAX,
            );
        self.lately = (self.lately << 1 | usize::from(expected)) % LATELY;
        if expected {
            return Ok(Symbol::found(here.len, here.back));
        }
        let same_len =
            here.len >= MATCH_MIN && code_bit(coder, &mut self.is_expected_len[kind], symbol.len() == here.len, USES_MAX);
        let len = if same_len {
            here.len
        } else {
            code_tree(coder, &mut self.lens, 8, symbol.len().saturating_sub(MATCH_MIN), USES_MAX) + MATCH_MIN
        };
        let near = if same_len { 0 } else { nearest(len) };
        let back = if near > 0 && code_bit(coder, &mut self.is_nearest[self.lately], symbol.back() == near, USES_MAX) {
            near
        } else {
            let told = distance(symbol.back().max(1));
            let symbol = code_tree(coder, &mut self.distances, 5, told.symbol, USES_MAX);
            if symbol >= DISTANCES {
                return Err(damaged("a stream goes back by a distance that does not exist"));
            }
            distance_of(symbol, code_plainly(coder, u32::from(DISTANCE_EXTRA[symbol]), told.extra))
        };
        if back > outlook.before || len > outlook.ahead {
            return Err(damaged("a stream repeats what is not there"));
        }
        Ok(Symbol::found(len, back))
    }

    /// Codes the form of a block whose symbols are known.
    ///
    /// # Errors
    /// Codes that cannot be.
    pub(super) fn form<C: Coder>(&mut self, coder: &mut C, kind: Kind, block: &Block, form: Option<&Form>) -> Result<Form> {
        Ok(match kind {
            Kind::Stored => Form::Stored,
            Kind::Fixed => Form::Fixed,
            Kind::Own => {
                let own = if let Some(Form::Own(own)) = form { Some(own) } else { None };
                Form::Own(self.headers.code(coder, &block.own_codes(), own)?)
            }
        })
    }
}

/// How a compressor writes a block's own codes, beside what zlib would write.
#[derive(Debug, Clone)]
struct Headers {
    is_count: [Slot; 2],
    counts: [Slot; 64],
    is_run: Vec<Slot>,
    /// By the length that is expected.
    symbols: Vec<Slot>,
    repeats: Vec<Slot>,
    is_code: Slot,
    written: [Slot; 16],
    lens: Vec<Slot>,
}

impl Default for Headers {
    fn default() -> Self {
        Self {
            is_count: [Slot::NEW; 2],
            counts: [Slot::NEW; 64],
            is_run: vec![Slot::NEW; LENGTHS],
            symbols: vec![Slot::NEW; 17 * 32],
            repeats: vec![Slot::NEW; 3 * 128],
            is_code: Slot::NEW,
            written: [Slot::NEW; 16],
            lens: vec![Slot::NEW; LENGTHS * 8],
        }
    }
}

impl Headers {
    fn code<C: Coder>(&mut self, coder: &mut C, expected: &Own, own: Option<&Own>) -> Result<Own> {
        let own = own.unwrap_or(expected);
        let mut counts = [0; 2];
        for (at, (code, usual)) in
            [(&own.literals, &expected.literals), (&own.distances, &expected.distances)].into_iter().enumerate()
        {
            let least = if at == 0 { 256 } else { 0 };
            counts[at] = if code_bit(coder, &mut self.is_count[at], code.last == usual.last, USES_MAX) {
                usual.last + 1
            } else {
                code_tree(coder, &mut self.counts[at * 32..][..32], 5, code.last - least, USES_MAX) + least + 1
            };
        }
        let [literals, distances] = counts;
        let usual_lens = expected.literals.lens[..literals.min(LITERALS)].iter().chain(&expected.distances.lens);
        let runs = self.runs(
            coder,
            literals + distances,
            &usual_lens.copied().collect::<Vec<_>>(),
            &expected.lens.runs,
            &own.lens.runs,
        )?;
        let both = codes_of(&runs, literals, distances);
        let (literals, distances) = both.ok_or_else(|| damaged("a stream has a code that cannot be"))?;
        let (code, written) = self.code_of_lens(coder, &runs, &own.lens);
        Ok(Own { literals, distances, lens: Lengths { runs, code, written } })
    }

    /// Codes the runs of `total` lengths; `usual` are those that zlib would write, `lens` the lengths that these stand for.
    fn runs<C: Coder>(
        &mut self,
        coder: &mut C,
        total: usize,
        lens: &[u8],
        usual: &[(usize, u32)],
        own: &[(usize, u32)],
    ) -> Result<Vec<(usize, u32)>> {
        let mut runs = Vec::with_capacity(own.len());
        let mut usual = usual.iter().copied().peekable();
        let (mut at, mut usual_at) = (0, 0);
        while at < total {
            while usual_at < at
                && let Some(run) = usual.next()
            {
                usual_at += run_len(run);
            }
            let run = own.get(runs.len()).copied().unwrap_or((0, 0));
            let expected = usual.peek().copied().filter(|_| usual_at == at);
            let run = match expected {
                Some(expected) if code_bit(coder, &mut self.is_run[expected.0], run == expected, USES_MAX) => expected,
                _ => {
                    let len = lens.get(at).map_or(16, |len| usize::from(*len));
                    let symbol = code_tree(coder, &mut self.symbols[len * 32..][..32], 5, run.0, USES_MAX);
                    let extra_bits = u32::from(
                        *LENGTH_CODE_EXTRA.get(symbol).ok_or_else(|| damaged("a stream has a length that does not exist"))?,
                    );
                    let kind = symbol.saturating_sub(16);
                    (
                        symbol,
                        code_tree(coder, &mut self.repeats[kind * 128..][..128], extra_bits, run.1 as usize, USES_MAX) as u32,
                    )
                }
            };
            at += run_len(run);
            runs.push(run);
        }
        Ok(runs)
    }

    fn code_of_lens<C: Coder>(&mut self, coder: &mut C, runs: &[(usize, u32)], own: &Lengths) -> (Code, usize) {
        let (code, written) = Lengths::code_of(runs);
        if code_bit(coder, &mut self.is_code, (&code.lens, written) == (&own.code.lens, own.written), USES_MAX) {
            return (code, written);
        }
        let written = code_tree(coder, &mut self.written, 4, own.written - 4, USES_MAX) + 4;
        let mut lens = vec![0; LENGTHS];
        for &symbol in &LENGTH_CODE_ORDER[..written.min(LENGTHS)] {
            lens[symbol] =
                code_tree(coder, &mut self.lens[symbol * 8..][..8], 3, usize::from(own.code.lens[symbol]), USES_MAX) as u8;
        }
        (Code::of_lens(lens, LENGTHS - 1), written.min(LENGTHS))
    }
}

/// Codes `bits` bits of which nothing is known.
fn code_plainly<C: Coder>(coder: &mut C, bits: u32, value: u32) -> u32 {
    (0..bits).rev().fold(0, |coded, place| coded << 1 | u32::from(coder.bit(value >> place & 1 == 1, 1 << 15)))
}
