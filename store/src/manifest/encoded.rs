//! A manifest as it is sent: zstd, against a manifest that the receiver has.
//!
//! The base is the prefix of the frame. Where the window over both would be more than a receiver should hold, the manifest is sent in
//! *sections*, each a frame of its own against the stretch of the base that has the same paths. The layout is in `docs/formats.md`.

use std::io::{self, BufRead, Read, Write};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use super::file::ManifestFile;
use super::path::compare_paths;
use crate::error::Result;
use crate::unnamed::UnnamedWriter;

/// zstd level of manifests.
const LEVEL: i32 = 3;
/// Window of the level itself, bytes.
const LEVEL_WINDOW_BYTES: usize = 2 << 20;
/// Window that a receiver holds at most, as a power of two: base and manifest together.
const WINDOW_LOG_MAX: u32 = 26;
/// Smallest window of zstd, as a power of two.
const WINDOW_LOG_MIN: u32 = 10;
/// Bytes of the manifest in a section.
const SECTION_BYTES: usize = 16 << 20;
/// Bytes of the base for a section: what the window has beside it.
const STRETCH_BYTES_MAX: usize = (1 << WINDOW_LOG_MAX) - SECTION_BYTES;
/// Bytes on both sides of a stretch, so that what lies at its ends is in it with its surroundings.
const MARGIN_BYTES: usize = 64 << 10;
/// A skippable frame of 16 bytes, before the frame of each section.
const SECTION_START: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 16, 0, 0, 0];

/// How a manifest is encoded against a base.
#[derive(Debug, Clone, Copy)]
pub enum Against<'a> {
    /// No base.
    Nothing,
    /// One frame, the base as prefix.
    Whole(&'a ManifestFile),
    /// Sections.
    Sections(&'a ManifestFile),
}

impl<'a> Against<'a> {
    /// Chooses how to encode `manifest` for a receiver that has `base`, and knows sections if `sections` says so.
    #[must_use]
    pub fn of(base: Option<&'a ManifestFile>, manifest: &ManifestFile, sections: bool) -> Self {
        match base {
            Some(base) if base.bytes().len() + manifest.bytes().len() <= 1 << WINDOW_LOG_MAX => Self::Whole(base),
            Some(base) if sections => Self::Sections(base),
            _ => Self::Nothing,
        }
    }

    /// The base that is used.
    #[must_use]
    pub fn base(self) -> Option<&'a ManifestFile> {
        match self {
            Self::Nothing => None,
            Self::Whole(base) | Self::Sections(base) => Some(base),
        }
    }
}

/// How many bytes of its input an encoder of `manifest` holds at once.
#[must_use]
pub fn held_bytes(manifest: &ManifestFile, against: Against<'_>) -> usize {
    let len = manifest.bytes().len();
    match against {
        Against::Nothing => len.min(LEVEL_WINDOW_BYTES),
        Against::Whole(_) => len,
        Against::Sections(_) => len.min(SECTION_BYTES),
    }
}

/// Writes `manifest` to `out`, encoded.
///
/// # Errors
/// What `out` returns, or the encoder.
pub fn encode(manifest: &ManifestFile, against: Against<'_>, out: &mut dyn Write) -> io::Result<()> {
    let bytes = manifest.bytes();
    match against {
        Against::Nothing => frame(bytes, &[], out),
        Against::Whole(base) => frame(bytes, base.bytes(), out),
        Against::Sections(base) => sections(manifest, base, SECTION_BYTES, out),
    }
}

/// Encodes `manifest` once for many, into a file without a name in the folder `dir`: whoever holds the bytes holds the file, and no memory.
///
/// # Errors
/// I/O on `dir`.
pub fn encode_shared(manifest: &ManifestFile, against: Against<'_>, dir: &Path) -> Result<Bytes> {
    let mut file = UnnamedWriter::in_folder(dir)?;
    file.by(|out| encode(manifest, against, out))?;
    Ok(Bytes::from_owner(file.finish()?))
}

/// Writes sections of `section_bytes`.
fn sections(manifest: &ManifestFile, base: &ManifestFile, section_bytes: usize, out: &mut dyn Write) -> io::Result<()> {
    let bytes = manifest.bytes();
    (0..bytes.len()).step_by(section_bytes).try_for_each(|from| {
        let section = from..bytes.len().min(from + section_bytes);
        let stretch = stretch(base, manifest, &section);
        out.write_all(&SECTION_START)?;
        out.write_all(&(stretch.start as u64).to_le_bytes())?;
        out.write_all(&(stretch.len() as u64).to_le_bytes())?;
        frame(&bytes[section], &base.bytes()[stretch], out)
    })
}

/// Writes one frame.
fn frame(bytes: &[u8], prefix: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let mut encoder = Encoder::with_ref_prefix(out, LEVEL, prefix)?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    if !prefix.is_empty() {
        let window = (prefix.len() + bytes.len()).next_power_of_two();
        encoder.window_log(window.trailing_zeros().max(WINDOW_LOG_MIN))?;
        // The level by itself sees little of a prefix of more than a megabyte.
        encoder.long_distance_matching(true)?;
    }
    encoder.write_all(bytes)?;
    encoder.finish()?.flush()
}

/// Finds the stretch of `base` whose paths are those of the bytes `section` of `manifest`, and some more.
fn stretch(base: &ManifestFile, manifest: &ManifestFile, section: &Range<usize>) -> Range<usize> {
    let place = |at: usize| {
        let path = manifest.path_at(at)?;
        base.place_of(|known| compare_paths(known, path).is_lt())
    };
    let len = base.bytes().len();
    let from = if section.start == 0 { 0 } else { place(section.start).unwrap_or(len) };
    let to = if section.end == manifest.bytes().len() { len } else { place(section.end).unwrap_or(len) };
    let from = from.saturating_sub(MARGIN_BYTES);
    from..(to.max(from) + MARGIN_BYTES).min(len).min(from + STRETCH_BYTES_MAX)
}

/// Reads a manifest back from what [`encode`] wrote.
///
/// It believes nothing: what it yields is to be cut off behind the length that is known, and judged by its digest. Whoever has read to the end has read
/// all of the input. Holds 64 MiB at most.
pub struct Decoded<'a, R: BufRead> {
    base: &'a [u8],
    state: State<'a, R>,
    sections: bool,
}

enum State<'a, R: BufRead> {
    Before(R),
    Within(Decoder<'a, R>),
    /// Ended, or failed.
    Ended,
}

impl<'a, R: BufRead> Decoded<'a, R> {
    /// Reads from `input`, which was encoded against `base`.
    pub fn new(input: R, base: Option<&'a ManifestFile>) -> Self {
        Self { base: base.map_or(&[], ManifestFile::bytes), state: State::Before(input), sections: false }
    }

    /// Begins the next frame; `None` at the end.
    fn begin(&mut self, mut input: R) -> io::Result<Option<Decoder<'a, R>>> {
        let Some(first) = input.fill_buf()?.first().copied() else {
            return if self.sections { Ok(None) } else { Err(bad("it is empty")) };
        };
        let is_section = first == SECTION_START[0];
        if self.sections && !is_section {
            return Err(bad("something that is no section follows a section"));
        }
        self.sections = is_section;
        let prefix = if is_section { section_prefix(&mut input, self.base)? } else { self.base };
        let mut decoder = Decoder::with_ref_prefix(input, prefix)?.single_frame();
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        Ok(Some(decoder))
    }
}

impl<R: BufRead> Read for Decoded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => break,
                State::Before(input) => match self.begin(input)? {
                    Some(decoder) => self.state = State::Within(decoder),
                    None => break,
                },
                State::Within(mut decoder) => {
                    let count = decoder.read(buffer)?;
                    if count > 0 {
                        self.state = State::Within(decoder);
                        return Ok(count);
                    }
                    let mut input = decoder.finish();
                    if self.sections {
                        self.state = State::Before(input);
                    } else if !input.fill_buf()?.is_empty() {
                        return Err(bad("something follows the manifest"));
                    }
                }
            }
        }
        Ok(0)
    }
}

/// Reads the start of a section, and finds its stretch of the base.
fn section_prefix<'a>(input: &mut dyn BufRead, base: &'a [u8]) -> io::Result<&'a [u8]> {
    let mut start = [0; SECTION_START.len() + 16];
    input.read_exact(&mut start)?;
    let (magic, numbers) = start.split_at(SECTION_START.len());
    let mut numbers = numbers.as_chunks::<8>().0.iter().map(|bytes| usize::try_from(u64::from_le_bytes(*bytes)));
    let stretch = match (numbers.next(), numbers.next()) {
        (Some(Ok(from)), Some(Ok(len))) if magic == SECTION_START && len <= STRETCH_BYTES_MAX => {
            from.checked_add(len).map(|to| from..to)
        }
        _ => None,
    };
    stretch.and_then(|stretch| base.get(stretch)).ok_or_else(|| bad("a section names no stretch of the base"))
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::FileDigest;
    use crate::manifest::entry::{Attributes, Entry, EntryKind};
    use crate::manifest::path::SafePath;
    use crate::manifest::testing::manifest_of;

    /// A version of small files, each a number and a state of its content.
    fn version(files: &[(u32, u32)]) -> (tempfile::TempDir, ManifestFile) {
        manifest_of(files.iter().map(|(number, state)| {
            let digest = FileDigest(*blake3::hash(&[number.to_le_bytes(), state.to_le_bytes()].concat()).as_bytes());
            let path = SafePath::parse(format!("file-{number:07}.txt").as_bytes()).unwrap();
            let kind = EntryKind::File { size: 1, digest, chunks: 1 };
            Entry { path, kind, attributes: Attributes { mode: 0o644 } }
        }))
    }

    fn decoded(encoded: &[u8], base: Option<&ManifestFile>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Decoded::new(encoded, base).take(1 << 24).read_to_end(&mut bytes).map(|_| bytes)
    }

    fn in_sections(base: &ManifestFile, manifest: &ManifestFile, section_bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        sections(manifest, base, section_bytes, &mut out).unwrap();
        out
    }

    #[test]
    fn a_small_change_of_a_long_manifest_costs_little() {
        for (count, section_bytes) in [(20_000, 300 << 10), (100_000, 1 << 20)] {
            let files: Vec<_> = (0..count).map(|number| (number, 0)).collect();
            let mut changed = files.clone();
            changed[files.len() / 2].1 = 1;
            let ((_a, base), (_b, next)) = (version(&files), version(&changed));
            let mut whole = Vec::new();
            encode(&next, Against::of(Some(&base), &next, true), &mut whole).unwrap();
            assert!(whole.len() < 2 << 10, "{} bytes", whole.len());
            assert_eq!(decoded(&whole, Some(&base)).unwrap(), next.bytes());
            assert_eq!(held_bytes(&next, Against::Whole(&base)), next.bytes().len());
            assert!(held_bytes(&next, Against::Nothing) <= 2 << 20);
            let parts = in_sections(&base, &next, section_bytes);
            assert!(parts.len() < 4 << 10, "{} bytes", parts.len());
            assert_eq!(decoded(&parts, Some(&base)).unwrap(), next.bytes());
        }
    }

    #[test]
    fn a_stretch_follows_its_paths_however_far_they_have_moved() {
        let old: Vec<_> = (0..20_000).map(|number| (number, 0)).collect();
        // The first half is gone, and as much came in the middle.
        let new: Vec<_> =
            (10_000..15_000).map(|number| (number, 0)).chain((15_000..40_000).map(|n| (n, u32::from(n >= 20_000)))).collect();
        let ((_a, old), (_b, new)) = (version(&old), version(&new));
        let parts = in_sections(&old, &new, 64 << 10);
        assert_eq!(decoded(&parts, Some(&old)).unwrap(), new.bytes());
        let mut alone = Vec::new();
        encode(&new, Against::Nothing, &mut alone).unwrap();
        assert!(
            parts.len() < alone.len() * 7 / 10,
            "{} and {} bytes: ten of thirty thousand files are known",
            parts.len(),
            alone.len()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn whatever_changes_and_wherever_sections_end_the_same_bytes_come_back(
            old in prop::collection::btree_map(0_u32..3000, 0_u32..4, 0..400),
            new in prop::collection::btree_map(0_u32..3000, 0_u32..4, 0..400),
            section_bytes in 1_usize..20_000,
        ) {
            let list = |map: std::collections::BTreeMap<u32, u32>| map.into_iter().collect::<Vec<_>>();
            let ((_a, old), (_b, new)) = (version(&list(old)), version(&list(new)));
            prop_assert_eq!(decoded(&in_sections(&old, &new, section_bytes.max(300)), Some(&old)).unwrap(), new.bytes());
            for against in [Against::Nothing, Against::Whole(&old)] {
                let mut out = Vec::new();
                encode(&new, against, &mut out).unwrap();
                prop_assert_eq!(decoded(&out, against.base()).unwrap(), new.bytes());
            }
        }

        /// Cut off, lengthened, or with other bytes: an error, or other bytes than the digest wants.
        #[test]
        fn what_was_spoiled_never_passes(cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let files: Vec<_> = (0..300).map(|number| (number, 0)).collect();
            let ((_a, old), (_b, new)) = (version(&files), version(&files[7..]));
            let good = in_sections(&old, &new, 4000);
            // At the end of a section it is whole so far, and too short.
            let cut = decoded(&good[..cut.index(good.len())], Some(&old));
            prop_assert!(cut.is_err() || cut.is_ok_and(|bytes| bytes.len() < new.bytes().len()));
            prop_assert!(decoded(&[&good[..], b"x"].concat(), Some(&old)).is_err());
            let mut bad = good.clone();
            bad[flip.index(good.len())] ^= 1 << bit;
            let same = decoded(&bad, Some(&old)).is_ok_and(|bytes| bytes == new.bytes());
            // A stretch that is longer than what is used of it changes nothing.
            prop_assert!(!same || bad.len() == good.len());
        }
    }

    #[test]
    fn a_stretch_that_the_base_has_not_is_refused() {
        let (_dir, old) = version(&[(1, 0), (2, 0)]);
        let section = |from: u64, len: u64| {
            let mut bytes = [&SECTION_START[..], &from.to_le_bytes(), &len.to_le_bytes()].concat();
            frame(b"something", &[], &mut bytes).unwrap();
            bytes
        };
        let base_len = old.bytes().len() as u64;
        assert_eq!(decoded(&section(0, base_len), Some(&old)).unwrap(), b"something");
        for (from, len) in [(0, base_len + 1), (base_len, 1), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)] {
            assert!(decoded(&section(from, len), Some(&old)).is_err(), "{from} {len}");
        }
        assert!(decoded(&section(0, 1), None).is_err(), "there is no base");
        assert!(decoded(&section(0, 1)[..20], Some(&old)).is_err() && decoded(&[], Some(&old)).is_err());
        let mut frame_behind = section(0, base_len);
        frame(b"more", &[], &mut frame_behind).unwrap();
        assert!(decoded(&frame_behind, Some(&old)).is_err(), "no section");
        let mut other = section(0, base_len);
        other[4] = 17;
        assert!(decoded(&other, Some(&old)).is_err(), "another kind of skippable frame");
    }
}
