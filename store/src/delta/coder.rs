//! A binary arithmetic coder: decisions with probabilities become bytes, and back.

/// Bytes of the decoder's register.
const REGISTER_BYTES: usize = 8;

/// One side of the coder; the models are written once, for both sides.
pub(super) trait Coder {
    /// Whether this side writes: the models look ahead in the target only then.
    const WRITES: bool;

    /// Codes one decision: the encoder writes `bit` and returns it, the decoder ignores `bit` and returns what was written.
    ///
    /// `one` is the probability of `true` in 65536ths, 1 to 65535.
    fn bit(&mut self, bit: bool, one: u16) -> bool;
}

/// Splits the range `low..=high` in proportion to `one`: `true` is the part up to and with the result.
fn split(low: u64, high: u64, one: u16) -> u64 {
    let range = high - low;
    low + (range >> 16) * u64::from(one) + (((range & 0xffff) * u64::from(one)) >> 16)
}

/// Writes decisions.
#[derive(Debug)]
pub(super) struct Encoder {
    low: u64,
    high: u64,
    out: Vec<u8>,
    /// Decisions so far.
    pub(super) decisions: u64,
}

impl Encoder {
    /// Starts an empty section.
    pub(super) fn new() -> Self {
        Self { low: 0, high: u64::MAX, out: Vec::new(), decisions: 0 }
    }

    /// Where the encoder is; see [`Encoder::back_to`].
    pub(super) fn mark(&self) -> Mark {
        Mark { low: self.low, high: self.high, len: self.out.len(), decisions: self.decisions }
    }

    /// Forgets what was written since `mark`; the models must, too.
    pub(super) fn back_to(&mut self, mark: &Mark) {
        self.out.truncate(mark.len);
        (self.low, self.high, self.decisions) = (mark.low, mark.high, mark.decisions);
    }

    /// Bytes of the section so far.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Ends the section: the fewest bytes that, followed by zeros without end, decode to what was written.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.low > 0 {
            // The top bytes differ, so one more than the lower one, followed by zeros, is within the range.
            self.out.push((self.low >> 56) as u8 + 1);
        }
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

/// A place to go back to.
#[derive(Debug)]
pub(super) struct Mark {
    low: u64,
    high: u64,
    len: usize,
    decisions: u64,
}

impl Coder for Encoder {
    const WRITES: bool = true;

    #[inline]
    fn bit(&mut self, bit: bool, one: u16) -> bool {
        self.decisions += 1;
        let middle = split(self.low, self.high, one);
        if bit {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
        while (self.low ^ self.high) >> 56 == 0 {
            self.out.push((self.high >> 56) as u8);
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
        bit
    }
}

/// Reads decisions from a section; behind its end it reads zeros without end, so whoever calls bounds what is decoded.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    low: u64,
    high: u64,
    code: u64,
    bytes: &'a [u8],
    used: usize,
}

impl<'a> Decoder<'a> {
    /// Starts to read the section `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { low: 0, high: u64::MAX, code: 0, bytes, used: 0 };
        for _ in 0..REGISTER_BYTES {
            decoder.code = decoder.code << 8 | decoder.next_byte();
        }
        decoder
    }

    /// Says whether all bytes of the section were read; zeros behind them may be too.
    pub(super) fn at_end(&self) -> bool {
        self.used >= self.bytes.len()
    }

    fn next_byte(&mut self) -> u64 {
        let byte = self.bytes.get(self.used).copied().unwrap_or(0);
        self.used += 1;
        u64::from(byte)
    }
}

impl Coder for Decoder<'_> {
    const WRITES: bool = false;

    #[inline]
    fn bit(&mut self, _: bool, one: u16) -> bool {
        let middle = split(self.low, self.high, one);
        let bit = self.code <= middle;
        if bit {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
        while (self.low ^ self.high) >> 56 == 0 {
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
            self.code = self.code << 8 | self.next_byte();
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_come_back_whatever_their_probabilities() {
        let mut state = 1_u64;
        let decisions: Vec<(bool, u16)> = (0..100_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let one = match state >> 62 {
                    0 => 1,
                    1 => u16::MAX,
                    _ => ((state >> 40) as u16).max(1),
                };
                (state >> 33 & 0xffff < u64::from(one), one)
            })
            .collect();
        let mut encoder = Encoder::new();
        for &(bit, one) in &decisions {
            encoder.bit(bit, one);
        }
        let bytes = encoder.finish();
        let mut decoder = Decoder::new(&bytes);
        for &(bit, one) in &decisions {
            assert_eq!(decoder.bit(false, one), bit);
        }
        assert!(decoder.at_end());
    }

    #[test]
    fn nothing_is_no_byte() {
        assert!(Encoder::new().finish().is_empty());
    }
}
