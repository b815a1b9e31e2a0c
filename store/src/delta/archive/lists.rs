//! The lists in front of an unfolded patch: which streams of the bases are inflated, and where the target's streams are.

use super::super::format::damaged;
use super::STREAMS_MAX;
use super::deflate::{Habit, Style};
use super::find::Coding;
use crate::error::{Error, Result};

/// Streams ahead among which one of the same length is looked for.
const NEAR: usize = 64;
/// In place of a style: the stream is kept.
const KEPT: u8 = 255;
/// In place of a style: the first habit of those whose choices are told.
const REPLAYED: u8 = 171;
/// In place of a style: the choices of a compressor of LZMA2 are told.
const LZMA2: u8 = 219;
/// Flags of a stream of the bases.
const IS_PATCHED: u8 = 1;
const IS_LZMA2: u8 = 2;

/// How a stream of the target is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// It is the same as a stream of the bases, with this number.
    Kept(usize),
    /// Plain bytes are compressed.
    Folded {
        /// How many.
        plain: u64,
        style: Style,
    },
    /// Plain bytes are compressed as the choices behind the lists say.
    Replayed {
        /// How many.
        plain: u64,
        habit: Habit,
    },
    /// Plain bytes are compressed to LZMA2 as the choices behind the lists say.
    Lzma2 {
        /// How many.
        plain: u64,
    },
}

impl Made {
    /// Plain bytes that are compressed.
    pub(super) fn plain(self) -> Option<u64> {
        match self {
            Self::Kept(_) => None,
            Self::Folded { plain, .. } | Self::Replayed { plain, .. } | Self::Lzma2 { plain } => Some(plain),
        }
    }
}

/// A stream of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TargetStream {
    /// Bytes between it and the stream before.
    pub(super) gap: u64,
    pub(super) made: Made,
}

/// A stream of the bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BaseStream {
    /// Bytes between it and the stream before.
    pub(super) gap: u64,
    /// Bytes of what it stands for.
    pub(super) plain: u64,
    /// Whether these are part of what is patched.
    pub(super) patched: bool,
}

/// A stream of the bases as it is listed; its length shows when it is inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    /// How far it is from where it is expected.
    pub(super) off: u64,
    pub(super) coding: Coding,
    pub(super) patched: bool,
}

/// The streams of the bases.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct BaseList {
    pub(super) streams: Vec<Listed>,
    /// How rare anchors in the content of those of LZMA2 are; told where there is one that is patched.
    pub(super) rarity: u8,
}

impl BaseList {
    /// Whether there is a stream of LZMA2 that is patched.
    fn has_trail(&self) -> bool {
        self.streams.iter().any(|stream| stream.coding == Coding::Lzma2 && stream.patched)
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.streams.len() as u64);
        for stream in &self.streams {
            put(&mut out, zigzag(stream.off));
        }
        out.extend(self.streams.iter().map(|stream| {
            let lzma2 = if stream.coding == Coding::Lzma2 { IS_LZMA2 } else { 0 };
            lzma2 | if stream.patched { IS_PATCHED } else { 0 }
        }));
        if self.has_trail() {
            out.push(self.rarity);
        }
        out
    }

    /// Reads what [`BaseList::write`] wrote.
    pub(super) fn read(list: &mut &[u8]) -> Result<Self> {
        let count = count(list)?;
        let off: Vec<u64> = (0..count).map(|_| take(list).map(unzigzag)).collect::<Result<_>>()?;
        let flags = list.split_off(..count).ok_or_else(ends_early)?;
        let listed = |(off, &flags): (u64, &u8)| {
            if flags & !(IS_PATCHED | IS_LZMA2) != 0 {
                return Err(Error::TooNew { what: "the patch".into(), why: format!("a stream of its base of kind {flags}") });
            }
            let coding = if flags & IS_LZMA2 == 0 { Coding::Deflate } else { Coding::Lzma2 };
            Ok(Listed { off, coding, patched: flags & IS_PATCHED != 0 })
        };
        let streams = off.into_iter().zip(flags).map(listed).collect::<Result<_>>()?;
        let mut bases = Self { streams, rarity: 0 };
        if bases.has_trail() {
            bases.rarity = *list.split_off_first().ok_or_else(ends_early)?;
        }
        Ok(bases)
    }
}

/// Writes `targets`: each beside the stream of `bases` that it is or probably comes from, so that most of it is zeros.
pub(super) fn write_targets(targets: &[TargetStream], bases: &[BaseStream]) -> Vec<u8> {
    let (mut steps, mut gaps, mut plains, mut styles) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut next = 0;
    for target in targets {
        let (at, plain, style) = match target.made {
            Made::Kept(at) => (at, None, KEPT),
            Made::Folded { plain, style } => (probable(bases, next, plain), Some(plain), style.code()),
            Made::Replayed { plain, habit } => (probable(bases, next, plain), Some(plain), REPLAYED + habit.code()),
            Made::Lzma2 { plain } => (probable(bases, next, plain), Some(plain), LZMA2),
        };
        let base = Beside::of(bases, at);
        put(&mut steps, zigzag((at as u64).wrapping_sub(next as u64)));
        put(&mut gaps, zigzag(target.gap.wrapping_sub(base.gap)));
        if let Some(plain) = plain {
            put(&mut plains, zigzag(plain.wrapping_sub(base.plain)));
        }
        styles.push(style);
        next = at + 1;
    }
    let mut out = Vec::new();
    put(&mut out, targets.len() as u64);
    for column in [styles, steps, gaps, plains] {
        out.extend(column);
    }
    out
}

/// Reads what [`write_targets`] wrote.
pub(super) fn read_targets(list: &mut &[u8], bases: &[BaseStream]) -> Result<Vec<TargetStream>> {
    let count = count(list)?;
    let styles = list.split_off(..count).ok_or_else(ends_early)?;
    let column = |list: &mut &[u8]| (0..count).map(|_| take(list)).collect::<Result<Vec<u64>>>();
    let (steps, gaps) = (column(list)?, column(list)?);
    let mut next = 0_u64;
    let mut targets = Vec::with_capacity(count);
    for (index, &code) in styles.iter().enumerate() {
        let at = next.wrapping_add(unzigzag(steps[index]));
        let place = usize::try_from(at).unwrap_or(usize::MAX);
        let base = Beside::of(bases, place);
        let made = if code == KEPT {
            if place >= bases.len() {
                return Err(damaged("it keeps a stream that its base does not have"));
            }
            Made::Kept(place)
        } else {
            let mut plain = || take(list).map(|plain| base.plain.wrapping_add(unzigzag(plain)));
            if code == LZMA2 {
                Made::Lzma2 { plain: plain()? }
            } else if let Some(style) = Style::of_code(code) {
                Made::Folded { plain: plain()?, style }
            } else if let Some(habit) = code.checked_sub(REPLAYED).and_then(Habit::of_code) {
                Made::Replayed { plain: plain()?, habit }
            } else {
                return Err(Error::TooNew { what: "the patch".into(), why: format!("a stream compressed in way {code}") });
            }
        };
        targets.push(TargetStream { gap: base.gap.wrapping_add(unzigzag(gaps[index])), made });
        next = at.wrapping_add(1);
    }
    Ok(targets)
}

/// The stream, from `next` on, that one with `plain` bytes probably comes from.
fn probable(bases: &[BaseStream], next: usize, plain: u64) -> usize {
    let near = bases.get(next..).unwrap_or_default().iter().take(NEAR);
    next + near.clone().position(|base| base.plain == plain).unwrap_or(0)
}

/// What a stream of the target is compared with.
struct Beside {
    gap: u64,
    plain: u64,
}

impl Beside {
    fn of(bases: &[BaseStream], at: usize) -> Self {
        bases.get(at).map_or(Self { gap: 0, plain: 0 }, |base| Self { gap: base.gap, plain: base.plain })
    }
}

fn ends_early() -> Error {
    damaged("its list of streams ends early")
}

fn count(list: &mut &[u8]) -> Result<usize> {
    let count = take(list)?;
    let limit = || Error::Limit { what: "the patch's count of streams".into(), limit: STREAMS_MAX.to_string() };
    usize::try_from(count).ok().filter(|count| *count <= STREAMS_MAX).ok_or_else(limit)
}

/// Makes small numbers of both signs small.
fn zigzag(value: u64) -> u64 {
    value << 1 ^ (value >> 63).wrapping_neg()
}

fn unzigzag(value: u64) -> u64 {
    value >> 1 ^ (value & 1).wrapping_neg()
}

/// Appends a number, seven bits a byte, lowest first.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(list: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *list.split_off_first().ok_or_else(ends_early)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(damaged("a number in its list of streams is too long"))
}
