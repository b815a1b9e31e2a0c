//! Several parsers at once on one stream, with what a single one would have decided.
//!
//! What a lazy parser finds at a place depends on the window before that place alone, and what it decides there on what it found: right behind
//! a match it remembers nothing else. So each parser but the first begins in the middle as if a match ended there, and once the one before it
//! ends a match where it ended one too, both decide alike from there on.

use std::thread;

use super::Style;
use super::block::Symbol;
use super::parser::Parser;
use super::plain::Plain;

/// Plain bytes for which a parser is worth beginning anew: it reads the window before them first.
pub(super) const SHARE_BYTES: usize = 256 << 10;
/// Plain bytes that a parser decides on behind the next one's beginning, so that both meet; again as many where they do not.
const MEET_BYTES: usize = 4 << 10;

/// The parsers of a stream.
#[derive(Debug)]
pub(super) struct Crew {
    /// The one that has decided on all before.
    first: Parser,
    /// Made once there is work for them.
    others: Vec<Parser>,
    others_max: usize,
    style: Style,
    looks: u64,
}

impl Crew {
    /// Makes `parsers` of them, one at least; see [`Crew::share`].
    pub(super) fn new(style: Style, parsers: usize) -> Self {
        let mut crew = Self { first: Parser::new(style), others: Vec::new(), others_max: 0, style, looks: 0 };
        crew.share(parsers);
        crew
    }

    /// Makes them `parsers` from now on; of a style that is not lazy one alone.
    pub(super) fn share(&mut self, parsers: usize) {
        self.others_max = if self.style.is_lazy() { parsers.saturating_sub(1) } else { 0 };
    }

    /// The next byte to decide on.
    pub(super) fn at(&self) -> usize {
        self.first.at
    }

    /// How many bytes are worth waiting for before it runs.
    pub(super) fn batch_bytes(&self) -> usize {
        if self.others_max == 0 { 0 } else { SHARE_BYTES * (1 + self.others_max) }
    }

    /// Decides on all that is known, as far as enough is known behind it, or `to_end`; returns the symbols.
    pub(super) fn run(&mut self, plain: &Plain, to_end: bool) -> Vec<Symbol> {
        let (from, decided, end) = (self.first.at, self.first.decided(), plain.end());
        let helpers = ((end - from) / SHARE_BYTES).saturating_sub(1).min(self.others_max);
        self.others.resize_with(self.others.len().max(helpers), || Parser::new(self.style));
        let cut = |number: usize| from + (end - from) * number / (helpers + 1);
        let first = &mut self.first;
        let mut made = Vec::new();
        let parts = thread::scope(|scope| {
            let mut threads = Vec::with_capacity(helpers);
            for (number, parser) in self.others[..helpers].iter_mut().enumerate() {
                let (start, until) = (cut(number + 1), cut(number + 2) + MEET_BYTES);
                let mut part = Part { parser, start, made: Vec::new() };
                let parse = move || {
                    part.parser.restart(plain, start);
                    part.parser.run(plain, until, to_end, &mut part.made);
                    part
                };
                // Without a thread for it the one before goes on.
                threads.extend(thread::Builder::new().name(format!("deflate-{number}")).spawn_scoped(scope, parse).ok());
            }
            first.run(plain, cut(1) + MEET_BYTES, to_end, &mut made);
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<Part<'_>>>()
        });
        let mut seen = (0, decided);
        for mut part in parts {
            join(first, &mut made, &mut seen, &mut part, (plain, to_end));
            self.looks += part.parser.take_looks();
        }
        first.run(plain, end, to_end, &mut made);
        self.looks += first.take_looks();
        made
    }

    /// Ends the content: returns the byte that still waits.
    pub(super) fn finish(&mut self, plain: &Plain) -> Option<Symbol> {
        self.first.finish(plain)
    }

    /// How many places have been looked at for matches.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }
}

/// What a parser that began in the middle, at `start`, has made.
struct Part<'a> {
    parser: &'a mut Parser,
    start: usize,
    made: Vec<Symbol>,
}

/// Puts `part` behind what `first` has made, from where both decide alike, and its parser in the place of `first`; leaves it out where
/// they do not meet.
fn join(
    first: &mut Parser,
    made: &mut Vec<Symbol>,
    seen: &mut (usize, usize),
    part: &mut Part<'_>,
    (plain, to_end): (&Plain, bool),
) {
    loop {
        if let Some((mine, others)) = meet(made, seen, &part.made, part.start) {
            made.truncate(mine);
            made.extend_from_slice(&part.made[others..]);
            std::mem::swap(first, part.parser);
            return;
        }
        let before = first.at;
        if before < part.parser.at {
            first.run(plain, before + MEET_BYTES, to_end, made);
        }
        if first.at == before {
            return;
        }
    }
}

/// Finds where both end a match at the same place, from `start` on, where `part` begins: counts of symbols. `seen` is a count of the symbols
/// of `made`, and the place where they end, none of which need be looked at again.
fn meet(made: &[Symbol], seen: &mut (usize, usize), part: &[Symbol], start: usize) -> Option<(usize, usize)> {
    let (mut others, mut end) = (0, start);
    while let Some(symbol) = made.get(seen.0) {
        seen.0 += 1;
        seen.1 += symbol.len();
        if seen.1 < start || !symbol.is_match() {
            continue;
        }
        while end < seen.1 {
            let next = part.get(others)?;
            others += 1;
            end += next.len();
        }
        if end == seen.1 && (others == 0 || part[others - 1].is_match()) {
            return Some((seen.0, others));
        }
    }
    None
}
