//! What becomes a match and what a literal, as zlib decides.

use super::block::Symbol;
use super::plain::Plain;
use super::strings::Strings;
use super::tables::MATCH_MIN;
use super::{AHEAD_BYTES, BACK_MAX, Effort, LONG_BYTES_MAX, Style};

/// Farther matches of three bytes are not worth it to a lazy parser.
const SHORT_BACK_MAX: usize = 4096;

/// Decides byte by byte.
#[derive(Debug)]
pub(super) struct Parser {
    effort: Effort,
    lazy: bool,
    strings: Strings,
    /// The next byte to decide on.
    pub(super) at: usize,
    /// What was found at the place before `at`: length (2: nothing) and place.
    found: (usize, usize),
    /// Whether the byte before `at` waits for a decision.
    waiting: bool,
}

impl Parser {
    pub(super) fn new(style: Style) -> Self {
        Self {
            effort: Effort::of(style.level),
            lazy: style.is_lazy(),
            strings: Strings::new(style.family, style.memory, Effort::of(style.level).chain),
            at: 0,
            found: (MATCH_MIN - 1, 0),
            waiting: false,
        }
    }

    /// Begins anew at `at`, as if a match ended there, knowing the strings of the window before: those that a lazy parser that came this way
    /// knows, and can find, are the same.
    pub(super) fn restart(&mut self, plain: &Plain, at: usize) {
        self.strings.restart(plain, at);
        (self.at, self.found, self.waiting) = (at, (MATCH_MIN - 1, 0), false);
    }

    /// Where its symbols end.
    pub(super) fn decided(&self) -> usize {
        self.at - usize::from(self.waiting)
    }

    /// Decides on what comes before `until`, or a little more, as far as enough is known behind it, or `to_end`; adds symbols to `out`.
    pub(super) fn run(&mut self, plain: &Plain, until: usize, to_end: bool, out: &mut Vec<Symbol>) {
        while self.at < until {
            let ahead = plain.end() - self.at;
            // All strings of a match are remembered whole.
            if ahead == 0 || (ahead < AHEAD_BYTES + LONG_BYTES_MAX && !to_end) {
                break;
            }
            if self.lazy { self.decide_lazily(plain, ahead, out) } else { self.decide(plain, ahead, out) }
        }
    }

    /// Ends the content: returns the byte that still waits.
    pub(super) fn finish(&mut self, plain: &Plain) -> Option<Symbol> {
        std::mem::take(&mut self.waiting).then(|| Symbol::literal(plain.byte(self.at - 1)))
    }

    /// How many places have been looked at for matches since this was asked last.
    pub(super) fn take_looks(&mut self) -> u64 {
        std::mem::take(&mut self.strings.looks)
    }

    /// Takes the longest match here, else a literal: levels 1 to 3.
    fn decide(&mut self, plain: &Plain, ahead: usize, out: &mut Vec<Symbol>) {
        let (len, place) = self.search(plain, ahead, MATCH_MIN - 1);
        if len < MATCH_MIN {
            out.push(Symbol::literal(plain.byte(self.at)));
            self.at += 1;
            return;
        }
        out.push(Symbol::found(len, self.at - place));
        if len <= self.effort.lazy && ahead - len >= MATCH_MIN {
            for at in self.at + 1..self.at + len {
                self.strings.insert(plain, at);
            }
        }
        self.at += len;
    }

    /// Takes a match only if there is no longer one at the next byte: levels 4 to 9.
    fn decide_lazily(&mut self, plain: &Plain, ahead: usize, out: &mut Vec<Symbol>) {
        let (before, place) = self.found;
        let mut found = (MATCH_MIN - 1, 0);
        if before < self.effort.lazy {
            found = self.search(plain, ahead, before);
        } else if ahead >= MATCH_MIN {
            self.strings.insert(plain, self.at);
        }
        if before >= MATCH_MIN && found.0 <= before {
            let start = self.at - 1;
            out.push(Symbol::found(before, start - place));
            let end = start + before;
            for at in self.at + 1..end.min(plain.end() - 2) {
                self.strings.insert(plain, at);
            }
            (self.at, self.found, self.waiting) = (end, (MATCH_MIN - 1, 0), false);
            return;
        }
        if self.waiting {
            out.push(Symbol::literal(plain.byte(self.at - 1)));
        }
        self.waiting = true;
        self.found = found;
        self.at += 1;
    }

    /// Remembers the string here and finds the longest earlier one that is longer than `than`.
    fn search(&mut self, plain: &Plain, ahead: usize, than: usize) -> (usize, usize) {
        if ahead < MATCH_MIN {
            return (MATCH_MIN - 1, 0);
        }
        let head = self.strings.insert(plain, self.at);
        if head == 0 || self.at - head > BACK_MAX {
            return (MATCH_MIN - 1, 0);
        }
        let short_back_max = if self.lazy { SHORT_BACK_MAX } else { BACK_MAX };
        self.strings.longest(plain, (self.at, head), than, short_back_max, &self.effort)
    }
}
