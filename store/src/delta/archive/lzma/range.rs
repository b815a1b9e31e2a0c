//! The range coder of LZMA: decisions with probabilities that are learnt as they are met.

/// Probability of `false`, in 2048ths.
pub(super) type Prob = u16;

const PROB_BITS: u32 = 11;
const LEARN_SHIFT: u32 = 5;
const TOP: u32 = 1 << 24;
/// Bytes that end a section, and that a reader begins with.
const ENDING_BYTES: usize = 5;

/// Nothing known: a half.
pub(super) const NEW: Prob = 1 << (PROB_BITS - 1);

/// One side of the coder; what LZMA codes with it is written once, for both sides.
pub(super) trait Range {
    /// Codes a decision: the writer writes `bit` and returns it, the reader ignores it and returns what was written.
    fn bit(&mut self, prob: &mut Prob, bit: bool) -> bool;

    /// Codes `bits` bits of which nothing is known, highest first.
    fn direct(&mut self, bits: u32, value: u32) -> u32;

    /// Codes a number of `bits` bits, highest first, each told by those before it; `probs` are 2^`bits` at least.
    #[inline]
    fn tree(&mut self, probs: &mut [Prob], bits: u32, value: u32) -> u32 {
        let mut node = 1;
        for place in (0..bits).rev() {
            node = node << 1 | u32::from(self.bit(&mut probs[node as usize], value >> place & 1 == 1));
        }
        node - (1 << bits)
    }

    /// The same, lowest bit first.
    #[inline]
    fn reverse_tree(&mut self, probs: &mut [Prob], bits: u32, value: u32) -> u32 {
        let (mut node, mut coded) = (1, 0);
        for place in 0..bits {
            let bit = u32::from(self.bit(&mut probs[node as usize], value >> place & 1 == 1));
            node = node << 1 | bit;
            coded |= bit << place;
        }
        coded
    }
}

/// Writes a section.
#[derive(Debug)]
pub(super) struct Writer {
    low: u64,
    range: u32,
    /// The last byte that a carry may still change, and how many there are with those of all ones behind it.
    cache: u8,
    pending: usize,
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { low: 0, range: u32::MAX, cache: 0, pending: 1, out: Vec::new() }
    }

    /// Ends the section.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for _ in 0..ENDING_BYTES {
            self.shift();
        }
        self.out
    }

    fn shift(&mut self) {
        let carry = (self.low >> 32) as u8;
        if self.low as u32 >= 0xff00_0000 && carry == 0 {
            // A later carry may go through it.
            self.pending += 1;
        } else {
            self.out.push(self.cache.wrapping_add(carry));
            let ones = self.out.len() + self.pending - 1;
            self.out.resize(ones, 0xff_u8.wrapping_add(carry));
            (self.cache, self.pending) = ((self.low >> 24) as u8, 1);
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }
}

impl Range for Writer {
    #[inline]
    fn bit(&mut self, prob: &mut Prob, bit: bool) -> bool {
        let bound = (self.range >> PROB_BITS) * u32::from(*prob);
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        learn(prob, bit);
        if self.range < TOP {
            self.range <<= 8;
            self.shift();
        }
        bit
    }

    fn direct(&mut self, bits: u32, value: u32) -> u32 {
        for place in (0..bits).rev() {
            self.range >>= 1;
            if value >> place & 1 == 1 {
                self.low += u64::from(self.range);
            }
            if self.range < TOP {
                self.range <<= 8;
                self.shift();
            }
        }
        value
    }
}

/// Reads a section; behind its end it reads zeros, and [`Reader::is_whole`] says no.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    range: u32,
    code: u32,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins to read; `None` if no section begins so.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let [0, code @ ..] = *bytes.first_chunk::<ENDING_BYTES>()? else { return None };
        Some(Self { range: u32::MAX, code: u32::from_be_bytes(code), bytes, at: ENDING_BYTES })
    }

    /// Says whether all of the section has been read, and nothing behind it.
    pub(super) fn is_whole(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline]
    fn normalize(&mut self) {
        if self.range < TOP {
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(self.bytes.get(self.at).copied().unwrap_or(0));
            self.at += 1;
        }
    }
}

impl Range for Reader<'_> {
    #[inline]
    fn bit(&mut self, prob: &mut Prob, _: bool) -> bool {
        let bound = (self.range >> PROB_BITS) * u32::from(*prob);
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        learn(prob, bit);
        self.normalize();
        bit
    }

    fn direct(&mut self, bits: u32, _: u32) -> u32 {
        let mut value = 0;
        for _ in 0..bits {
            self.range >>= 1;
            let bit = u32::from(self.code >= self.range);
            self.code -= self.range * bit;
            value = value << 1 | bit;
            self.normalize();
        }
        value
    }
}

#[inline]
fn learn(prob: &mut Prob, bit: bool) {
    if bit {
        *prob -= *prob >> LEARN_SHIFT;
    } else {
        *prob += ((1 << PROB_BITS) - *prob) >> LEARN_SHIFT;
    }
}
