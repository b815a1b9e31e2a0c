//! Literals that lie apart: what is new of all windows is one stream, compressed in turn, so that each window draws from those before it.
//!
//! The stream is LZMA2, ended at a whole byte behind each window. Of native programs it is a fiftieth to a quarter smaller than zstd frames of level 17 with
//! matches of three bytes, and made in a quarter of the time; to read it costs 15 ns a byte.

use std::collections::HashSet;
use std::io::{Cursor, Read as _, Write as _};

use lzma_rust2::{EncodeMode, Lzma2Options, Lzma2Reader, Lzma2Writer, LzmaOptions, MfType};

use super::format::{WINDOW_BYTES, damaged};
use super::matcher::is_one_of;
use crate::error::{Error, Result};

/// Literal bytes behind that a match may draw from: what the reader holds of them.
const DICTIONARY_BYTES: u32 = 4 << 20;
/// The same where windows hold few: with all of them native literals are 2 % smaller and take two and a half times as long, because what is looked at leaves
/// the cache.
const NEAR_DICTIONARY_BYTES: u32 = 256 << 10;
/// Strings that are tried for a match where it must be quick: twice as many make literals half a percent smaller and take a tenth longer.
const QUICK_TRIES: i32 = 4;
/// The same where much is new.
const WIDE_TRIES: i32 = 16;
/// A match so long is taken at once.
const NICE_BYTES: u32 = 32;
/// Most literal bytes of a window that are compressed thoroughly if they are text: 85 ms.
const THOROUGH_BYTES_MAX: usize = 512 << 10;
/// One control character of so many bytes, and it is not text, in whatever language.
const TEXT_BYTES_A_CONTROL: usize = 64;
/// Fewer literal bytes are compressed without asking whether that is of use.
const NOISE_BYTES_MIN: usize = 64 << 10;
/// Of what may be noise so many samples of so many bytes are compressed.
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 4 << 10;
/// Noise comes out at more than so many hundredths of its length.
const NOISE_PERCENT: usize = 97;
/// One of so many strings of eight bytes is asked whether it has come before: where many have, it is no noise, whatever the samples say.
const REPEATS_SAMPLE: usize = 64;
/// Most bytes of an uncompressed chunk of LZMA2, and what begins one that forgets all before it, or does not.
const BARE_CHUNK_BYTES_MAX: usize = 64 << 10;
const BARE_FIRST: u8 = 1;
const BARE_NEXT: u8 = 2;
/// Bytes before a window's stream that tell how many it makes.
const LEN_BYTES: usize = 4;

/// How hard matches are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// 20 MB/s: native programs have many literals.
    Quick,
    /// 6 MB/s, a tenth smaller: what is new in scripts is little, and most of their patches.
    Thorough,
    /// 5 to 16 MB/s, a twentieth smaller and more: for windows that are mostly new, and for much text.
    Wide,
}

impl Effort {
    fn of(bare: &[u8]) -> Self {
        let controls = bare.iter().filter(|byte| matches!(byte, 0..=8 | 14..=31)).count();
        let is_text = controls <= bare.len() / TEXT_BYTES_A_CONTROL;
        if is_text && bare.len() <= THOROUGH_BYTES_MAX {
            Self::Thorough
        } else if is_text || bare.len() > WINDOW_BYTES / 2 {
            Self::Wide
        } else {
            Self::Quick
        }
    }

    fn options(self) -> Lzma2Options {
        let (mode, mf, depth_limit, dict_size) = match self {
            Self::Quick => (EncodeMode::Fast, MfType::Hc4, QUICK_TRIES, NEAR_DICTIONARY_BYTES),
            // As many as its way of looking thinks right.
            Self::Thorough => (EncodeMode::Normal, MfType::Bt4, 0, NEAR_DICTIONARY_BYTES),
            Self::Wide => (EncodeMode::Fast, MfType::Hc4, WIDE_TRIES, DICTIONARY_BYTES),
        };
        let nice_len = NICE_BYTES;
        let lzma_options = LzmaOptions { dict_size, mode, mf, depth_limit, nice_len, ..LzmaOptions::default() };
        Lzma2Options { lzma_options, ..Lzma2Options::default() }
    }
}

/// Compresses the literals of one patch.
pub(super) struct Packer {
    effort: Effort,
    stream: Lzma2Writer<Vec<u8>>,
}

impl Packer {
    fn with(effort: Effort) -> Self {
        Self { effort, stream: Lzma2Writer::new(Vec::new(), effort.options()) }
    }

    /// Compresses the literals of the next window that has some, from where `packer` is; the first begins the stream.
    pub(super) fn pack(packer: &mut Option<Self>, bare: &[u8]) -> Result<Vec<u8>> {
        // With another effort the stream begins anew, which whoever reads it need not know.
        if is_noise(bare)? {
            *packer = None;
            return Ok(uncompressed(bare));
        }
        let effort = Effort::of(bare);
        if packer.as_ref().is_none_or(|packer| packer.effort != effort) {
            *packer = None;
        }
        packer.get_or_insert_with(|| Self::with(effort)).window(bare)
    }

    fn window(&mut self, bare: &[u8]) -> Result<Vec<u8>> {
        let stream = &mut self.stream;
        let mut pack = || {
            let len = u32::try_from(bare.len()).map_err(std::io::Error::other)?;
            stream.inner_mut().extend(len.to_le_bytes());
            stream.write_all(bare)?;
            stream.flush()?;
            Ok(std::mem::take(stream.inner_mut()))
        };
        pack().map_err(|source| Error::Io { operation: "compress literals of", path: "patch".into(), source })
    }
}

/// Says whether `bare` cannot be made smaller: content that is compressed or encrypted already, at which matches are looked for at 5 MB/s in vain.
fn is_noise(bare: &[u8]) -> Result<bool> {
    if bare.len() < NOISE_BYTES_MIN {
        return Ok(false);
    }
    let (mut taken, mut packed) = (0, 0);
    for number in 0..SAMPLES {
        let sample = &bare[number * (bare.len() - SAMPLE_BYTES) / (SAMPLES - 1)..][..SAMPLE_BYTES];
        taken += sample.len();
        packed += Packer::with(Effort::Quick).window(sample)?.len();
        if packed * 100 <= taken * NOISE_PERCENT {
            return Ok(false);
        }
    }
    let (mut seen, mut again) = (HashSet::new(), 0);
    for string in bare.array_windows().map(|string| u64::from_le_bytes(*string)) {
        again += usize::from(is_one_of(string, REPEATS_SAMPLE) && !seen.insert(string));
    }
    Ok(again * 100 <= seen.len() * (100 - NOISE_PERCENT))
}

/// The part of the stream that holds `bare` as it is.
fn uncompressed(bare: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(LEN_BYTES + bare.len() + 3 * bare.len().div_ceil(BARE_CHUNK_BYTES_MAX));
    out.extend((bare.len() as u32).to_le_bytes());
    for (number, chunk) in bare.chunks(BARE_CHUNK_BYTES_MAX).enumerate() {
        out.push(if number == 0 { BARE_FIRST } else { BARE_NEXT });
        out.extend(((chunk.len() - 1) as u16).to_be_bytes());
        out.extend(chunk);
    }
    out
}

/// Decompresses the literals of one patch.
pub(super) struct Unpacker(Lzma2Reader<Cursor<Vec<u8>>>);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Lzma2Reader::new(Cursor::default(), DICTIONARY_BYTES, None))
    }

    /// Decompresses the literals of the next window that has some: more than `bytes_max` are refused.
    pub(super) fn unpack(&mut self, packed: &[u8], bytes_max: usize) -> Result<Vec<u8>> {
        let (len, packed) = packed.split_first_chunk::<LEN_BYTES>().ok_or_else(|| damaged("its literals end early"))?;
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        if len > bytes_max {
            return Err(damaged("its literals are more than their window"));
        }
        *self.0.inner_mut() = Cursor::new(packed.to_vec());
        let mut bare = vec![0; len];
        self.0.read_exact(&mut bare).map_err(|_| damaged("its literals cannot be decompressed"))?;
        let all_read = self.0.inner().position() == packed.len() as u64;
        // With nothing left to read it fails, unless something is left of the chunk that was read last.
        if all_read && self.0.read(&mut [0]).is_err() { Ok(bare) } else { Err(damaged("its literals go on behind their end")) }
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_draw_from_those_before_and_effort_follows_what_they_hold() {
        let numbers = (0..30_000_u32).map(|number| number.wrapping_mul(0x9e37_79b9));
        let native: Vec<u8> = numbers.clone().map(|number| number >> 8).flat_map(u32::to_le_bytes).collect();
        let text: Vec<u8> = numbers.flat_map(|number| format!("Größe {number}, ").into_bytes()).collect();
        let (mut packer, mut unpacker) = (None, Unpacker::new());
        let mut lens = Vec::new();
        for (bare, effort) in [
            (&native[..], Effort::Quick),
            (&native[..], Effort::Quick),
            (&text[..500_000], Effort::Thorough),
            (&text[..500_000], Effort::Thorough),
            (&[&text[..], &text[..]].concat()[..], Effort::Wide),
            (&native.repeat(20), Effort::Wide),
            (&[], Effort::Thorough),
        ] {
            let section = Packer::pack(&mut packer, bare).unwrap();
            assert_eq!(packer.as_ref().unwrap().effort, effort);
            assert!(unpacker.unpack(&section, bare.len()).unwrap() == bare);
            lens.push(section.len());
        }
        assert!(lens[1] < lens[0] / 20, "it was all there: {lens:?}");
    }

    /// What is compressed already is taken as it is; what comes again in it is not.
    #[test]
    fn noise_is_not_compressed() {
        let mut state = 1_u64;
        let mut noise = |len: usize| {
            let next = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            (0..len).map(next).collect::<Vec<u8>>()
        };
        let once = noise(150_000);
        let (mut packer, mut unpacker) = (None, Unpacker::new());
        let text = b"as before, as before and before".repeat(9000);
        for (bare, least, most) in [
            (&text[..], 0, 2_000),
            (&once, once.len(), once.len() + 100),
            (&text, 0, 2_000),
            (&noise(70_000), 70_000, 70_100),
            (&[&once[..], &once].concat(), once.len(), once.len() * 102 / 100),
            (&noise(NOISE_BYTES_MIN - 1), NOISE_BYTES_MIN - 1, NOISE_BYTES_MIN + 100),
        ] {
            let section = Packer::pack(&mut packer, bare).unwrap();
            assert!((least..=most).contains(&section.len()), "{} of {} bytes", section.len(), bare.len());
            assert!(unpacker.unpack(&section, bare.len()).unwrap() == bare);
        }
    }
}
