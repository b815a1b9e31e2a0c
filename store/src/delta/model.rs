//! Adaptive models: what the probability of the next decision is, learnt from the decisions before.
//!
//! Integers only, so that every machine computes the same probabilities.

use std::sync::LazyLock;

use super::coder::Coder;
use super::echo::TRUSTS;

/// Fraction bits of a logit: 256 is one unit of the natural logarithm.
const LOGIT_ONE: usize = 256;
/// Largest logit: a probability within 11 units of certain.
const LOGIT_MAX: i32 = 11 * 256 - 1;
/// Logits from `-LOGIT_MAX` to `LOGIT_MAX`.
const SQUASH_LEN: usize = 2 * LOGIT_MAX as usize + 1;
/// Probabilities in 4096ths.
const STRETCH_LEN: usize = 4096;
/// e^(-1/256) in 2^48ths.
const DECAY: u128 = 280_377_609_773_054;
/// Fraction bits of a mixer's weights.
const WEIGHT_BITS: u32 = 16;

/// Worked out once: many patches are of small files.
pub(super) static LOGISTIC: LazyLock<Logistic> = LazyLock::new(Logistic::new);

/// The logistic function and its inverse as tables.
#[derive(Debug)]
pub(super) struct Logistic {
    /// Probability in 65536ths of logit `index - LOGIT_MAX`.
    squash: Box<[u16; SQUASH_LEN]>,
    /// Logit of probability `index` in 4096ths.
    stretch: Box<[i16; STRETCH_LEN]>,
}

impl Logistic {
    /// Computes the tables.
    fn new() -> Self {
        let mut upper = Vec::with_capacity(LOGIT_ONE * 11);
        let mut power: u128 = 1 << 48;
        for _ in 0..=LOGIT_MAX {
            // 1 / (1 + e^-x), at least a half.
            upper.push(((1_u128 << 64) / ((1 << 48) + power)).clamp(1, 65535) as u16);
            power = (power * DECAY) >> 48;
        }
        let lower = upper[1..].iter().rev().map(|&p| (65536 - u32::from(p)) as u16);
        let mut squash = Box::new([0; SQUASH_LEN]);
        for (to, p) in squash.iter_mut().zip(lower.chain(upper.iter().copied())) {
            *to = p;
        }
        let mut stretch = Box::new([0; STRETCH_LEN]);
        let mut at = 0;
        for (p, logit) in stretch.iter_mut().enumerate() {
            while at + 1 < squash.len() && usize::from(squash[at]) < p * 16 + 8 {
                at += 1;
            }
            *logit = (at as i32 - LOGIT_MAX) as i16;
        }
        Self { squash, stretch }
    }

    #[inline]
    fn squash(&self, logit: i32) -> u16 {
        self.squash[(logit.clamp(-LOGIT_MAX, LOGIT_MAX) + LOGIT_MAX) as usize]
    }

    #[inline]
    fn stretch(&self, one: u16) -> i32 {
        i32::from(self.stretch[usize::from(one >> 4)])
    }
}

/// An adaptive probability: 22 bits of it, and how often it was used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(u32);

const USES_BITS: u32 = 10;

impl Slot {
    /// Nothing known: a half.
    pub(super) const NEW: Self = Self(1 << 31);

    /// A first guess, in 65536ths.
    pub(super) const fn guess(one: u16) -> Self {
        Self((one as u32) << 16)
    }

    #[inline]
    pub(super) fn one(self) -> u16 {
        ((self.0 >> 16) as u16).clamp(1, u16::MAX)
    }

    /// Moves towards `bit`: by much while it is young, by one `uses_max`th later.
    #[inline]
    pub(super) fn learn(&mut self, bit: bool, uses_max: u32) {
        let uses = self.0 & ((1 << USES_BITS) - 1);
        let p = i64::from(self.0 >> USES_BITS);
        let goal = if bit { (1 << 22) - 1 } else { 0 };
        let p = p + (((goal - p) * i64::from(SHARES[uses as usize])) >> 16);
        self.0 = (p as u32) << USES_BITS | if uses < uses_max { uses + 1 } else { uses };
    }
}

/// Largest `uses_max`.
const USES_MAX: u32 = 1023;
/// 65536 / (uses + 1.6).
const SHARES: [u32; USES_MAX as usize + 1] = {
    let mut shares = [0; USES_MAX as usize + 1];
    let mut uses = 0;
    while uses < shares.len() {
        shares[uses] = 655_360 / (uses as u32 * 10 + 16);
        uses += 1;
    }
    shares
};

/// Codes `bit` with one slot.
#[inline]
pub(super) fn code_bit<C: Coder>(coder: &mut C, slot: &mut Slot, bit: bool, uses_max: u32) -> bool {
    let bit = coder.bit(bit, slot.one());
    slot.learn(bit, uses_max);
    bit
}

/// Codes a number of `bits` bits, highest first, each told by those before it; `slots` are 2^`bits` at least.
#[inline]
pub(super) fn code_tree<C: Coder>(coder: &mut C, slots: &mut [Slot], bits: u32, value: usize, uses_max: u32) -> usize {
    let mut node = 1;
    for place in (0..bits).rev() {
        let bit = code_bit(coder, &mut slots[node], value >> place & 1 == 1, uses_max);
        node = node << 1 | usize::from(bit);
    }
    node - (1 << bits)
}

/// Mixes the predictions of `N` slots by weights that are learnt, one set of weights a situation.
#[derive(Debug)]
pub(super) struct Mixer<const N: usize> {
    weights: Vec<[i32; N]>,
    rate: i32,
}

impl<const N: usize> Mixer<N> {
    /// Makes a mixer with `sets` sets of weights that moves by `rate`.
    pub(super) fn new(sets: usize, rate: i32) -> Self {
        let share = (1 << WEIGHT_BITS) / N as i32;
        Self { weights: vec![[share + share / 2; N]; sets], rate }
    }

    /// Codes `bit` with `slots`, which learn it.
    #[inline]
    pub(super) fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        tables: &Logistic,
        set: usize,
        slots: &mut [Slot; N],
        bit: bool,
        uses_max: u32,
    ) -> bool {
        // Plain loops here and below: `map` over an array is left as a call, once a bit.
        let mut logits = [0; N];
        for (logit, slot) in logits.iter_mut().zip(&*slots) {
            *logit = tables.stretch(slot.one());
        }
        let weights = &mut self.weights[set];
        let dot: i64 = logits.iter().zip(weights.iter()).map(|(&logit, &weight)| i64::from(logit) * i64::from(weight)).sum();
        let one = tables.squash((dot >> WEIGHT_BITS).clamp(i64::from(-LOGIT_MAX), i64::from(LOGIT_MAX)) as i32);
        let bit = coder.bit(bit, one);
        let miss = (if bit { 65536 } else { 0 }) - i32::from(one);
        for (weight, logit) in weights.iter_mut().zip(logits) {
            *weight = (*weight + ((((logit * miss) >> 16) * self.rate) >> 4)).clamp(-(8 << WEIGHT_BITS), 8 << WEIGHT_BITS);
        }
        for slot in slots {
            slot.learn(bit, uses_max);
        }
        bit
    }
}

/// The slots of one half of a byte in one context: together in a line of the cache, so that four decisions wait for memory once.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Line([Slot; 16]);

/// Codes whole bytes in `N` contexts, and a guess if there is one, bit by bit, highest first.
#[derive(Debug)]
pub(super) struct ByteModel<const N: usize> {
    lines: Vec<Line>,
    shift: u32,
    /// By how far a guess is trusted, and what it says.
    guesses: [Slot; 2 * TRUSTS],
    mixer: Mixer<N>,
    uses_max: u32,
}

impl<const N: usize> ByteModel<N> {
    /// Makes a model with 2^`bits` slots and `sets` sets of weights.
    pub(super) fn new(bits: u32, sets: usize, uses_max: u32) -> Self {
        let bits = bits - 4;
        Self {
            lines: vec![Line([Slot::NEW; 16]); 1 << bits],
            shift: 64 - bits,
            guesses: [Slot::NEW; 2 * TRUSTS],
            mixer: Mixer::new(sets * 256, 24),
            uses_max,
        }
    }

    /// Codes `byte` in `contexts` (any numbers; the position in the array tells them apart) with the weights `set`.
    pub(super) fn code<C: Coder>(&mut self, coder: &mut C, tables: &Logistic, set: usize, contexts: &[u64; N], byte: u8) -> u8 {
        self.code_guessed(coder, tables, set, contexts, None, byte)
    }

    /// Codes a number below 16 likewise.
    pub(super) fn code_nibble<C: Coder>(
        &mut self,
        coder: &mut C,
        tables: &Logistic,
        set: usize,
        contexts: &[u64; N],
        number: u8,
    ) -> u8 {
        // As the lower half of a byte.
        self.code_from(1 << 4, (coder, tables), (set, contexts, None), number)
    }

    /// Codes `byte` likewise, but with a guess, and how far it is trusted, in place of the last context.
    pub(super) fn code_guessed<C: Coder>(
        &mut self,
        coder: &mut C,
        tables: &Logistic,
        set: usize,
        contexts: &[u64; N],
        guess: Option<(usize, u8)>,
        byte: u8,
    ) -> u8 {
        self.code_from(1, (coder, tables), (set, contexts, guess), byte)
    }

    /// Codes what is left of `byte` behind the bits of `node`, which begins with a one.
    #[inline]
    fn code_from<C: Coder>(
        &mut self,
        mut node: usize,
        (coder, tables): (&mut C, &Logistic),
        (set, contexts, guess): (usize, &[u64; N], Option<(usize, u8)>),
        byte: u8,
    ) -> u8 {
        while node < 1 << 8 {
            let half = usize::from(node >= 1 << 4);
            let mut lines = [0; N];
            for (index, line) in lines.iter_mut().enumerate() {
                let context = contexts[index] ^ (index as u64 + 1) << 56;
                *line = (hash(context).wrapping_add(node as u64).wrapping_mul(MULTIPLIER) >> self.shift) as usize;
            }
            let mut within = 1_usize;
            for place in (0..4).rev() {
                let place = place + 4 * (1 - half);
                let mut slots = [Slot::NEW; N];
                for (slot, line) in slots.iter_mut().zip(lines) {
                    *slot = self.lines[line].0[within];
                }
                let mut at_guess = 0;
                if let Some((trust, guess)) = guess {
                    // A guess that was wrong in a higher bit is none.
                    let right = usize::from(guess) >> (place + 1) | 1 << (7 - place) == node;
                    let trust = if right { trust } else { 0 };
                    at_guess = 2 * trust + usize::from(guess >> place & 1);
                    slots[N - 1] = self.guesses[at_guess];
                }
                let bit = byte >> place & 1 == 1;
                let bit = self.mixer.code(coder, tables, set * 256 + node, &mut slots, bit, self.uses_max);
                for (slot, line) in slots.into_iter().zip(lines) {
                    self.lines[line].0[within] = slot;
                }
                if guess.is_some() {
                    self.guesses[at_guess] = slots[N - 1];
                }
                node = node << 1 | usize::from(bit);
                within = within << 1 | usize::from(bit);
            }
        }
        node as u8
    }
}

/// Codes numbers: their length in bits, then the bits below the highest, the upper ones learnt.
#[derive(Debug, Clone)]
pub(super) struct NumberModel {
    lengths: Vec<[Slot; 128]>,
    tops: Vec<[Slot; 8]>,
}

/// Bits of a number's length.
const LENGTH_BITS: u32 = 7;
/// Bits below the highest that are learnt.
const TOP_BITS: u32 = 3;

impl NumberModel {
    /// Makes a model for `sets` kinds of numbers.
    pub(super) fn new(sets: usize) -> Self {
        Self { lengths: vec![[Slot::NEW; 128]; sets], tops: vec![[Slot::NEW; 8]; sets * 65] }
    }

    /// Codes `number`, less than 2^63, of kind `set`.
    pub(super) fn code<C: Coder>(&mut self, coder: &mut C, set: usize, number: u64) -> u64 {
        let number = number + 1;
        let length = 64 - number.leading_zeros();
        let length = code_tree(coder, &mut self.lengths[set], LENGTH_BITS, length as usize, 60).clamp(1, 64) as u32;
        let mut value = 1_u64;
        let mut top = 1_usize;
        for place in (0..length - 1).rev() {
            let bit = number >> place & 1 == 1;
            let learnt = length - 2 - place < TOP_BITS;
            let bit = if learnt {
                let bit = code_bit(coder, &mut self.tops[set * 65 + length as usize][top], bit, 60);
                top = top << 1 | usize::from(bit);
                bit
            } else {
                coder.bit(bit, 1 << 15)
            };
            value = value << 1 | u64::from(bit);
        }
        value - 1
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a context over 64 bits.
#[inline]
pub(super) fn hash(context: u64) -> u64 {
    let mixed = (context ^ context >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ mixed >> 29).wrapping_mul(MULTIPLIER)
}
