//! Patches make what they were made from, whatever it is.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on has failed; clippy knows only functions marked as tests; noise takes the low bytes"
)]

use std::fs;
use std::path::Path;

use consign_store::delta::similar::{Described, Sketch, best_base, name_key};
use consign_store::delta::{self, Applier, FileBase, Header, Limits, Verifier, WINDOW_BYTES};
use proptest::prelude::*;

/// Bytes of a xorshift generator: the same on every machine.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Applies `patch` in pieces of `piece` bytes.
fn apply(patch: &[u8], bases: &[&[u8]], piece: usize) -> consign_store::Result<Vec<u8>> {
    let (header, used) = Header::decode(patch)?.expect("the header is whole");
    let mut applier = Applier::new(&header, bases.to_vec(), &Limits::default())?;
    let mut verifier = Verifier::default();
    let mut made = Vec::new();
    for bytes in patch[used..].chunks(piece) {
        applier.push(bytes, &mut |bytes| {
            verifier.push(bytes);
            made.extend_from_slice(bytes);
            Ok(())
        })?;
    }
    applier.finish()?;
    verifier.finish(&header)?;
    Ok(made)
}

/// Builds a patch, applies it and returns its length.
fn round(bases: &[&[u8]], target: &[u8]) -> usize {
    let patch = delta::encode(bases, target, &Limits::default()).unwrap();
    assert!(apply(&patch, bases, 1 << 16).unwrap() == target, "the patch makes something else");
    patch.len()
}

const HEADER_BYTES: usize = 52 + 40;

#[test]
fn empty_contents() {
    assert_eq!(round(&[], b""), 52);
    assert_eq!(round(&[b""], b""), HEADER_BYTES);
    round(&[b"something"], b"");
    round(&[b""], b"something");
    round(&[], b"something");
    round(&[b"", b"x", b""], b"x");
}

#[test]
fn identical_content_costs_hardly_more_than_the_header() {
    let bytes = noise(3 * WINDOW_BYTES + 12_345, 1);
    let len = round(&[&bytes], &bytes);
    assert!(len < HEADER_BYTES + 80, "{len} bytes");
}

/// Bundles hold the same code several times, and so does what is new in it.
#[test]
fn what_is_new_in_several_places_is_told_once() {
    let old = noise(100_000, 3);
    let mut new = old.clone();
    new.splice(70_000..70_000, noise(2_000, 4));
    let len = round(&[&old, &old], &[new.clone(), new].concat());
    assert!(len < HEADER_BYTES + 40 + 2_300, "{len} bytes");
}

#[test]
fn reversed_and_unrelated_content() {
    let bytes = noise(300_000, 2);
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    let len = round(&[&bytes], &reversed);
    assert!(len < 300_000 * 103 / 100, "{len} bytes");
    round(&[&noise(WINDOW_BYTES + 5, 3)], &noise(WINDOW_BYTES + 7, 4));
}

#[test]
fn repeats_and_runs() {
    round(&[&vec![0; 100_000]], &vec![0; 150_000]);
    round(&[&vec![0; 100_000]], &vec![1; 100_000]);
    round(&[&b"ab".repeat(50_000)], &b"aba".repeat(40_000));
    round(&[&noise(1000, 5).repeat(100)], &noise(1000, 5).repeat(150));
}

#[test]
fn an_insertion_costs_its_length() {
    let base = noise(500_000, 6);
    let mut target = base.clone();
    target.splice(200_000..200_000, noise(100, 7));
    target.drain(400_000..400_100);
    let len = round(&[&base], &target);
    assert!(len < HEADER_BYTES + 180, "{len} bytes");
}

#[test]
fn numbers_that_refer_to_moved_places_cost_little() {
    // Calls of a few functions from everywhere; an insertion moves the later half and so changes most calls.
    let places = noise(80_000, 8);
    let program = |grow: u32| {
        let mut bytes = Vec::new();
        for (number, place) in places.chunks_exact(8).enumerate() {
            if number == 5_000 {
                bytes.extend(vec![0x90; grow as usize]);
            }
            let callee = u32::from(place[0]) * 600;
            let callee = callee + if callee >= 5_000 * 15 { grow } else { 0 };
            bytes.extend(&place[..2]);
            bytes.extend(noise(8, number as u64));
            bytes.push(0xe8);
            bytes.extend(callee.wrapping_sub(bytes.len() as u32 + 4).to_le_bytes());
        }
        bytes
    };
    let (base, target) = (program(0), program(4321));
    let changed = base.iter().zip(&target).take(75_000).filter(|(a, b)| a != b).count();
    let len = round(&[&base], &target);
    assert!(changed > 3_000 && len < 1_600, "{len} bytes for {changed} changed ones");
}

#[test]
fn several_bases_serve_one_target() {
    let (one, two) = (noise(200_000, 9), noise(200_000, 10));
    let target = [&two[50_000..], &one[..150_000], b"and a little"].concat();
    let len = round(&[&one, &two], &target);
    assert!(len < 52 + 80 + 150, "{len} bytes");
}

#[test]
fn bytes_may_arrive_in_any_pieces() {
    let base = noise(100_000, 11);
    let target = [&base[60_000..], &noise(500, 12)[..], &base[..70_000]].concat();
    let patch = delta::encode(&[&base], &target, &Limits::default()).unwrap();
    for piece in [1, 7, 1000] {
        assert!(apply(&patch, &[&base], piece).unwrap() == target);
    }
}

#[test]
fn much_new_content_is_compressed_apart() {
    let words = noise(2_000_000, 13).iter().flat_map(|byte| [b' ', b'a' + byte % 8]).collect::<Vec<u8>>();
    let base = noise(1_000_000, 14);
    let target = [&base[..500_000], &words, &base[500_000..]].concat();
    let len = round(&[&base], &target);
    assert!(len < 2_000_000, "{len} bytes");
}

#[test]
fn files_as_bases() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("old");
    let base = noise(5_000_000, 15);
    fs::write(&place, &base).unwrap();
    let target = [&base[4_000_000..], &base[..4_500_000]].concat();
    let patch = delta::encode(&[&base], &target, &Limits::default()).unwrap();
    let mut made = Vec::new();
    let (header, built) = delta::apply(&mut &patch[..], &Limits::default(), &mut |_| FileBase::open(&place), &mut |bytes| {
        made.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    assert!(made == target);
    assert_eq!((built.size, built.digest), (target.len() as u64, header.target));
}

#[test]
fn golden_bytes() {
    let base: Vec<u8> = (0..20_000_u32).flat_map(|number| (number * number).to_le_bytes()).collect();
    let mut target = base.clone();
    for at in (1000..60_000).step_by(97) {
        target[at] ^= 5;
    }
    target.splice(30_000..30_100, *b"Eighteen bytes now");
    assert_golden("patch-v3.bin", &base, &target);
    // What is new in two windows, so much that it lies apart: the later draws from the earlier.
    let block = noise(1000, 16);
    let mut target = base.repeat(60);
    for at in [10_000, 4_600_000] {
        target.splice(at..at, (0..140_u8).flat_map(|count| [&block[..], &[count]].concat()));
    }
    assert_golden("patch-literals-v3.bin", &base, &target);
}

fn assert_golden(name: &str, base: &[u8], target: &[u8]) {
    let patch = delta::encode(&[base], target, &Limits::default()).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("CONSIGN_BLESS").is_some() {
        fs::write(&golden, &patch).unwrap();
    }
    let kept = fs::read(golden).unwrap();
    // What was once written must be read for ever; a better encoder may write something else.
    assert!(apply(&kept, &[base], 4096).unwrap() == target);
    assert!(
        patch == kept,
        "the encoder writes other bytes than it did: if that is meant, keep the old file under another name too"
    );
}

#[derive(Debug, Clone)]
enum Edit {
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Move(usize, usize, usize),
    Add(usize, u32),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, by)| Edit::Flip(at, by)),
        (any::<usize>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<usize>(), 0..5000_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (any::<usize>(), 0..5000_usize, any::<usize>()).prop_map(|(at, len, to)| Edit::Move(at, len, to)),
        (any::<usize>(), any::<u32>()).prop_map(|(at, by)| Edit::Add(at, by)),
    ];
    prop::collection::vec(edit, 0..40)
}

fn edit(bytes: &mut Vec<u8>, edits: Vec<Edit>) {
    for edit in edits {
        let len = bytes.len();
        let place = |at: usize| at % (len + 1);
        match edit {
            Edit::Flip(at, by) if len > 0 => bytes[at % len] ^= by,
            Edit::Insert(at, new) => drop(bytes.splice(place(at)..place(at), new)),
            Edit::Remove(at, count) => drop(bytes.drain(place(at)..(place(at) + count).min(len))),
            Edit::Move(at, count, to) => {
                let part: Vec<u8> = bytes.drain(place(at)..(place(at) + count).min(len)).collect();
                let to = to % (bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            Edit::Add(at, by) if len >= 4 => {
                let at = at % (len - 3);
                let old = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                bytes[at..at + 4].copy_from_slice(&old.wrapping_add(by).to_le_bytes());
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn edited_noise(len in 0..100_000_usize, seed: u64, edits in edits()) {
        let base = noise(len, seed);
        let mut target = base.clone();
        edit(&mut target, edits);
        round(&[&base], &target);
    }

    #[test]
    fn edited_text(words in prop::collection::vec("[a-f]{1,6} ?\n?", 0..3000), edits in edits()) {
        let base = words.concat().into_bytes();
        let mut target = base.clone();
        edit(&mut target, edits);
        round(&[&base], &target);
    }

    #[test]
    fn small_alphabets(bases in prop::collection::vec(prop::collection::vec(0..3_u8, 0..500), 0..4), target in prop::collection::vec(0..3_u8, 0..2000)) {
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        round(&bases, &target);
    }
}

#[test]
fn names_without_versions_and_hashes() {
    assert_eq!(name_key("cmake-3.30.1.dist-info/RECORD"), name_key("cmake-3.30.2.dist-info/RECORD"));
    assert_eq!(name_key("libz-1a2b3c4d.so"), "libz-#.so");
    assert_eq!(name_key("face/déjà vu"), "face/déjà vu");
    assert_ne!(name_key("a/b"), name_key("a/c"));
    assert_eq!(name_key(""), "");
}

#[test]
fn the_most_similar_content_is_found() {
    let old: Vec<Vec<u8>> = (0..5).map(|seed| noise(50_000, 100 + seed)).collect();
    let sketches: Vec<Sketch> = old.iter().map(|bytes| Sketch::of(&mut &bytes[..]).unwrap()).collect();
    let paths = ["a/x-1.so", "a/y-1.so", "b/x-1.so", "c", "d"];
    let candidates: Vec<_> = paths.iter().zip(&sketches).map(|(&path, sketch)| Described { path, sketch }).collect();
    let mut new = old[3].clone();
    new.splice(1000..30_000, noise(5000, 200));
    let sketch = Sketch::of_bytes(&new);
    assert_eq!(best_base(&Described { path: "a/x-2.so", sketch: &sketch }, &candidates), Some(3));
    let unlike = Sketch::of_bytes(&noise(50_000, 300));
    assert_eq!(best_base(&Described { path: "a/x-2.so", sketch: &unlike }, &candidates), None);
    assert_eq!(best_base(&Described { path: "a/x-2.so", sketch: &sketch }, &[]), None);
}

#[test]
fn names_decide_among_equals() {
    let sketch = Sketch::of_bytes(&noise(10_000, 1));
    let candidates = ["q", "b/x-1.so", "a/x-1.so"].map(|path| Described { path, sketch: &sketch });
    assert_eq!(best_base(&Described { path: "a/x-2.so", sketch: &sketch }, &candidates), Some(2));
    assert_eq!(best_base(&Described { path: "z", sketch: &sketch }, &candidates), Some(0));
}

#[test]
fn likeness_is_what_is_shared() {
    let bytes = noise(200_000, 1);
    let whole = Sketch::of_bytes(&bytes);
    assert_eq!(whole.likeness(&whole), 64);
    let half = Sketch::of_bytes(&bytes[..100_000]);
    assert!((20..44).contains(&whole.likeness(&half)), "{}", whole.likeness(&half));
    assert_eq!(whole.likeness(&Sketch::of_bytes(&noise(200_000, 2))), 0);
    assert_eq!(Sketch::default().likeness(&Sketch::default()), 0);
    assert_eq!(Sketch::of_bytes(b"short").likeness(&Sketch::of_bytes(b"short")), 64);
}
