//! What a compressor made of each place, coded in as few bits as its likeness to what one made before allows. Written once, for both sides.

use super::super::work::LOOK_BYTES;
use super::chunks::{Head, PLAIN_BYTES_MAX, Reset};
use super::finder::Finder;
use super::guide::{Expected, Guide};
use super::model::{ALIGN_BITS, LEN_MAX, LEN_MIN, SLOT_BITS, Symbol, slot_of, slot_range};
use super::trail::Trail;
use super::window::Window;
use crate::delta::coder::Coder;
use crate::delta::format::damaged;
use crate::delta::model::{NumberModel, Slot, code_bit, code_tree};
use crate::error::Result;

/// How fast a probability follows what happens, at its slowest: one such part a decision.
const USES_MAX: u32 = 250;
/// Whether the last four guesses were right.
const LATELY: usize = 16;
/// Kinds of guesses, see [`Guess`].
const GUESSES: usize = 12;
/// How many bytes the last distance would give: none, 1, 2 or 3, 4 to 15, more.
const NEARS: usize = 5;
const NEAR_MAX: usize = 16;
/// Kinds of symbols: a literal, a single byte again, each of the last distances again, another match.
const KIND_BITS: u32 = 3;
const SINGLE: usize = 1;
const AGAIN: usize = 2;
const MATCH: usize = 6;
/// Differences between distances and the expected ones that are remembered.
const SHIFTS: usize = 6;
/// Lengths that tell apart whether a match is as long as it can be; longer ones are one kind.
const FULL_LENS: usize = 16;
const LEN_BITS: u32 = 9;
const LEN_SETS: usize = 5;
/// Places among those found, counted from either end.
const RANKS: usize = 8;
/// What beginning a chunk counts as, in looks: it may forget all that was learnt.
const HEAD_LOOKS: u64 = 1 << 10;

/// What is learnt of compressors.
#[derive(Debug, Clone)]
pub(in super::super) struct Learnt {
    lately: usize,
    /// How far distances were from the expected ones, the last first.
    shifts: [i64; SHIFTS],
    is_right: Vec<Slot>,
    kinds: Vec<Slot>,
    is_full: Vec<Slot>,
    lens: Vec<Slot>,
    is_nearest: Slot,
    is_found: Vec<Slot>,
    slots: Vec<Slot>,
    align: Vec<Slot>,
    goes_on: Slot,
    is_packed: Slot,
    resets: [Slot; 4],
    props: Vec<Slot>,
    counts: NumberModel,
    /// Where the next stream begins in the bases, probably.
    origin: i64,
}

impl Learnt {
    fn new() -> Self {
        Self {
            lately: 0,
            shifts: [0; SHIFTS],
            is_right: vec![Slot::NEW; GUESSES * LATELY * NEARS],
            kinds: vec![Slot::NEW; (GUESSES * NEARS) << KIND_BITS],
            is_full: vec![Slot::NEW; LEN_SETS * FULL_LENS],
            lens: vec![Slot::NEW; LEN_SETS << LEN_BITS],
            is_nearest: Slot::NEW,
            is_found: vec![Slot::NEW; RANKS * RANKS],
            slots: vec![Slot::NEW; 1 << SLOT_BITS],
            align: vec![Slot::NEW; 1 << ALIGN_BITS],
            goes_on: Slot::NEW,
            is_packed: Slot::NEW,
            resets: [Slot::NEW; 4],
            props: vec![Slot::NEW; 1 << 8],
            counts: NumberModel::new(2),
            origin: 0,
        }
    }
}

/// What is supposed of a symbol.
#[derive(Debug, Clone, Copy)]
struct Guess {
    symbol: Symbol,
    /// What it rests on, less than [`GUESSES`].
    kind: usize,
    /// The distance in the bases, if there is a match.
    expected: Option<usize>,
    /// The distance that fits best; 0 if none does.
    nearest: usize,
}

/// Tells the choices of one stream after the other.
#[derive(Debug)]
pub(in super::super) struct Choices {
    learnt: Learnt,
    guide: Guide,
    finder: Finder,
    found: Vec<(usize, usize)>,
    /// Work of the present stream.
    looks: u64,
}

impl Default for Choices {
    fn default() -> Self {
        Self { learnt: Learnt::new(), guide: Guide::new(), finder: Finder::new(), found: Vec::new(), looks: 0 }
    }
}

impl Choices {
    /// What is learnt, before a stream; see [`Choices::back_to`].
    pub(in super::super) fn learnt(&self) -> Learnt {
        self.learnt.clone()
    }

    /// Forgets the streams since then.
    pub(in super::super) fn back_to(&mut self, learnt: Learnt) {
        self.learnt = learnt;
    }

    /// Begins a stream.
    pub(super) fn restart(&mut self) {
        self.guide.restart(self.learnt.origin);
        self.finder.restart();
        self.looks = 0;
    }

    /// How many places have been looked at, and bytes compared, for the present stream: the measure of its work.
    pub(in super::super) fn looks(&self) -> u64 {
        self.looks
    }

    /// Codes how a chunk begins; `None` where the stream ends.
    pub(super) fn head<C: Coder>(&mut self, coder: &mut C, head: Option<Head>) -> Option<Head> {
        self.looks += HEAD_LOOKS;
        if !code_bit(coder, &mut self.learnt.goes_on, head.is_some(), USES_MAX) {
            self.learnt.origin = self.guide.origin();
            return None;
        }
        let plain = head.map_or(1, Head::plain) as u64 - 1;
        let count =
            |learnt: &mut Learnt, coder: &mut C, set| learnt.counts.code(coder, set, plain).min(PLAIN_BYTES_MAX as u64 - 1);
        let (anew, reset, props) = match head {
            Some(Head::Stored { anew, .. }) => (anew, Reset::Nothing, 0),
            Some(Head::Packed { reset, props, .. }) => (false, reset, props),
            None => (false, Reset::Nothing, 0),
        };
        if code_bit(coder, &mut self.learnt.is_packed, matches!(head, Some(Head::Packed { .. })), USES_MAX) {
            let reset = Reset::ALL[code_tree(coder, &mut self.learnt.resets, 2, reset as usize, USES_MAX)];
            let props =
                if reset < Reset::Props { 0 } else { code_tree(coder, &mut self.learnt.props, 8, props.into(), USES_MAX) as u8 };
            return Some(Head::Packed { reset, props, plain: count(&mut self.learnt, coder, 0) as usize + 1 });
        }
        let anew = coder.bit(anew, 1 << 15);
        Some(Head::Stored { anew, plain: count(&mut self.learnt, coder, 1) as usize + 1 })
    }

    /// Codes what was made of the place `at`, of `most` bytes at most; `backs` are the last distances.
    ///
    /// # Errors
    /// I/O on `trail`; a symbol that does not make what is there.
    pub(super) fn symbol<C: Coder>(
        &mut self,
        coder: &mut C,
        trail: Option<&Trail>,
        (window, at, most): (&Window, usize, usize),
        backs: &[usize; 4],
        told: Symbol,
    ) -> Result<Symbol> {
        let most = most.min(LEN_MAX);
        let expected = match trail {
            Some(trail) => self.guide.expect(trail, window, at, &mut self.looks)?,
            None => Expected::Nothing,
        };
        let near = match window.common(at, backs[0], most.min(NEAR_MAX)) {
            0 => 0,
            1 => 1,
            2..=3 => 2,
            4..NEAR_MAX => 3,
            _ => 4,
        };
        let guess = self.guess(expected, (window, at, most), backs, near);
        let slot = &mut self.learnt.is_right[(guess.kind * LATELY + self.learnt.lately) * NEARS + near];
        let right = code_bit(coder, slot, guess.symbol == told, USES_MAX);
        self.learnt.lately = (self.learnt.lately << 1 | usize::from(right)) % LATELY;
        self.guide.learn(right);
        let symbol = if right { guess.symbol } else { self.other(coder, &guess, (window, at, most), (backs, near), told)? };
        if symbol.len() > 1
            && let Some(expected) = guess.expected
        {
            self.shifted(symbol.back(backs) as i64 - expected as i64);
        }
        Ok(symbol)
    }

    fn guess(
        &mut self,
        expected: Expected,
        (window, at, most): (&Window, usize, usize),
        backs: &[usize; 4],
        near: usize,
    ) -> Guess {
        let of = |kind, symbol| Guess { symbol, kind, expected: None, nearest: 0 };
        let (back, len, whole, moved) = match expected {
            Expected::Nothing if near >= 2 => return of(0, Symbol::again(0, window.common(at, backs[0], most))),
            Expected::Nothing => return of(0, Symbol::Literal),
            Expected::Literal => return of(1, Symbol::Literal),
            Expected::Short if near > 0 => return of(2, Symbol::again(0, 1)),
            Expected::Short => return of(3, Symbol::Literal),
            Expected::Match { back, len, whole, moved } => (back, len.min(most), whole, moved),
        };
        let (mut nearest, mut fit) = (0, 0);
        let shifted = |shift: i64| usize::try_from(back as i64 + shift).unwrap_or(0);
        for back in moved.into_iter().chain([back]).chain(self.learnt.shifts.map(shifted)) {
            let common = window.common(at, back, len);
            self.looks += 1 + (common / LOOK_BYTES) as u64;
            if common > fit {
                (nearest, fit) = (back, common);
            }
            if fit == len {
                break;
            }
        }
        let index = backs.iter().position(|known| *known == nearest);
        let again = usize::from(index.is_some());
        let (kind, symbol) = match fit {
            LEN_MIN.. => {
                let symbol = index.map_or(Symbol::found(nearest, fit), |index| Symbol::again(index, fit));
                (if fit == len { 4 + usize::from(whole) + 2 * again } else { 10 + again }, symbol)
            }
            1 if len == 1 && nearest == backs[0] => (8, Symbol::again(0, 1)),
            _ => (9, Symbol::Literal),
        };
        Guess { symbol, kind, expected: Some(back), nearest }
    }

    /// Codes a symbol that was not guessed.
    fn other<C: Coder>(
        &mut self,
        coder: &mut C,
        guess: &Guess,
        (window, at, most): (&Window, usize, usize),
        (backs, near): (&[usize; 4], usize),
        told: Symbol,
    ) -> Result<Symbol> {
        let kind = match told {
            Symbol::Literal => 0,
            Symbol::Again { index: 0, len: 1 } => SINGLE,
            Symbol::Again { index, .. } => AGAIN + usize::from(index),
            Symbol::Match { .. } => MATCH,
        };
        let kinds = &mut self.learnt.kinds[(guess.kind * NEARS + near) << KIND_BITS..][..1 << KIND_BITS];
        match code_tree(coder, kinds, KIND_BITS, kind, USES_MAX) {
            0 => Ok(Symbol::Literal),
            SINGLE if near > 0 => Ok(Symbol::again(0, 1)),
            kind @ AGAIN..MATCH => {
                let index = kind - AGAIN;
                let len = self.len(coder, index, window.common(at, backs[index], most), told.len())?;
                Ok(Symbol::again(index, len))
            }
            MATCH => {
                let back = self.back(coder, guess.nearest, (window, at, most), told.back(backs));
                let len = self.len(coder, LEN_SETS - 1, window.common(at, back, most), told.len())?;
                Ok(Symbol::found(back, len))
            }
            _ => Err(damaged("a stream repeats what is not there")),
        }
    }

    /// Codes a length, `full` at most.
    fn len<C: Coder>(&mut self, coder: &mut C, set: usize, full: usize, len: usize) -> Result<usize> {
        self.looks += (full / LOOK_BYTES) as u64;
        let is_full = &mut self.learnt.is_full[set * FULL_LENS + full.min(FULL_LENS - 1)];
        let len = if code_bit(coder, is_full, len == full, USES_MAX) {
            full
        } else {
            code_tree(coder, &mut self.learnt.lens[set << LEN_BITS..][..1 << LEN_BITS], LEN_BITS, len, USES_MAX)
        };
        if (LEN_MIN..=full).contains(&len) { Ok(len) } else { Err(damaged("a stream repeats what is not there")) }
    }

    /// Codes a distance: that which fits best of those expected, one that is found, or any other.
    fn back<C: Coder>(
        &mut self,
        coder: &mut C,
        nearest: usize,
        (window, at, most): (&Window, usize, usize),
        told: usize,
    ) -> usize {
        let mut found = std::mem::take(&mut self.found);
        self.looks += self.finder.find(window, at, most, &mut found);
        let known = nearest == 0 || found.iter().any(|(_, back)| *back == nearest);
        let mut chosen = None;
        if !known && code_bit(coder, &mut self.learnt.is_nearest, told == nearest, USES_MAX) {
            chosen = Some(nearest);
        }
        for (rank, &(_, back)) in found.iter().rev().enumerate() {
            let set = rank.min(RANKS - 1) * RANKS + (found.len() - rank).min(RANKS - 1);
            if chosen.is_none() && code_bit(coder, &mut self.learnt.is_found[set], told == back, USES_MAX) {
                chosen = Some(back);
            }
        }
        self.found = found;
        chosen.unwrap_or_else(|| self.any_back(coder, told))
    }

    /// Codes a distance as LZMA would.
    fn any_back<C: Coder>(&mut self, coder: &mut C, told: usize) -> usize {
        let told = (told.max(1) - 1) as u32;
        let slot = code_tree(coder, &mut self.learnt.slots, SLOT_BITS, slot_of(told) as usize, USES_MAX);
        let (front, bits) = slot_range(slot as u32);
        let rest = told.wrapping_sub(front) as usize;
        let low = bits.min(ALIGN_BITS);
        let upper =
            (low..bits).rev().fold(0, |coded, place| coded << 1 | usize::from(coder.bit(rest >> place & 1 == 1, 1 << 15)));
        let lower = code_tree(coder, &mut self.learnt.align[..1 << low], low, rest & ((1 << low) - 1), USES_MAX);
        front as usize + (upper << low) + lower + 1
    }

    fn shifted(&mut self, shift: i64) {
        if shift != 0 {
            let shifts = &mut self.learnt.shifts;
            let last = shifts.iter().position(|known| *known == shift).unwrap_or(SHIFTS - 1);
            shifts[..=last].rotate_right(1);
            shifts[0] = shift;
        }
    }
}
