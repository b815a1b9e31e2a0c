//! The unfolded base of a receiver: what lies between its streams is read from where it is, their plain content from a file.

use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;

use super::super::base::ReadAt;
use super::super::format::damaged;
use super::PLAIN_BYTES_MAX;
use super::find::{Coding, ZIP_HEADER_BYTES, zip_header_len};
use super::inflate::{Inflater, Wrapper};
use super::lists::{BaseList, BaseStream};
use super::lzma::{CHUNK_BYTES_MAX, Chunks, Trail, TrailMaker};
use crate::error::{At, Error, Result};
use crate::fsx;

/// Bytes of a base read at once.
const READ_BYTES: usize = 256 << 10;

/// Where a stream lies in the base.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) len: u64,
}

/// A base as it is patched: first what lies between its streams, then what those stand for that are patched.
pub(super) struct Base<'a> {
    pub(super) raw: &'a dyn ReadAt,
    /// All streams.
    pub(super) places: Vec<Place>,
    /// The same as they are listed.
    pub(super) streams: Vec<BaseStream>,
    /// Bytes of the view before each stream.
    before: Vec<u64>,
    /// Bytes of the view before the plain content.
    between: u64,
    plain: File,
    plain_len: u64,
    /// What compressors made of those of LZMA2 that are patched.
    pub(super) trail: Option<Trail>,
}

impl<'a> Base<'a> {
    /// Inflates the streams that are listed, those that are patched into a file of `scratch`; another is for what compressors made, if it is wanted.
    pub(super) fn inflate(
        list: &BaseList,
        raw: &'a dyn ReadAt,
        raw_len: u64,
        scratch: &mut (dyn FnMut() -> Result<File> + Send),
    ) -> Result<Self> {
        let (places, streams, before) = (Vec::new(), Vec::new(), Vec::new());
        let mut base = Self { raw, places, streams, before, between: 0, plain: scratch()?, plain_len: 0, trail: None };
        let mut reader = Reader { raw, raw_len, held: vec![0; READ_BYTES], at: 0, len: 0 };
        let (mut inflater, mut trail) = (Inflater::new(), None);
        let (mut at, mut work) = (0_u64, 0_u64);
        for listed in &list.streams {
            let start = reader.expected(at)?.wrapping_add(listed.off);
            if start < at || start >= raw_len {
                return Err(damaged("a stream lies behind its base"));
            }
            let gap = start - at;
            base.between += gap;
            base.before.push(base.between);
            let before = work;
            let mut take = |plain: &[u8]| base.take(plain, listed.patched, &mut work);
            at = match listed.coding {
                Coding::Deflate => deflated(&mut inflater, &mut reader, start, &mut take)?,
                Coding::Lzma2 => {
                    if listed.patched && trail.is_none() {
                        let made = TrailMaker::new(scratch()?, list.rarity);
                        trail = Some(made.ok_or_else(|| damaged("its anchors are too rare, or not rare enough"))?);
                    }
                    lzma2(&mut reader, start, trail.as_mut().filter(|_| listed.patched), &mut take)?
                }
            };
            base.places.push(Place { start, len: at - start });
            base.streams.push(BaseStream { gap, plain: work - before, patched: listed.patched });
        }
        base.between += raw_len - at;
        base.trail = trail.map(TrailMaker::finish).transpose().map_err(no_room)?;
        Ok(base)
    }

    /// Takes plain content of a stream.
    fn take(&mut self, plain: &[u8], patched: bool, work: &mut u64) -> Result<()> {
        *work += plain.len() as u64;
        if *work > PLAIN_BYTES_MAX as u64 {
            let limit = format!("{PLAIN_BYTES_MAX} bytes");
            return Err(Error::Limit { what: "the inflated content of the patch's base".into(), limit });
        }
        if patched {
            self.plain.write_all(plain).map_err(no_room)?;
            self.plain_len += plain.len() as u64;
        }
        Ok(())
    }

    /// Bytes of the view.
    pub(super) fn len(&self) -> u64 {
        self.between + self.plain_len
    }
}

impl ReadAt for Base<'_> {
    fn read_exact_at(&self, mut bytes: &mut [u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() && offset < self.between {
            // The streams before this place.
            let streams = self.before.partition_point(|before| *before <= offset);
            let end = self.before.get(streams).copied().unwrap_or(self.between);
            let (start, from) = match streams.checked_sub(1) {
                None => (0, 0),
                Some(last) => (self.before[last], self.places[last].start + self.places[last].len),
            };
            let now = usize::try_from(end - offset).unwrap_or(usize::MAX).min(bytes.len());
            let (front, rest) = bytes.split_at_mut(now);
            self.raw.read_exact_at(front, from + (offset - start))?;
            bytes = rest;
            offset += now as u64;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        fsx::read_exact_at(&self.plain, bytes, offset - self.between).at("read", "inflated content")
    }
}

/// Inflates the deflate stream at `start`; returns where it ends.
fn deflated(
    inflater: &mut Inflater,
    reader: &mut Reader<'_>,
    start: u64,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    inflater.reset(Wrapper::None);
    let mut at = start;
    loop {
        let step = inflater.step(reader.bytes(at, 1)?).ok_or_else(no_stream)?;
        at += step.taken as u64;
        take(step.plain)?;
        if step.ended {
            return Ok(at);
        }
    }
}

/// Decompresses the stream of LZMA2 at `start`, adding to `trail`; returns where it ends.
fn lzma2(
    reader: &mut Reader<'_>,
    start: u64,
    mut trail: Option<&mut TrailMaker>,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let (mut chunks, mut at) = (Chunks::new(), start);
    loop {
        let step = chunks.step(reader.bytes(at, CHUNK_BYTES_MAX)?).ok_or_else(no_stream)?;
        at += step.taken as u64;
        let Some((chunk, plain)) = step.chunk else { return Ok(at) };
        take(plain)?;
        if let Some(trail) = &mut trail {
            trail.add(&chunk, plain).map_err(no_room)?;
        }
    }
}

/// A full disk here is no reason to give up: records need no room to inflate.
fn no_room(error: impl Display) -> Error {
    damaged(&format!("there is no room to inflate its base ({error})"))
}

fn no_stream() -> Error {
    damaged("its base has no stream where it says")
}

/// Reads the base in large pieces.
struct Reader<'a> {
    raw: &'a dyn ReadAt,
    raw_len: u64,
    held: Vec<u8>,
    at: u64,
    len: usize,
}

impl Reader<'_> {
    /// Where a stream behind `at` is expected: behind the header of a zip member, if there is one.
    fn expected(&self, at: u64) -> Result<u64> {
        let mut header = [0; ZIP_HEADER_BYTES];
        let len = usize::try_from(self.raw_len - at).unwrap_or(ZIP_HEADER_BYTES).min(ZIP_HEADER_BYTES);
        self.raw.read_exact_at(&mut header[..len], at)?;
        Ok(at + zip_header_len(&header[..len]).unwrap_or(0) as u64)
    }

    /// Bytes from `at` on, `least` at least or all that there are; none at the end.
    fn bytes(&mut self, at: u64, least: usize) -> Result<&[u8]> {
        let held = (self.at, self.at + self.len as u64);
        if at < held.0 || (at + least as u64 > held.1 && held.1 < self.raw_len) {
            self.at = at;
            self.len = usize::try_from(self.raw_len - at).unwrap_or(READ_BYTES).min(READ_BYTES);
            self.raw.read_exact_at(&mut self.held[..self.len], at)?;
        }
        let from = usize::try_from(at - self.at).unwrap_or(self.len);
        Ok(&self.held[from..self.len])
    }
}
