//! Patches that lie: a clear error within bounds, never a wrong byte that passes for right.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on has failed; clippy knows only functions marked as tests; noise takes the low bytes"
)]

use std::io::Write as _;

use consign_store::delta::{self, Limits, SECTION_BYTES_MAX, WINDOW_BYTES};
use consign_store::{Error, Result};
use lzma_rust2::{Lzma2Options, Lzma2Writer};

const FIXED_BYTES: usize = 52;
const HEADER_BYTES: usize = FIXED_BYTES + 40;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = (0..len).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    });
    bytes.collect()
}

/// Applies and returns how many bytes came out.
fn apply(patch: &[u8], base: &[u8], limits: &Limits) -> (u64, Result<()>) {
    let mut made = 0;
    let done = delta::apply(&mut &patch[..], limits, &mut |_| Ok(base), &mut |bytes| {
        made += bytes.len() as u64;
        Ok(())
    });
    (made, done.map(|_| ()))
}

fn refusal(patch: &[u8], base: &[u8]) -> Error {
    apply(patch, base, &Limits::default()).1.expect_err("a patch that lies was applied")
}

/// A base, a target with moved, changed and new bytes, and a patch between them.
fn honest() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let base = noise(30_000, 1);
    let mut target = [&base[20_000..], &noise(300, 2), &base[..25_000]].concat();
    for at in (0..target.len()).step_by(301) {
        target[at] ^= 1;
    }
    let patch = delta::encode(&[&base], &target, &Limits::default()).unwrap();
    (base, target, patch)
}

#[test]
fn cut_short_at_each_byte() {
    let (base, _, patch) = honest();
    for len in 0..patch.len() {
        let error = refusal(&patch[..len], &base);
        assert!(error.to_string().contains("ends early"), "{len}: {error}");
    }
}

#[test]
fn longer_than_it_is() {
    let (base, _, patch) = honest();
    for more in [&b"\0"[..], b"\0\0\0\0\0\0\0\0", b"something"] {
        let error = refusal(&[&patch, more].concat(), &base);
        assert!(error.to_string().contains("behind its end"), "{error}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (base, target, patch) = honest();
    for at in 0..patch.len() {
        let mut wrong = patch.clone();
        wrong[at] ^= 1 << (at % 8);
        let (made, result) = apply(&wrong, &base, &Limits::default());
        // Optional features, and the digest of the base, which is the caller's to look up, may say what they will.
        let optional = (10..12).contains(&at) || (FIXED_BYTES..FIXED_BYTES + 32).contains(&at);
        // The last byte of a section may have bits to spare: the result is then right, and proved to be.
        assert!(result.is_err() || optional || made == target.len() as u64, "byte {at}");
    }
}

#[test]
fn wrong_base_of_the_right_length() {
    let (mut base, _, patch) = honest();
    base[22_222] ^= 1;
    let error = refusal(&patch, &base);
    assert!(error.to_string().contains("a base differs"), "{error}");
}

#[test]
fn base_that_is_shorter_than_announced() {
    let (base, _, patch) = honest();
    assert!(matches!(refusal(&patch, &base[..10_000]), Error::Damaged { .. }));
}

#[test]
fn covers_behind_the_end_of_the_bases() {
    let (base, _, mut patch) = honest();
    patch[FIXED_BYTES + 32..HEADER_BYTES].copy_from_slice(&20_500_u64.to_le_bytes());
    let error = refusal(&patch, &base);
    assert!(error.to_string().contains("leaves its bases"), "{error}");
}

#[test]
fn target_announced_shorter_or_longer() {
    let (base, target, patch) = honest();
    for len in [1, target.len() as u64 / 2, target.len() as u64 + 1, WINDOW_BYTES as u64 + 1] {
        let mut wrong = patch.clone();
        wrong[12..20].copy_from_slice(&len.to_le_bytes());
        let (made, result) = apply(&wrong, &base, &Limits::default());
        assert!(result.is_err() && made <= len, "{len}");
    }
}

#[test]
fn lengths_over_the_limits_are_refused_before_anything_is_read() {
    let (base, target, patch) = honest();
    let small = Limits { target_bytes_max: target.len() as u64 - 1, ..Limits::default() };
    assert!(matches!(apply(&patch, &base, &small), (0, Err(Error::Limit { .. }))));
    let small = Limits { base_bytes_max: base.len() as u64 - 1, ..Limits::default() };
    assert!(matches!(apply(&patch, &base, &small), (0, Err(Error::Limit { .. }))));
    assert!(matches!(delta::encode(&[&base], &target, &small), Err(Error::Limit { .. })));
    let mut huge = patch.clone();
    huge[12..20].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(refusal(&huge, &base), Error::Limit { .. }));
    let mut huge = patch.clone();
    huge[FIXED_BYTES + 32..HEADER_BYTES].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(refusal(&huge, &base), Error::Limit { .. }));
}

#[test]
fn too_many_bases() {
    let (base, _, mut patch) = honest();
    patch[7] = 255;
    assert!(matches!(refusal(&patch, &base), Error::Limit { .. }));
    let many = vec![&b"x"[..]; delta::BASES_MAX + 1];
    assert!(matches!(delta::encode(&many, b"x", &Limits::default()), Err(Error::Limit { .. })));
}

#[test]
fn sum_of_base_lengths_that_overflows() {
    let (base, _, mut patch) = honest();
    patch[7] = 2;
    patch[FIXED_BYTES + 32..HEADER_BYTES].copy_from_slice(&(u64::MAX - 5).to_le_bytes());
    let second = [&[7; 32][..], &10_u64.to_le_bytes()].concat();
    patch.splice(HEADER_BYTES..HEADER_BYTES, second);
    assert!(matches!(refusal(&patch, &base), Error::Limit { .. }));
}

#[test]
fn sections_over_their_limit() {
    let (base, _, patch) = honest();
    for at in [HEADER_BYTES, HEADER_BYTES + 4] {
        let mut wrong = patch.clone();
        wrong[at..at + 4].copy_from_slice(&(SECTION_BYTES_MAX as u32 + 1).to_le_bytes());
        assert!(matches!(refusal(&wrong, &base), Error::Limit { .. }));
    }
}

#[test]
fn other_versions_algorithms_and_required_features() {
    let (base, _, patch) = honest();
    for at in [4, 6, 8] {
        let mut newer = patch.clone();
        newer[at] += 1;
        assert!(matches!(refusal(&newer, &base), Error::TooNew { .. }));
    }
    let mut older = patch.clone();
    older[4] -= 1;
    assert!(matches!(refusal(&older, &base), Error::Damaged { .. }), "nobody is told to upgrade for it");
    let mut optional = patch.clone();
    optional[10] = 1;
    assert!(apply(&optional, &base, &Limits::default()).1.is_ok());
    assert!(matches!(refusal(b"PK\x03\x04", &base), Error::Damaged { .. }));
}

/// A header without bases and one window with the given sections.
fn crafted(target_len: u64, decisions: &[u8], literals: &[u8]) -> Vec<u8> {
    let mut patch = delta::encode(&[], b"", &Limits::default()).unwrap();
    patch[12..20].copy_from_slice(&target_len.to_le_bytes());
    for section in [decisions, literals] {
        patch.extend((section.len() as u32).to_le_bytes());
    }
    [&patch, decisions, literals].concat()
}

/// A section of literals that says that it makes `announced` bytes, and makes `made`.
fn literals(announced: u32, made: usize) -> Vec<u8> {
    let mut stream = Lzma2Writer::new(Vec::new(), Lzma2Options::default());
    stream.write_all(&vec![0; made]).unwrap();
    stream.flush().unwrap();
    [&announced.to_le_bytes()[..], stream.inner()].concat()
}

#[test]
fn literals_that_expand_behind_their_window() {
    let bomb = literals(256 << 20, 8 << 20);
    assert!(bomb.len() < 4 << 10);
    for (section, why) in [
        (bomb, "more than their window"),
        (literals(u32::MAX, 1000), "more than their window"),
        (literals(1000, 1001), "go on behind their end"),
        (literals(1000, 3 << 20), "go on behind their end"),
        ([&literals(1000, 1000)[..], &[0x81]].concat(), "go on behind their end"),
        ([&literals(1000, 1000)[..], &[0]].concat(), "go on behind their end"),
        (literals(1000, 999), "cannot be decompressed"),
        (vec![1, 0, 0], "end early"),
    ] {
        let error = refusal(&crafted(1000, b"", &section), b"");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn literals_that_are_no_stream() {
    for section in [&b"nonsense"[..], b"\x01\0\0\0\x80\0\0\0\0", b"\x01\0\0\0\x02\0\0a", b"\x01\0\0\0\0"] {
        assert!(matches!(refusal(&crafted(1000, b"", section), b""), Error::Damaged { .. }), "{section:?}");
    }
}

#[test]
fn few_bytes_that_announce_a_terabyte() {
    let limits = Limits { target_bytes_max: 1 << 40, ..Limits::default() };
    let mut patch = crafted(1 << 40, b"", b"");
    patch.extend([0; 16]);
    let (made, result) = apply(&patch, b"", &limits);
    assert!(result.is_err() && made <= 3 * WINDOW_BYTES as u64, "{made} bytes came out");
}

#[test]
fn sections_of_noise() {
    let base = noise(30_000, 1);
    for seed in 0..200 {
        let mut patch = honest().2[..HEADER_BYTES].to_vec();
        let section = noise(2000, seed);
        patch.extend((section.len() as u32).to_le_bytes());
        patch.extend([0; 4]);
        patch.extend(section);
        let (made, result) = apply(&patch, &base, &Limits::default());
        assert!(result.is_err() && made <= 64 << 10);
    }
}

#[test]
fn windows_in_another_order() {
    let base = noise(3 * WINDOW_BYTES, 1);
    let mut target = base.clone();
    for at in (0..target.len()).step_by(100_000) {
        target[at] ^= 1;
    }
    let patch = delta::encode(&[&base], &target, &Limits::default()).unwrap();
    let mut windows = Vec::new();
    let mut at = HEADER_BYTES;
    while at < patch.len() {
        let len = |at: usize| u32::from_le_bytes(patch[at..at + 4].try_into().unwrap()) as usize;
        let end = at + 8 + len(at) + len(at + 4);
        windows.push(&patch[at..end]);
        at = end;
    }
    assert_eq!(windows.len(), 3);
    let swapped = [&patch[..HEADER_BYTES], windows[1], windows[0], windows[2]].concat();
    refusal(&swapped, &base);
    let repeated = [&patch[..HEADER_BYTES], windows[0], windows[0], windows[0]].concat();
    refusal(&repeated, &base);
}
