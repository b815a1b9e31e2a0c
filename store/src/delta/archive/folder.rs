//! Folding the target of a receiver again.

use super::super::coder::Decoder;
use super::super::format::damaged;
use super::deflate::{Choices, Deflater, Replay};
use super::lists::{Made, TargetStream};
use super::lzma;
use super::unfolded::{Base, Place};
use super::work::{LOOKS_PER_BYTE_MAX, Work};
use super::{PLAIN_BYTES_MAX, PLAIN_STEP_BYTES};
use crate::cores;
use crate::error::{Error, Result};

/// Bytes of a stream that is kept, copied at once.
const COPY_BYTES: usize = 256 << 10;

/// Most threads that share a stream.
const THREADS_MAX: usize = 4;

/// How many threads share a stream that is folded on this machine.
#[must_use]
pub fn fold_threads() -> usize {
    cores().min(THREADS_MAX)
}

/// Takes the unfolded target as it is made and gives the target.
pub(super) struct Folder<'a> {
    base: &'a Base<'a>,
    targets: std::vec::IntoIter<TargetStream>,
    /// The next stream, if it has not begun.
    next: Option<Made>,
    /// Bytes to come before the next stream, or behind the last.
    gap: u64,
    present: Option<Folding>,
    /// What compressors chose: learnt, and to be read.
    choices: Choices,
    lzma: lzma::Choices,
    told: Decoder<'a>,
    work: Work,
    out: Out<'a>,
}

/// A stream that is being folded.
struct Folding {
    way: Way,
    plain: u64,
    left: u64,
}

enum Way {
    Style(Box<Deflater>),
    Told(Box<Replay>),
    Lzma2(Box<lzma::Replay>),
}

impl Way {
    /// The work of the stream so far; that of LZMA2 is known to its choices.
    fn looks(&self, lzma: &lzma::Choices) -> u64 {
        match self {
            Self::Style(deflater) => deflater.looks(),
            Self::Told(replay) => replay.looks(),
            Self::Lzma2(_) => lzma.looks(),
        }
    }
}

impl<'a> Folder<'a> {
    /// Folds `targets` into a target of `target_len` bytes, where `choices` tell what compressors chose.
    pub(super) fn new(
        targets: Vec<TargetStream>,
        choices: &'a [u8],
        target_len: u64,
        base: &'a Base<'a>,
        sink: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Self> {
        let plain = targets.iter().filter_map(|target| target.made.plain()).try_fold(0, u64::checked_add);
        if plain.is_none_or(|plain| plain > PLAIN_BYTES_MAX as u64) {
            let limit = format!("{PLAIN_BYTES_MAX} bytes");
            return Err(Error::Limit { what: "the inflated content of the patch's target".into(), limit });
        }
        let out = Out { left: target_len, sink };
        let (choices, told) = (Choices::default(), Decoder::new(choices));
        let (targets, work) = (targets.into_iter(), Work::default());
        let mut folder =
            Self { base, targets, next: None, gap: 0, present: None, choices, lzma: lzma::Choices::default(), told, work, out };
        folder.advance();
        Ok(folder)
    }

    /// Takes the next bytes of the unfolded target.
    pub(super) fn push(&mut self, mut view: &[u8]) -> Result<()> {
        loop {
            self.turn()?;
            if view.is_empty() {
                return Ok(());
            }
            let room = self.present.as_ref().map_or(self.gap, |folding| folding.left);
            let now = usize::try_from(room).unwrap_or(usize::MAX).min(view.len()).min(PLAIN_STEP_BYTES);
            let (front, rest) = view.split_at(now);
            view = rest;
            match &mut self.present {
                None => {
                    self.out.give(front)?;
                    self.gap -= now as u64;
                }
                Some(folding) => {
                    folding.left -= now as u64;
                    let mut give = |bytes: &[u8]| self.out.give(bytes);
                    match &mut folding.way {
                        Way::Style(deflater) => deflater.push(front, &mut give)?,
                        Way::Told(replay) => replay.push(front, (&mut self.choices, &mut self.told), &mut || None, &mut give)?,
                        Way::Lzma2(replay) => {
                            let told = (&mut self.lzma, &mut self.told, self.base.trail.as_ref());
                            replay.push(front, told, &mut || None, &mut give)?;
                        }
                    }
                    if !self.work.allows(folding.plain, folding.way.looks(&self.lzma), LOOKS_PER_BYTE_MAX) {
                        return Err(Error::Limit {
                            what: "the work of compressing what the patch makes".into(),
                            limit: format!("{LOOKS_PER_BYTE_MAX} looks a byte"),
                        });
                    }
                }
            }
        }
    }

    /// Ends the target.
    pub(super) fn finish(mut self) -> Result<()> {
        self.turn()?;
        if self.present.is_some() || self.next.is_some() || self.out.left > 0 {
            return Err(damaged("it makes less than it says"));
        }
        Ok(())
    }

    fn advance(&mut self) {
        let next = self.targets.next();
        self.next = next.map(|next| next.made);
        self.gap = next.map_or(u64::MAX, |next| next.gap);
    }

    /// Begins the stream that is due, ends the one that is complete.
    fn turn(&mut self) -> Result<()> {
        loop {
            match self.present.take() {
                Some(Folding { way, left: 0, plain }) => {
                    self.work.add(plain, way.looks(&self.lzma));
                    let mut give = |bytes: &[u8]| self.out.give(bytes);
                    match way {
                        Way::Style(deflater) => deflater.finish(&mut give)?,
                        Way::Told(replay) => replay.finish((&mut self.choices, &mut self.told), &mut || None, &mut give)?,
                        Way::Lzma2(replay) => {
                            let told = (&mut self.lzma, &mut self.told, self.base.trail.as_ref());
                            replay.finish(told, &mut || None, &mut give)?;
                        }
                    }
                    self.advance();
                }
                Some(folding) => {
                    self.present = Some(folding);
                    return Ok(());
                }
                None if self.gap > 0 => return Ok(()),
                None => match self.next.take() {
                    None => return Ok(()),
                    Some(Made::Folded { plain, style }) => {
                        let way = Way::Style(Box::new(Deflater::new(style, fold_threads())));
                        self.present = Some(Folding { way, plain, left: plain });
                    }
                    Some(Made::Replayed { plain, habit }) => {
                        let way = Way::Told(Box::new(Replay::new(habit)));
                        self.present = Some(Folding { way, plain, left: plain });
                    }
                    Some(Made::Lzma2 { plain }) => {
                        let way = Way::Lzma2(Box::new(lzma::Replay::new(&mut self.lzma)));
                        self.present = Some(Folding { way, plain, left: plain });
                    }
                    Some(Made::Kept(at)) => {
                        self.copy(self.base.places[at])?;
                        self.advance();
                    }
                },
            }
        }
    }

    fn copy(&mut self, place: Place) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(place.len).unwrap_or(COPY_BYTES).min(COPY_BYTES)];
        let mut done = 0;
        while done < place.len {
            let now = usize::try_from(place.len - done).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            self.base.raw.read_exact_at(&mut buffer[..now], place.start + done)?;
            self.out.give(&buffer[..now])?;
            done += now as u64;
        }
        Ok(())
    }
}

/// Where the target goes; it does not become longer than announced.
struct Out<'a> {
    left: u64,
    sink: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl Out<'_> {
    fn give(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| damaged("it makes more than it says"))?;
        (self.sink)(bytes)
    }
}
