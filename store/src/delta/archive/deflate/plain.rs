//! The plain content of a stream, as far as it is still needed.

use super::tables::MATCH_MAX;
use super::{AHEAD_BYTES, Family, WINDOW_BYTES};

/// Bytes that are no more needed before they are dropped.
const DROP_BYTES: usize = 1 << 20;

/// Held bytes; places count from the start of the content.
#[derive(Debug, Default)]
pub(super) struct Plain {
    held: Vec<u8>,
    /// Place of the first byte held.
    start: usize,
    /// Bytes at the end of those held that are not content.
    behind: usize,
}

impl Plain {
    /// Appends bytes and drops what lies before `needed` and before the window of `at`, the next place that is decided on.
    pub(super) fn extend(&mut self, bytes: &[u8], needed: usize, at: usize) {
        let keep = needed.min(at.saturating_sub(WINDOW_BYTES + AHEAD_BYTES));
        if keep - self.start >= DROP_BYTES {
            self.held.drain(..keep - self.start);
            self.start = keep;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Where the known bytes end.
    pub(super) fn end(&self) -> usize {
        self.start + self.held.len() - self.behind
    }

    /// Ends the content.
    ///
    /// gzip compares on behind the end: with two zeros, then with what was in its window before, if anything was.
    pub(super) fn end_here(&mut self, family: Family) {
        if family != Family::Gzip {
            return;
        }
        let end = self.end();
        self.behind = MATCH_MAX;
        self.held.extend([0, 0]);
        for at in end + 2..end + MATCH_MAX {
            let stale = at.checked_sub(WINDOW_BYTES).filter(|_| end >= 2 * WINDOW_BYTES);
            let byte = stale.and_then(|stale| self.held.get(stale.checked_sub(self.start)?).copied());
            self.held.push(byte.unwrap_or(0));
        }
    }

    pub(super) fn byte(&self, at: usize) -> u8 {
        self.held[at - self.start]
    }

    pub(super) fn bytes(&self, from: usize, to: usize) -> &[u8] {
        &self.held[from - self.start..to - self.start]
    }

    /// All that is held from `at` on, and behind the end what is compared there.
    pub(super) fn from(&self, at: usize) -> &[u8] {
        &self.held[at - self.start..]
    }
}
