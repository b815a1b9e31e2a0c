//! Where content has compressed streams: deflate, and LZMA2 in xz.
//!
//! Nothing that an archive says of itself is believed. Whatever looks like the header of a zip member, of a gzip or zlib stream or of a cabinet's
//! block or of an xz file is tried, from the front on, and what inflates to its own end is a stream, wherever it lies: in a zip, gzip, deb, cabinet, picture
//! (PNG), document (PDF), or behind a program that unpacks itself. So there is no list of members to overlap, no length to lie, and a member that is
//! encrypted, stored or cut short is no stream.

use std::collections::HashSet;

use super::inflate::{Inflater, Wrapper};
use super::lzma::{CHECK_LENS, Chunks, XZ_MAGIC, block_header_len, stream_header_len};
use super::{PLAIN_BYTES_MAX, STREAMS_MAX};
use crate::parallel::both;

/// Shorter streams are left as they are.
const PACKED_BYTES_MIN: usize = 48;
/// Part of a content that the streams of an archive have at least.
const ARCHIVE_SHARE: usize = 16;
/// Bytes gone through for nothing, packed and plain, after which no more is tried.
const WASTED_BYTES_MAX: usize = 256 << 20;
/// What trying a header costs, beside.
const TRY_BYTES: usize = 256;
/// Bytes of a zip member's header before its name.
pub(super) const ZIP_HEADER_BYTES: usize = 30;
/// Bytes of a cabinet's block before its content: a checksum, the length packed and the length plain. MSZIP begins with two letters.
const BLOCK_HEADER_BYTES: usize = 8;
const MSZIP: &[u8] = b"CK";
/// What a zlib stream begins with: deflate with the usual window, and one of four levels without a dictionary, each with its check bits.
const ZLIB_WINDOW: u8 = 0x78;
const ZLIB_LEVELS: [u8; 4] = [0x01, 0x5e, 0x9c, 0xda];
/// Most plain bytes of a cabinet's block.
const BLOCK_PLAIN_BYTES_MAX: usize = 32 << 10;
/// Bytes that are looked at for a header at once.
const BLOCK_BYTES: usize = 256;
/// What the blocks of an xz file are as long as a multiple of.
const XZ_ALIGN: usize = 4;
/// Longest name or comment of a gzip stream, bytes.
const GZIP_TEXT_BYTES_MAX: usize = 4096;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Deflate,
    Lzma2,
}

/// A compressed stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) coding: Coding,
    /// Its first byte.
    pub(super) start: usize,
    /// Its length.
    pub(super) packed: usize,
    /// The length of what it stands for.
    pub(super) plain: usize,
    /// Of its bytes: tells whether two streams are the same.
    pub(super) digest: StreamDigest,
}

pub(super) type StreamDigest = [u8; 32];

impl Stream {
    pub(super) fn bytes(self, of: &[u8]) -> &[u8] {
        &of[self.start..self.start + self.packed]
    }
}

/// The streams of a base and a target; of no use where the target has none that the base has not.
#[derive(Debug, Default)]
pub(in crate::delta) struct Streams {
    pub(super) bases: Vec<Stream>,
    pub(super) targets: Vec<Stream>,
}

impl Streams {
    /// Finds them.
    pub(in crate::delta) fn of(base: &[u8], target: &[u8]) -> Self {
        let (bases, targets) = both(base.len().min(target.len()), || streams(base), || streams(target));
        let known: HashSet<StreamDigest> = bases.iter().map(|stream| stream.digest).collect();
        if targets.iter().all(|stream| known.contains(&stream.digest)) { Self::default() } else { Self { bases, targets } }
    }

    /// Says whether there is none that could be seen through.
    pub(in crate::delta) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Says whether streams make up a good part of a target of `len` bytes.
    pub(in crate::delta) fn make_up(&self, len: usize) -> bool {
        self.targets.iter().map(|stream| stream.packed).sum::<usize>() >= len / ARCHIVE_SHARE
    }
}

/// Finds the streams of `content`, in order, without overlap; at most [`STREAMS_MAX`] with [`PLAIN_BYTES_MAX`] together.
pub(super) fn streams(content: &[u8]) -> Vec<Stream> {
    let mut found = Vec::new();
    let mut inflater = Inflater::new();
    let (mut at, mut plain_left, mut waste) = (0, PLAIN_BYTES_MAX, 0);
    let mut block = None;
    while let Some(behind) = block.take().or_else(|| next_behind(content, &mut at)) {
        let (start, wrapper) = (behind.start, behind.wrapper);
        let mut plain = 0;
        let most = behind.lens.map_or(plain_left, |(_, plain)| plain.min(plain_left));
        let mut fits = |bytes: &[u8]| {
            plain += bytes.len();
            plain <= most
        };
        let (coding, whole) = match wrapper {
            Some(wrapper) => (Coding::Deflate, inflater.whole(wrapper, &content[start..], &mut fits)),
            None => (Coding::Lzma2, Chunks::whole(&content[start..], &mut |_, bytes| fits(bytes))),
        };
        match whole {
            Ok((packed, plain)) if behind.lens.is_none_or(|lens| lens == (packed, plain)) => {
                let (before, after) = wrapper.map_or((0, 0), Wrapper::lens);
                let (start, packed) = (start + before, packed - before - after);
                at = start + packed;
                if packed >= PACKED_BYTES_MIN {
                    let digest = *blake3::hash(&content[start..at]).as_bytes();
                    found.push(Stream { coding, start, packed, plain, digest });
                    plain_left -= plain;
                } else {
                    waste += TRY_BYTES;
                }
                if coding == Coding::Lzma2 {
                    block = next_block(content, start, at);
                }
            }
            Ok((packed, plain)) => waste += TRY_BYTES + packed + plain,
            Err(wasted) => waste += TRY_BYTES + wasted,
        }
        if waste > WASTED_BYTES_MAX || found.len() == STREAMS_MAX {
            break;
        }
    }
    found
}

/// What the next header from `at` on promises; `at` is behind its first byte then.
fn next_behind(content: &[u8], at: &mut usize) -> Option<Behind> {
    loop {
        let header = next_header(content, *at)?;
        *at = header + 1;
        if let Some(behind) = stream_behind(content, header) {
            return Some(behind);
        }
    }
}

/// The stream of the next block of an xz file, behind one from `start` to `end`, if there is one.
fn next_block(content: &[u8], start: usize, end: usize) -> Option<Behind> {
    let padding = (end - start).wrapping_neg() % XZ_ALIGN;
    CHECK_LENS.iter().find_map(|check| {
        let header = end + padding + check;
        let start = header + block_header_len(content.get(header..)?)?;
        (start < content.len()).then_some(Behind { start, wrapper: None, lens: None })
    })
}

/// The next place that looks like a header, from `at` on.
fn next_header(content: &[u8], mut at: usize) -> Option<usize> {
    let is_header = |place: &usize| {
        let here = &content[*place..];
        here.starts_with(b"PK\x03\x04")
            || here.starts_with(MSZIP)
            || here.starts_with(&[0x1f, 0x8b, 8])
            || is_zlib_header(here)
            || here.starts_with(XZ_MAGIC)
    };
    // Most content has none for long: whole blocks are looked at without a branch for each byte.
    while let Some(block) = content.get(at..at + BLOCK_BYTES + 1) {
        if may_hold_header(block)
            && let Some(found) = (at..at + BLOCK_BYTES).find(is_header)
        {
            return Some(found);
        }
        at += BLOCK_BYTES;
    }
    (at..content.len()).find(is_header)
}

/// Says whether the first two bytes of a header are anywhere in `block`.
fn may_hold_header(block: &[u8]) -> bool {
    let pairs = block.iter().zip(&block[1..]);
    pairs.fold(0_u8, |found, (&first, &second)| {
        let letters = u8::from(first == b'P') | u8::from(first == b'C');
        let levels = ZLIB_LEVELS.iter().fold(0, |any, level| any | u8::from(second == *level));
        let zlib = u8::from(first == ZLIB_WINDOW) & levels;
        let gzip = u8::from(first == 0x1f) & u8::from(second == 0x8b);
        let xz = u8::from(first == XZ_MAGIC[0]) & u8::from(second == XZ_MAGIC[1]);
        found | letters & u8::from(second == b'K') | gzip | zlib | xz
    }) != 0
}

fn is_zlib_header(here: &[u8]) -> bool {
    matches!(here, [ZLIB_WINDOW, level, ..] if ZLIB_LEVELS.contains(level))
}

/// Says whether content that begins with `front` is likely an archive whose streams are found: a zip, gzip, deb, cabinet, MSI, picture,
/// document or xz file.
pub(in crate::delta) fn begins_as_archive(front: &[u8]) -> bool {
    const FRONTS: [&[u8]; 8] =
        [b"PK\x03\x04", &[0x1f, 0x8b, 8], b"!<arch>\n", b"MSCF", &[0xd0, 0xcf, 0x11, 0xe0], b"\x89PNG\r\n", b"%PDF-", XZ_MAGIC];
    FRONTS.iter().any(|known| front.starts_with(known))
}

/// Says whether an xz file seems to begin in `content`.
pub(in crate::delta) fn holds_xz(content: &[u8]) -> bool {
    content.windows(XZ_MAGIC.len()).any(|here| here == XZ_MAGIC)
}

/// A stream that a header promises.
struct Behind {
    /// Its first byte, or that of its wrapper.
    start: usize,
    /// Of a deflate stream; none of LZMA2.
    wrapper: Option<Wrapper>,
    /// How many bytes it must have, packed and plain, where a header is so short that anything looks like it.
    lens: Option<(usize, usize)>,
}

/// What the header at `at` promises.
fn stream_behind(content: &[u8], at: usize) -> Option<Behind> {
    let header = &content[at..];
    let (len, wrapper, lens) = match header[0] {
        b'P' => (zip_header_len(header)?, Some(Wrapper::None), None),
        b'C' => (MSZIP.len(), Some(Wrapper::None), Some(block_lens(content.get(at.checked_sub(BLOCK_HEADER_BYTES)?..at)?)?)),
        first if first == XZ_MAGIC[0] => (stream_header_len(header)?, None, None),
        ZLIB_WINDOW => (0, Some(Wrapper::Zlib), None),
        _ => (gzip_header_len(header)?, Some(Wrapper::None), None),
    };
    Some(Behind { start: at + len, wrapper, lens }).filter(|behind| behind.start < content.len())
}

/// The lengths, packed and plain, of a cabinet's MSZIP block with this header.
fn block_lens(header: &[u8]) -> Option<(usize, usize)> {
    let field = |at: usize| Some(usize::from(u16::from_le_bytes(*header.get(at..)?.first_chunk()?)));
    let (packed, plain) = (field(4)?.checked_sub(MSZIP.len())?, field(6)?);
    (plain <= BLOCK_PLAIN_BYTES_MAX).then_some((packed, plain))
}

/// The length of the header at the front of `header` if a deflated zip member begins there.
pub(super) fn zip_header_len(header: &[u8]) -> Option<usize> {
    if !header.starts_with(b"PK\x03\x04") {
        return None;
    }
    let field = |at: usize| Some(usize::from(u16::from_le_bytes(*header.get(at..)?.first_chunk()?)));
    let (flags, method) = (field(6)?, field(8)?);
    let encrypted = flags & 1 != 0;
    if encrypted || method != 8 { None } else { Some(ZIP_HEADER_BYTES + field(26)? + field(28)?) }
}

fn gzip_header_len(header: &[u8]) -> Option<usize> {
    let flags = *header.get(3)?;
    if flags & 0xe0 != 0 {
        return None;
    }
    let mut at = 10;
    if flags & 4 != 0 {
        at += 2 + usize::from(u16::from_le_bytes(*header.get(at..)?.first_chunk()?));
    }
    for text in [8, 16] {
        if flags & text != 0 {
            at += 1 + header.get(at..)?.iter().take(GZIP_TEXT_BYTES_MAX).position(|&byte| byte == 0)?;
        }
    }
    Some(if flags & 2 != 0 { at + 2 } else { at })
}
