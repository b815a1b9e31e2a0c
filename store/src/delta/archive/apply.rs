//! Applying a patch of either kind to joined bases.

use std::fs::File;
use std::io::{Read, Write as _};

use super::super::apply::apply;
use super::super::base::ReadAt;
use super::super::format::{BaseRef, Limits, damaged};
use super::deflate::Deflater;
use super::inflate::Inflater;
use super::lists::{Folded, Unfolded, read_bases, read_targets};
use super::{FIXED_BYTES, LISTS_BYTES_MAX, MAGIC, PLAIN_BYTES_MAX, PLAIN_STEP_BYTES, looks_max};
use crate::chunk::fields::{check_start, len_at, u64_at};
use crate::error::{At, Error, Result};
use crate::fsx;

/// Bytes of a base read at once.
const READ_BYTES: usize = 256 << 10;

/// Applies a patch of one base, `base` with `base_len` bytes, whether it sees through deflate or not, and gives `sink` the target in order.
///
/// A patch that does keeps what it inflates in the file that `scratch` opens (empty, read and write): at most 256 MiB. Needs at most 64 MiB
/// of memory. What `sink` gets counts only once this returns well, and only if it has the digest that the caller expects.
///
/// # Errors
/// Damage, another base, limits, I/O, what `scratch` and `sink` return.
pub fn apply_joined(
    patch: &mut dyn Read,
    limits: &Limits,
    (base, base_len): (&dyn ReadAt, u64),
    scratch: &mut dyn FnMut() -> Result<File>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut front = [0; MAGIC.len()];
    exactly(patch, &mut front)?;
    if front != MAGIC {
        let mut whole = front.chain(patch);
        let mut open = |asked: &BaseRef| if asked.len == base_len { Ok(base) } else { Err(other_base()) };
        return apply(&mut whole, limits, &mut open, sink).map(drop);
    }
    let mut fixed = [0; FIXED_BYTES];
    fixed[..MAGIC.len()].copy_from_slice(&front);
    exactly(patch, &mut fixed[MAGIC.len()..])?;
    check_start(&fixed, MAGIC, "the patch")?;
    let target_len = u64_at(&fixed, 20);
    if u64_at(&fixed, 12) != base_len {
        return Err(other_base());
    }
    if target_len > limits.target_bytes_max {
        let limit = format!("{} bytes", limits.target_bytes_max);
        return Err(Error::Limit { what: "the target of the patch".into(), limit });
    }
    let lists = lists(patch, len_at(&fixed, 28), len_at(&fixed, 32))?;
    let mut lists = lists.as_slice();
    let file = scratch()?;
    let (bases, plain_len) = inflate_all(&read_bases(&mut lists)?, (base, base_len), &file)?;
    let targets = read_targets(&mut lists, &bases)?;
    if !lists.is_empty() {
        return Err(damaged("its lists of streams go on behind their end"));
    }
    let unfolded = Base { raw: base, raw_len: base_len, plain: file };
    let mut open = |asked: &BaseRef| if asked.len == base_len + plain_len { Ok(&unfolded) } else { Err(other_base()) };
    let mut folder = Folder::new(targets, target_len, sink)?;
    apply(patch, limits, &mut open, &mut |bytes| folder.push(bytes))?;
    folder.finish()
}

fn other_base() -> Error {
    damaged("it is made of something else")
}

fn exactly(patch: &mut dyn Read, bytes: &mut [u8]) -> Result<()> {
    patch.read_exact(bytes).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged("it ends early"),
        _ => Error::Io { operation: "read the", path: "patch".into(), source },
    })
}

fn lists(patch: &mut dyn Read, len: usize, packed_len: usize) -> Result<Vec<u8>> {
    if len > LISTS_BYTES_MAX || packed_len > LISTS_BYTES_MAX {
        return Err(Error::Limit { what: "the patch's lists of streams".into(), limit: format!("{LISTS_BYTES_MAX} bytes") });
    }
    let mut packed = vec![0; packed_len];
    exactly(patch, &mut packed)?;
    let lists = zstd::bulk::decompress(&packed, len).map_err(|_| damaged("its lists of streams cannot be decompressed"))?;
    if lists.len() == len { Ok(lists) } else { Err(damaged("its lists of streams are shorter than it says")) }
}

/// Inflates the streams of the base behind the given gaps into `file`; returns them and the bytes of all.
fn inflate_all(gaps: &[u64], (base, base_len): (&dyn ReadAt, u64), mut file: &File) -> Result<(Vec<Unfolded>, u64)> {
    let mut streams = Vec::with_capacity(gaps.len());
    let mut inflater = Inflater::new();
    let mut buffer = vec![0; READ_BYTES];
    let (mut at, mut total) = (0_u64, 0_u64);
    // What is in the buffer: where it begins, and how much.
    let (mut held_at, mut held) = (0_u64, 0_usize);
    for &gap in gaps {
        at = at.checked_add(gap).filter(|at| *at < base_len).ok_or_else(|| damaged("a stream lies behind its base"))?;
        inflater.reset();
        let before = total;
        loop {
            if at < held_at || at >= held_at + held as u64 {
                held_at = at;
                held = usize::try_from(base_len - at).unwrap_or(READ_BYTES).min(READ_BYTES);
                base.read_exact_at(&mut buffer[..held], at)?;
            }
            let from = usize::try_from(at - held_at).unwrap_or(held);
            let step = inflater.step(&buffer[from..held]).ok_or_else(|| damaged("its base has no stream where it says"))?;
            at += step.taken as u64;
            total += step.plain.len() as u64;
            if total > PLAIN_BYTES_MAX as u64 {
                let limit = format!("{PLAIN_BYTES_MAX} bytes");
                return Err(Error::Limit { what: "the inflated content of the patch's base".into(), limit });
            }
            // A full disk here is no reason to give up: records need no room to inflate.
            file.write_all(step.plain).map_err(|error| damaged(&format!("there is no room to inflate its base ({error})")))?;
            if step.ended {
                break;
            }
        }
        streams.push(Unfolded { gap, plain: total - before });
    }
    Ok((streams, total))
}

/// The base, and behind it what its streams stand for.
struct Base<'a> {
    raw: &'a dyn ReadAt,
    raw_len: u64,
    plain: File,
}

impl ReadAt for Base<'_> {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let raw = usize::try_from(self.raw_len.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        let (raw, plain) = bytes.split_at_mut(raw);
        if !raw.is_empty() {
            self.raw.read_exact_at(raw, offset)?;
        }
        if plain.is_empty() {
            return Ok(());
        }
        let offset = offset.saturating_sub(self.raw_len);
        fsx::read_exact_at(&self.plain, plain, offset).at("read", "inflated content")
    }
}

/// Folds the streams of the target again.
struct Folder<'a> {
    targets: std::vec::IntoIter<Folded>,
    /// Bytes to come before the next stream, or behind the last.
    gap: u64,
    /// The next or present stream, and its plain bytes to come.
    next: Option<Folded>,
    present: Option<(Deflater, u64)>,
    /// Bytes that the target may still have.
    left: u64,
    sink: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl<'a> Folder<'a> {
    fn new(targets: Vec<Folded>, target_len: u64, sink: &'a mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Self> {
        let plain = targets.iter().try_fold(0_u64, |sum, target| sum.checked_add(target.plain));
        if plain.is_none_or(|plain| plain > PLAIN_BYTES_MAX as u64) {
            let limit = format!("{PLAIN_BYTES_MAX} bytes");
            return Err(Error::Limit { what: "the inflated content of the patch's target".into(), limit });
        }
        let mut folder = Self { targets: targets.into_iter(), gap: 0, next: None, present: None, left: target_len, sink };
        folder.advance();
        Ok(folder)
    }

    /// Goes on to the next stream.
    fn advance(&mut self) {
        self.next = self.targets.next();
        self.gap = self.next.map_or(u64::MAX, |next| next.gap);
    }

    fn push(&mut self, mut view: &[u8]) -> Result<()> {
        loop {
            self.turn()?;
            if view.is_empty() {
                return Ok(());
            }
            let room = self.present.as_ref().map_or(self.gap, |(_, left)| *left);
            let now = usize::try_from(room).unwrap_or(usize::MAX).min(view.len()).min(PLAIN_STEP_BYTES);
            let (front, rest) = view.split_at(now);
            view = rest;
            let left = &mut self.left;
            let sink = &mut self.sink;
            let mut give = |bytes: &[u8]| give(left, sink, bytes);
            match &mut self.present {
                None => {
                    give(front)?;
                    self.gap -= now as u64;
                }
                Some((deflater, left)) => {
                    deflater.push(front, &mut give)?;
                    *left -= now as u64;
                    let plain = self.next.map_or(0, |next| next.plain) - *left;
                    if deflater.looks() > looks_max(usize::try_from(plain).unwrap_or(usize::MAX)) {
                        return Err(Error::Limit {
                            what: "the work of compressing what the patch makes".into(),
                            limit: format!("{} looks a byte", super::LOOKS_PER_BYTE_MAX),
                        });
                    }
                }
            }
        }
    }

    /// Begins the stream that is due, ends the one that is complete.
    fn turn(&mut self) -> Result<()> {
        loop {
            match (self.present.take(), self.next) {
                (Some((deflater, 0)), _) => {
                    let left = &mut self.left;
                    let sink = &mut self.sink;
                    deflater.finish(&mut |bytes: &[u8]| give(left, sink, bytes))?;
                    self.advance();
                }
                (None, Some(next)) if self.gap == 0 => self.present = Some((Deflater::new(next.style), next.plain)),
                (present, _) => {
                    self.present = present;
                    return Ok(());
                }
            }
        }
    }

    fn finish(mut self) -> Result<()> {
        self.turn()?;
        if self.present.is_some() || self.next.is_some() || self.left > 0 {
            return Err(damaged("it makes less than it says"));
        }
        Ok(())
    }
}

fn give(left: &mut u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>, bytes: &[u8]) -> Result<()> {
    *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| damaged("it makes more than it says"))?;
    sink(bytes)
}
