//! The unfolded base of a receiver: what lies between its streams is read from where it is, their plain content from a file.

use std::fs::File;
use std::io::Write as _;

use super::super::base::ReadAt;
use super::super::format::damaged;
use super::PLAIN_BYTES_MAX;
use super::find::{ZIP_HEADER_BYTES, zip_header_len};
use super::inflate::{Inflater, Wrapper};
use super::lists::BaseStream;
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
}

impl<'a> Base<'a> {
    /// Inflates the streams at the given distances from where they are expected, those that are patched into `plain`.
    pub(super) fn inflate(listed: &[(u64, bool)], raw: &'a dyn ReadAt, raw_len: u64, plain: File) -> Result<Self> {
        let (places, streams, before) = (Vec::new(), Vec::new(), Vec::new());
        let mut base = Self { raw, places, streams, before, between: 0, plain, plain_len: 0 };
        let mut reader = Reader { raw, raw_len, held: vec![0; READ_BYTES], at: 0, len: 0 };
        let mut inflater = Inflater::new();
        let (mut at, mut work) = (0_u64, 0_u64);
        for &(off, patched) in listed {
            let start = reader.expected(at)?.wrapping_add(off);
            if start < at || start >= raw_len {
                return Err(damaged("a stream lies behind its base"));
            }
            let gap = start - at;
            base.between += gap;
            base.before.push(base.between);
            at = start;
            inflater.reset(Wrapper::None);
            let before = work;
            loop {
                let step = inflater.step(reader.bytes(at)?).ok_or_else(|| damaged("its base has no stream where it says"))?;
                at += step.taken as u64;
                work += step.plain.len() as u64;
                if work > PLAIN_BYTES_MAX as u64 {
                    let limit = format!("{PLAIN_BYTES_MAX} bytes");
                    return Err(Error::Limit { what: "the inflated content of the patch's base".into(), limit });
                }
                if patched {
                    // A full disk here is no reason to give up: records need no room to inflate.
                    let no_room = |error| damaged(&format!("there is no room to inflate its base ({error})"));
                    base.plain.write_all(step.plain).map_err(no_room)?;
                    base.plain_len += step.plain.len() as u64;
                }
                if step.ended {
                    break;
                }
            }
            base.places.push(Place { start, len: at - start });
            base.streams.push(BaseStream { gap, plain: work - before, patched });
        }
        base.between += raw_len - at;
        Ok(base)
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

    /// Some bytes from `at` on; none at the end.
    fn bytes(&mut self, at: u64) -> Result<&[u8]> {
        if at < self.at || at >= self.at + self.len as u64 {
            self.at = at;
            self.len = usize::try_from(self.raw_len - at).unwrap_or(READ_BYTES).min(READ_BYTES);
            self.raw.read_exact_at(&mut self.held[..self.len], at)?;
        }
        let from = usize::try_from(at - self.at).unwrap_or(self.len);
        Ok(&self.held[from..self.len])
    }
}
