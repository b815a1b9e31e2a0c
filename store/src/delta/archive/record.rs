//! What the compressors of streams chose that no style makes: found by going through them once.

use super::super::coder::Encoder;
use super::deflate::{Choices, Habit, Reader, Replay};
use super::work::{BUILT_LOOKS_PER_BYTE_MAX, Work};
use super::{CHOICES_BYTES_MAX, PLAIN_STEP_BYTES};
use crate::error::Result;

/// Plain bytes by which habits are compared.
const SAMPLE_BYTES: usize = 128 << 10;
/// Plain bytes of samples in vain after which no other habit is tried.
const VAIN_BYTES_MAX: usize = 64 << 20;
/// Choices may cost such a part of the stream that they save.
const WORTH: usize = 4;
/// A habit whose choices cost such a part of a stream, or twice what the best cost of one before, is not asked whether others fit better.
const FITS: u64 = 200;
const PARTS: u64 = 1000;
/// Going through a plain byte takes as long as so many looks, and so many of those as long as decoding a decision: measured 20 ns and 2.7 ns on streams of
/// ten compressors.
const LOOKS_PER_PLAIN_BYTE: u64 = 10;
const LOOKS_PER_DECISION: u64 = 11;

/// Tells the choices of one stream after the other.
#[derive(Debug)]
pub(super) struct Recorder {
    choices: Choices,
    encoder: Encoder,
    habit: Habit,
    /// What the best habit cost when it was found, in thousandths of the stream.
    fits: u64,
    vain_left: usize,
    work: Work,
}

impl Default for Recorder {
    fn default() -> Self {
        let (choices, encoder) = (Choices::default(), Encoder::new());
        Self { choices, encoder, habit: Habit::USUAL, fits: 0, vain_left: VAIN_BYTES_MAX, work: Work::default() }
    }
}

impl Recorder {
    /// Tells the choices that make exactly `packed` of `plain`; `None` if they cannot be told, or cost more than they save.
    pub(super) fn record(&mut self, plain: &[u8], packed: &[u8]) -> Option<Habit> {
        self.choose(plain, packed);
        let habits = [self.habit, self.habit.at_ease()];
        habits.into_iter().find(|habit| self.record_by(*habit, plain, packed))
    }

    /// The choices of all streams that were recorded.
    pub(super) fn finish(self) -> Vec<u8> {
        self.encoder.finish()
    }

    /// What going through all of them again takes, in decisions that take as long.
    pub(super) fn decisions(&self) -> u64 {
        (self.work.plain() * LOOKS_PER_PLAIN_BYTE + self.work.looks()) / LOOKS_PER_DECISION
    }

    fn record_by(&mut self, habit: Habit, plain: &[u8], packed: &[u8]) -> bool {
        let (mark, choices) = (self.encoder.mark(), self.choices.clone());
        let told = self.tell(habit, plain, packed, Told::Whole);
        let worth = told.filter(|(bytes, _)| *bytes <= packed.len() / WORTH && self.encoder.len() <= CHOICES_BYTES_MAX);
        if let Some((_, looks)) = worth {
            self.work.add(plain.len() as u64, looks);
        } else {
            self.encoder.back_to(&mark);
            self.choices = choices;
        }
        worth.is_some()
    }

    /// Finds the habit that comes nearest, by the beginning of the stream: first what is looked up, then how far.
    fn choose(&mut self, plain: &[u8], packed: &[u8]) {
        let sample = &plain[..plain.len().min(SAMPLE_BYTES)];
        let shown = packed.len() as u64 * sample.len() as u64 / plain.len().max(1) as u64;
        let mut best = (self.cost(self.habit, sample, packed), self.habit);
        if best.0.0 <= (shown / FITS).max(2 * shown * self.fits / PARTS) {
            return;
        }
        for neighbours in [Habit::with_other_strings, Habit::with_other_chain] {
            for habit in neighbours(best.1) {
                let Some(left) = self.vain_left.checked_sub(sample.len()) else { return };
                self.vain_left = left;
                best = best.min((self.cost(habit, sample, packed), habit));
            }
        }
        self.fits = best.0.0.min(shown) * PARTS / shown.max(1);
        self.habit = best.1;
    }

    /// What a habit costs, bytes and then looks; as much as can be if it cannot be had.
    fn cost(&mut self, habit: Habit, sample: &[u8], packed: &[u8]) -> (u64, u64) {
        let (mark, choices) = (self.encoder.mark(), self.choices.clone());
        let cost = self.tell(habit, sample, packed, Told::Sample);
        self.encoder.back_to(&mark);
        self.choices = choices;
        cost.map_or((u64::MAX, u64::MAX), |(bytes, looks)| (bytes as u64, looks))
    }

    /// Tells the choices of the whole stream, or of that part of it that `plain` shows, and returns how many bytes they take and how many looks.
    fn tell(&mut self, habit: Habit, plain: &[u8], packed: &[u8], told: Told) -> Option<(usize, u64)> {
        let before = self.encoder.len();
        let (mut reader, mut replay, mut rest) = (Reader::new(packed), Replay::new(habit), packed);
        let mut same = true;
        let mut compare = |bytes: &[u8]| -> Result<()> {
            same = same && rest.strip_prefix(bytes).map(|left| rest = left).is_some();
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
        if told == Told::Whole {
            replay.finish((&mut self.choices, &mut self.encoder), &mut || reader.block(), &mut compare).ok()?;
            same &= rest.is_empty();
        } else {
            // No spare work: what is too much for the sample is too much for the whole.
            same &= looks <= plain.len() as u64 * BUILT_LOOKS_PER_BYTE_MAX;
        }
        same.then(|| (self.encoder.len() - before, looks))
    }
}

/// How much of a stream is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Sample,
    Whole,
}
