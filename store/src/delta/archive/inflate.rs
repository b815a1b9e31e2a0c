//! Inflating, a piece at a time, with the end of the stream told exactly.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

/// Plain bytes given at once.
const PIECE_BYTES: usize = 128 << 10;

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
    state: Box<InflateState>,
    piece: Vec<u8>,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { state: InflateState::new_boxed(DataFormat::Raw), piece: vec![0; PIECE_BYTES] }
    }

    /// Goes on with `input`; `None` if that is no deflate stream, or nothing moves: it is cut short.
    pub(super) fn step(&mut self, input: &[u8]) -> Option<Step<'_>> {
        let done = inflate(&mut self.state, input, &mut self.piece, MZFlush::None);
        let ended = done.status == Ok(MZStatus::StreamEnd);
        let moved = done.bytes_consumed > 0 || done.bytes_written > 0;
        if !ended && (done.status.is_err() || !moved) {
            return None;
        }
        Some(Step { taken: done.bytes_consumed, plain: &self.piece[..done.bytes_written], ended })
    }

    /// Begins another stream.
    pub(super) fn reset(&mut self) {
        self.state.reset(DataFormat::Raw);
    }

    /// Inflates the stream at the front of `input`, gives its plain bytes to `sink`, and returns how many bytes it has, packed and plain;
    /// `None` if there is no whole stream or `sink` has had enough (says `false`).
    pub(super) fn whole(&mut self, input: &[u8], sink: &mut dyn FnMut(&[u8]) -> bool) -> Option<(usize, usize)> {
        self.reset();
        let (mut packed, mut plain) = (0, 0);
        loop {
            let step = self.step(&input[packed..])?;
            packed += step.taken;
            plain += step.plain.len();
            if !sink(step.plain) {
                return None;
            }
            if step.ended {
                return Some((packed, plain));
            }
        }
    }
}
