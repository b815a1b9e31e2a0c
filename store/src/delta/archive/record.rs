//! What the compressors of streams chose that no style makes: found by going through them once.

use std::collections::VecDeque;

use super::super::coder::{Encoder, Mark};
use super::super::format::damaged;
use super::deflate::{Choices, Habit, Reader, Replay};
use super::lzma::{self, Chunks, Trail};
use super::work::{BUILT_LOOKS_PER_BYTE_MAX, Work};
use super::{CHOICES_BYTES_MAX, PLAIN_STEP_BYTES};

/// Plain bytes by which habits are compared.
const SAMPLE_BYTES: usize = 128 << 10;
/// Plain bytes of samples in vain after which no other habit is tried.
const VAIN_BYTES_MAX: usize = 64 << 20;
/// Choices may cost such a part of the stream that they save.
const WORTH: usize = 4;
/// The same of LZMA2, whose choices cost more where content changed.
const LZMA2_WORTH: usize = 2;
/// A habit whose choices cost such a part of a stream, or twice what the best cost of one before, is not asked whether others fit better.
const FITS: u64 = 200;
const PARTS: u64 = 1000;
/// Going through a plain byte takes as long as so many looks, and so many of those as long as compressing one by a known style: measured 20 ns and 2.7 ns
/// on streams of ten compressors, and 38 ns.
const LOOKS_PER_PLAIN_BYTE: u64 = 10;
const LOOKS_PER_FOLDED_BYTE: u64 = 14;
/// What making a stream of LZMA2 takes for a literal and for a match of it, in plain bytes whose compressing takes as long: fitted to eight Debian packages of
/// native programs, scripts and Java. Twice what one thread takes, because no other shares it, as those do that compress by a known style.
const FOLDED_PER_LITERAL: u64 = 20;
const FOLDED_PER_MATCH: u64 = 50;

/// Tells the choices of one stream after the other.
#[derive(Debug)]
pub(super) struct Recorder {
    choices: Choices,
    lzma: lzma::Choices,
    encoder: Encoder,
    habit: Habit,
    /// What the best habit cost when it was found, in thousandths of the stream.
    fits: u64,
    vain_left: usize,
    work: Work,
    /// What going through all streams again takes, in plain bytes whose compressing takes as long.
    folded_bytes: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        let (choices, encoder) = (Choices::default(), Encoder::new());
        Self {
            choices,
            lzma: lzma::Choices::default(),
            encoder,
            habit: Habit::USUAL,
            fits: 0,
            vain_left: VAIN_BYTES_MAX,
            work: Work::default(),
            folded_bytes: 0,
        }
    }
}

impl Recorder {
    /// Tells the choices that make exactly `packed` of `plain`; `None` if they cannot be told, or cost more than they save.
    pub(super) fn record(&mut self, plain: &[u8], packed: &[u8]) -> Option<Habit> {
        // A stream that is no longer than its sample is gone through once where the habit is the right one.
        if plain.len() <= SAMPLE_BYTES {
            let before = self.place();
            if self.record_by(self.habit, plain, packed).is_some_and(|bytes| self.fits_well(bytes as u64, packed.len() as u64)) {
                return Some(self.habit);
            }
            self.back_to(before);
        }
        self.choose(plain, packed);
        let (habit, easy) = (self.habit, self.habit.at_ease());
        let mut recorded = |habit| self.record_by(habit, plain, packed).map(|_| habit);
        recorded(habit).or_else(|| if easy == habit { None } else { recorded(easy) })
    }

    /// Tells the choices that make the stream of LZMA2 `packed`, by what is on `trail`, and puts its content down in `plain`; says whether they can be told,
    /// at a cost that is worth it.
    pub(super) fn record_lzma2(&mut self, packed: &[u8], trail: Option<&Trail>, plain: &mut Vec<u8>) -> bool {
        let choices = &mut self.lzma;
        let (mark, learnt, before) = (self.encoder.mark(), choices.learnt(), self.encoder.len());
        let told = tell_lzma2(packed, (choices, &mut self.encoder, trail), self.work, plain);
        let bytes = self.encoder.len() - before;
        if let Some(folded) = told
            && bytes <= packed.len() / LZMA2_WORTH
            && self.encoder.len() <= CHOICES_BYTES_MAX
        {
            self.work.add(plain.len() as u64, choices.looks());
            self.folded_bytes += folded;
            return true;
        }
        self.encoder.back_to(&mark);
        choices.back_to(learnt);
        false
    }

    /// The choices of all streams that were recorded.
    pub(super) fn finish(self) -> Vec<u8> {
        self.encoder.finish()
    }

    /// What going through all of them again takes, in plain bytes whose compressing takes as long.
    pub(super) fn folded_bytes(&self) -> u64 {
        self.folded_bytes
    }

    /// Tells the choices of a whole stream, if that is worth it, and returns how many bytes they take.
    fn record_by(&mut self, habit: Habit, plain: &[u8], packed: &[u8]) -> Option<usize> {
        let before = self.place();
        let told = self.tell(habit, plain, packed, Told::Whole);
        let worth = told.filter(|(bytes, _)| *bytes <= packed.len() / WORTH && self.encoder.len() <= CHOICES_BYTES_MAX);
        let Some((bytes, looks)) = worth else {
            self.back_to(before);
            return None;
        };
        self.work.add(plain.len() as u64, looks);
        self.folded_bytes += (plain.len() as u64 * LOOKS_PER_PLAIN_BYTE + looks) / LOOKS_PER_FOLDED_BYTE;
        Some(bytes)
    }

    /// Says whether a habit that costs `bytes` of `packed` is as good as one may expect.
    fn fits_well(&self, bytes: u64, packed: u64) -> bool {
        bytes <= (packed / FITS).max(2 * packed * self.fits / PARTS)
    }

    /// Finds the habit that comes nearest, by the beginning of the stream: first what is looked up, then how far.
    fn choose(&mut self, plain: &[u8], packed: &[u8]) {
        let sample = &plain[..plain.len().min(SAMPLE_BYTES)];
        let shown = packed.len() as u64 * sample.len() as u64 / plain.len().max(1) as u64;
        let mut best = (self.cost(self.habit, sample, packed), self.habit);
        if self.fits_well(best.0.0, shown) {
            return;
        }
        for neighbours in [Habit::with_other_strings, Habit::with_other_chain] {
            for habit in neighbours(best.1) {
                let Some(left) = self.vain_left.checked_sub(sample.len()) else { return };
                self.vain_left = left;
                best = best.min((self.cost(habit, sample, packed), habit));
            }
        }
        // What nobody can tell says nothing of the next.
        if best.0.0 < u64::MAX {
            self.fits = best.0.0.min(shown) * PARTS / shown.max(1);
            self.habit = best.1;
        }
    }

    /// What a habit costs, bytes and then looks; as much as can be if it cannot be had.
    fn cost(&mut self, habit: Habit, sample: &[u8], packed: &[u8]) -> (u64, u64) {
        let before = self.place();
        let cost = self.tell(habit, sample, packed, Told::Sample);
        self.back_to(before);
        cost.map_or((u64::MAX, u64::MAX), |(bytes, looks)| (bytes as u64, looks))
    }

    /// Tells the choices of the whole stream, or of that part of it that `plain` shows, and returns how many bytes they take and how many looks.
    fn tell(&mut self, habit: Habit, plain: &[u8], packed: &[u8], told: Told) -> Option<(usize, u64)> {
        let before = self.encoder.len();
        let (mut reader, mut replay, mut rest) = (Reader::new(packed), Replay::new(habit), packed);
        let mut compare = |bytes: &[u8]| {
            rest = rest.strip_prefix(bytes).ok_or_else(|| damaged("a stream is spelled otherwise"))?;
            Ok(())
        };
        for step in plain.chunks(PLAIN_STEP_BYTES) {
            let models = (&mut self.choices, &mut self.encoder);
            replay.push(step, models, &mut || reader.block(), &mut compare).ok()?;
            if !self.work.allows(plain.len() as u64, replay.looks(), BUILT_LOOKS_PER_BYTE_MAX) {
                return None;
            }
        }
        let looks = replay.looks();
        let complete = match told {
            Told::Whole => {
                replay.finish((&mut self.choices, &mut self.encoder), &mut || reader.block(), &mut compare).ok()?;
                rest.is_empty()
            }
            // No spare work: what is too much for the sample is too much for the whole.
            Told::Sample => looks <= plain.len() as u64 * BUILT_LOOKS_PER_BYTE_MAX,
        };
        complete.then(|| (self.encoder.len() - before, looks))
    }

    fn place(&self) -> Place {
        Place { mark: self.encoder.mark(), choices: self.choices.clone(), work: self.work, folded_bytes: self.folded_bytes }
    }

    fn back_to(&mut self, place: Place) {
        self.encoder.back_to(&place.mark);
        (self.choices, self.work, self.folded_bytes) = (place.choices, place.work, place.folded_bytes);
    }
}

/// Tells the choices that make the stream of LZMA2 `packed`, and puts its content down in `plain`; returns what telling them takes, in plain bytes
/// whose compressing takes as long, or `None` if they do not make it, or cost more than is worth it.
fn tell_lzma2(
    packed: &[u8],
    (choices, encoder, trail): (&mut lzma::Choices, &mut Encoder, Option<&Trail>),
    work: Work,
    plain: &mut Vec<u8>,
) -> Option<u64> {
    let mut folded = 0;
    let bytes_max = encoder.len() + packed.len() / LZMA2_WORTH;
    let (mut replay, mut ahead, mut rest) = (lzma::Replay::new(choices), VecDeque::new(), packed);
    let mut compare = |bytes: &[u8]| {
        rest = rest.strip_prefix(bytes).ok_or_else(|| damaged("a stream is spelled otherwise"))?;
        Ok(())
    };
    let whole = Chunks::whole(packed, &mut |chunk, content| {
        plain.extend_from_slice(content);
        let (literals, matches) = chunk.counts();
        folded += literals * FOLDED_PER_LITERAL + matches * FOLDED_PER_MATCH;
        ahead.push_back(chunk);
        let pushed = replay.push(content, (choices, encoder, trail), &mut || ahead.pop_front(), &mut compare);
        pushed.is_ok() && encoder.len() <= bytes_max && work.allows(plain.len() as u64, choices.looks(), BUILT_LOOKS_PER_BYTE_MAX)
    });
    whole.ok()?;
    replay.finish((choices, encoder, trail), &mut || ahead.pop_front(), &mut compare).ok()?;
    rest.is_empty().then_some(folded)
}

/// Where a recorder was.
struct Place {
    mark: Mark,
    choices: Choices,
    work: Work,
    folded_bytes: u64,
}

/// How much of a stream is told.
#[derive(Debug, Clone, Copy)]
enum Told {
    Sample,
    Whole,
}
