//! Inflating, a piece at a time, with the end of the stream told exactly.

use zlib_rs::{Inflate, InflateFlush, Status};

/// Bits of the longest distance that a stream may go back by.
const WINDOW_BITS: u8 = 15;
/// Plain bytes given at once.
const PIECE_BYTES: usize = 128 << 10;

/// What a stream lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapper {
    None,
    /// zlib: two bytes before it, and a checksum behind it that must be right.
    Zlib,
}

impl Wrapper {
    /// Its bytes, before the stream and behind it.
    pub(super) fn lens(self) -> (usize, usize) {
        match self {
            Self::None => (0, 0),
            Self::Zlib => (2, 4),
        }
    }
}

/// What a step took and gave.
pub(super) struct Step<'a> {
    /// Bytes of the input that are done with.
    pub(super) taken: usize,
    pub(super) plain: &'a [u8],
    /// Whether the stream has ended.
    pub(super) ended: bool,
}

/// Inflates one stream; needs 192 KiB.
pub(super) struct Inflater {
    state: Inflate,
    piece: Vec<u8>,
}

impl Inflater {
    pub(super) fn new() -> Self {
        // No header before the stream.
        Self { state: Inflate::new(false, WINDOW_BITS), piece: vec![0; PIECE_BYTES] }
    }

    /// Goes on with `input`; `None` if that is no deflate stream, or nothing moves: it is cut short.
    pub(super) fn step(&mut self, input: &[u8]) -> Option<Step<'_>> {
        let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
        let done = self.state.decompress(input, &mut self.piece, InflateFlush::NoFlush).ok()?;
        let taken = (self.state.total_in() - before_in) as usize;
        let written = (self.state.total_out() - before_out) as usize;
        let ended = done == Status::StreamEnd;
        if !ended && taken == 0 && written == 0 {
            return None;
        }
        Some(Step { taken, plain: &self.piece[..written], ended })
    }

    /// Begins another stream, in `wrapper`.
    pub(super) fn reset(&mut self, wrapper: Wrapper) {
        self.state.reset(wrapper == Wrapper::Zlib);
    }

    /// Inflates the stream at the front of `input`, gives its plain bytes to `sink`, and returns how many bytes it has, packed (with its wrapper) and
    /// plain.
    ///
    /// # Errors
    /// How many bytes were gone through, packed and plain together, if there is no whole stream or `sink` has had enough (says `false`).
    pub(super) fn whole(
        &mut self,
        wrapper: Wrapper,
        input: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(usize, usize), usize> {
        self.reset(wrapper);
        let mut packed = 0;
        while let Some(step) = self.step(&input[packed..]) {
            packed += step.taken;
            if !sink(step.plain) {
                break;
            }
            if step.ended {
                return Ok((packed, self.state.total_out() as usize));
            }
        }
        Err((self.state.total_in() + self.state.total_out()) as usize)
    }
}
