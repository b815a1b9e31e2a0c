//! The plain content of a stream, as far back as its matches may go.

use super::BACK_MAX;
use crate::delta::matcher::common_prefix;

/// Bytes that are no more needed before they are dropped.
const DROP_BYTES: usize = 1 << 20;

/// Held bytes; places count from the start of the content.
#[derive(Debug)]
pub(super) struct Window {
    held: Vec<u8>,
    /// Place of the first byte held.
    start: usize,
    /// Where the dictionary began: nothing before is found.
    pub(super) floor: usize,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { held: Vec::new(), start: 0, floor: 0 }
    }

    /// Appends bytes, and drops those that are not needed at `at`, the next place that is decided on.
    pub(super) fn extend(&mut self, bytes: &[u8], at: usize) {
        let keep = at.saturating_sub(BACK_MAX);
        if keep >= self.start + DROP_BYTES {
            self.held.drain(..keep - self.start);
            self.start = keep;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Appends `len` bytes that lie `back` before the end.
    pub(super) fn repeat(&mut self, back: usize, len: usize) {
        let from = self.held.len() - back;
        if back >= len {
            self.held.extend_from_within(from..from + len);
            return;
        }
        // What is repeated is still being made.
        for at in from..from + len {
            self.held.push(self.held[at]);
        }
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.held.push(byte);
    }

    /// Where the known bytes end.
    pub(super) fn end(&self) -> usize {
        self.start + self.held.len()
    }

    /// How far back a match at `at` may go.
    pub(super) fn reach(&self, at: usize) -> usize {
        (at - self.floor).min(BACK_MAX)
    }

    #[inline]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.held[at - self.start]
    }

    /// The byte before `at`, 0 if there is none.
    #[inline]
    pub(super) fn before(&self, at: usize) -> u8 {
        if at > self.floor { self.byte(at - 1) } else { 0 }
    }

    pub(super) fn bytes(&self, from: usize, to: usize) -> &[u8] {
        &self.held[from - self.start..to - self.start]
    }

    /// How many bytes, `most` at most, are the same at `at` and `back` before it; 0 if that is too far.
    pub(super) fn common(&self, at: usize, back: usize, most: usize) -> usize {
        if back == 0 || back > self.reach(at) {
            return 0;
        }
        let most = most.min(self.end() - at);
        let here = &self.held[at - self.start..][..most];
        let there = &self.held[at - back - self.start..][..most];
        common_prefix(here, there)
    }
}
