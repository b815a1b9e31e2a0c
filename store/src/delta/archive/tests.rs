//! Archives of many tools, and of nobody's tools: every patch makes the target again or there is none.

use std::io::Write as _;

use lzma_rust2::{Lzma2Options, Lzma2Writer};
use proptest::prelude::*;

use super::super::format::Limits;
use super::super::view::Views;
use super::build::encode_nested;
use super::deflate::{Deflater, Family, Style};
use super::find::{Coding, Streams, streams};
use super::guess::Guesser;
use super::{DEPTH_MAX, MAGIC, apply_joined};
use crate::delta::covers::Base;
use crate::error::Result;

/// Makes a patch, if archives are of use in it, and holds it to what it makes.
pub(super) fn patch(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let patch = encode(base, target, DEPTH_MAX);
    assert!(make(&patch, base).unwrap() == target, "the patch makes something else");
    patch.starts_with(&MAGIC).then_some(patch)
}

fn encode(base: &[u8], target: &[u8], depth: usize) -> Vec<u8> {
    let mut patch = Vec::new();
    let views = Views::in_folder(&std::env::temp_dir());
    encode_nested(&Base::of(base, None), (target, None), Streams::of(base, target), depth, &views, &mut |bytes| {
        patch.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    patch
}

fn make(patch: &[u8], base: &[u8]) -> Result<Vec<u8>> {
    let mut made = Vec::new();
    let mut sink = |bytes: &[u8]| {
        made.extend_from_slice(bytes);
        Ok(())
    };
    let mut scratch = || Ok(tempfile::tempfile().unwrap());
    apply_joined(&mut &patch[..], &Limits::default(), (&base, base.len() as u64), &mut scratch, &mut sink)?;
    Ok(made)
}

const USUAL: Style = Style { family: Family::Zlib, level: 6, memory: 8 };

fn deflate(style: Style, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sink = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok::<(), ()>(())
    };
    let mut deflater = Deflater::new(style, 1);
    deflater.push(plain, &mut sink).unwrap();
    deflater.finish(&mut sink).unwrap();
    out
}

fn text(len: usize, word: &str) -> Vec<u8> {
    let lines = (0..).map(|number: u32| format!("line {number} of {} {word}\n", number.wrapping_mul(2_654_435_761) >> 12));
    let mut text = Vec::new();
    for line in lines {
        text.extend(line.bytes());
        if text.len() >= len {
            break;
        }
    }
    text
}

/// A local header and its member; `len` is what the header says of the packed length.
fn member(name: &str, flags: u16, method: u16, len: u32, packed: &[u8]) -> Vec<u8> {
    let mut out = b"PK\x03\x04\x14\x00".to_vec();
    out.extend(flags.to_le_bytes());
    out.extend(method.to_le_bytes());
    out.extend([0; 8]);
    out.extend(len.to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend((name.len() as u16).to_le_bytes());
    out.extend([0; 2]);
    out.extend(name.bytes());
    out.extend(packed);
    out
}

pub(super) fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/archives").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the tools of `store/tests/golden/archives/make.sh` made, and the most that a patch may cost.
#[test]
fn archives_of_many_tools_are_seen_through() {
    for (name, bytes_max) in [
        ("python.zip", 1000),
        ("streamed.zip", 1000),
        ("info-6.zip", 1000),
        ("info-9.zip", 1000),
        ("zip64.zip", 1000),
        ("nested.zip", 1000),
        ("java.jar", 1000),
        ("debian.deb", 1000),
        ("node.tgz", 1000),
        ("gzip-1.tar.gz", 1000),
        ("gzip-6.tar.gz", 1000),
        ("gzip-9.tar.gz", 1000),
        ("gcab.cab", 1000),
        ("wixl.msi", 1600),
        ("seven.zip", 1600),
        ("picture.png", 1600),
        ("document.pdf", 1000),
        ("debian-xz.deb", 1300),
        ("blocks.tar.xz", 1300),
        ("xz-1.tar.xz", 1300),
        ("xz-9e.tar.xz", 1300),
    ] {
        let (old, new) = (fixture(&format!("{name}.old")), fixture(&format!("{name}.new")));
        let patch = patch(&old, &new).unwrap_or_else(|| panic!("{name} is not seen through"));
        assert!(patch.len() < bytes_max, "{name}: {} bytes", patch.len());
    }
}

/// What was once written must be read for ever; a better builder may write something else.
#[test]
fn a_kept_patch_is_still_read() {
    let kept = [
        ("nested.zip", "patch-unfolded-v1.bin"),
        ("seven.zip", "patch-replayed-v1.bin"),
        ("blocks.tar.xz", "patch-lzma2-v1.bin"),
    ];
    for (name, golden) in kept {
        let (old, new) = (fixture(&format!("{name}.old")), fixture(&format!("{name}.new")));
        let golden = crate::golden::path(golden);
        if std::env::var_os("CONSIGN_BLESS").is_some() {
            std::fs::write(&golden, patch(&old, &new).unwrap()).unwrap();
        }
        let kept = std::fs::read(golden).unwrap();
        assert!(kept.starts_with(&MAGIC) && make(&kept, &old).unwrap() == new, "{name}");
    }
}

#[test]
fn what_cannot_be_folded_again_stays_as_it_is() {
    for name in ["encrypted.zip", "filtered.tar.xz"] {
        let (old, new) = (fixture(&format!("{name}.old")), fixture(&format!("{name}.new")));
        assert_eq!(patch(&old, &new), None, "{name}");
    }
}

/// Words, with others here and there in the newer.
fn changed_text() -> (Vec<u8>, Vec<u8>) {
    let old = text(300_000, "same");
    let mut new = old.clone();
    for at in (5_000..new.len()).step_by(20_000) {
        new[at..at + 9].copy_from_slice(b"different");
    }
    (old, new)
}

/// What no style makes is replayed: any compressor's stream, of any kind of block.
#[test]
fn streams_of_other_compressors_are_replayed() {
    let (old, new) = changed_text();
    for level in 0..=10 {
        let packed = |plain: &[u8]| miniz_oxide::deflate::compress_to_vec(plain, level);
        let (old, new) = (member("a", 0, 8, 0, &packed(&old)), member("a", 0, 8, 0, &packed(&new)));
        let patch = patch(&old, &new).unwrap_or_else(|| panic!("level {level} is not seen through"));
        // The fastest one forgets strings as others take their place.
        assert!(patch.len() < if level == 1 { 6_000 } else { 3_000 }, "level {level}: {} bytes", patch.len());
    }
}

/// The choices of many streams are learnt together.
#[test]
fn a_compressor_is_learnt_once() {
    let (old, new) = changed_text();
    let archive = |plain: &[u8]| -> Vec<u8> {
        let packed = plain.chunks(10_000).map(|plain| miniz_oxide::deflate::compress_to_vec(plain, 6));
        packed.flat_map(|packed| member("a", 0, 8, 0, &packed)).collect()
    };
    let patch = patch(&archive(&old), &archive(&new)).unwrap();
    assert!(patch.len() < 4_000, "{} bytes", patch.len());
}

/// One that cannot be told does not end the search for the habit of those behind it.
#[test]
fn a_compressor_is_learnt_behind_a_stream_that_cannot_be_told() {
    let (old, new) = changed_text();
    // One block, so that its beginning shows it.
    let mut padded = miniz_oxide::deflate::compress_to_vec(&text(20_000, "other"), 6);
    *padded.last_mut().unwrap() |= 0x80;
    let archive = |first: &[u8], plain: &[u8]| {
        let packed = miniz_oxide::deflate::compress_to_vec(plain, 1);
        [member("a", 0, 8, 0, first), member("b", 0, 8, 0, &packed)].concat()
    };
    let patch = patch(&archive(&padded[1..], &old), &archive(&padded, &new)).unwrap();
    assert!(patch.len() < padded.len() + 6_000, "{} bytes beside {}", patch.len(), padded.len());
}

/// An xz file of one block, as another encoder of LZMA2 writes it; `level` is from 0 to 9.
fn xz(plain: &[u8], level: u32) -> Vec<u8> {
    let mut out = b"\xfd7zXZ\0\0\0\xff\x12\xd9\x41".to_vec();
    out.extend([2, 0, 0x21, 1, 0x16, 0, 0, 0, 1, 2, 3, 4]);
    let mut writer = Lzma2Writer::new(out, Lzma2Options::with_preset(level));
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

/// What a compressor of LZMA2 made is told by what it made before, whichever it is.
#[test]
fn streams_of_lzma2_are_told() {
    let (old, new) = changed_text();
    for level in [0, 1, 3, 6, 9] {
        let (old, new) = (xz(&old, level), xz(&new, level));
        let patch = patch(&old, &new).unwrap_or_else(|| panic!("level {level} is not seen through"));
        assert!(patch.len() < new.len() / 8, "level {level}: {} bytes of {}", patch.len(), new.len());
    }
}

/// Noise is stored, in chunks that are none of a model's.
#[test]
fn chunks_that_are_stored_are_made_again() {
    let mut state = 1_u64;
    let mut noise = Vec::new();
    for _ in 0..200_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.push((state >> 56) as u8);
    }
    let (old, new) = changed_text();
    let (old, new) = (xz(&[&old, &noise[..], &old].concat(), 6), xz(&[&new, &noise[..], &new].concat(), 6));
    let patch = patch(&old, &new).unwrap();
    assert!(patch.len() < new.len() / 20, "{} bytes of {}", patch.len(), new.len());
}

/// All blocks of a file are found, though only the first lies behind something that tells it from anything else; the third is too short.
#[test]
fn each_block_of_an_xz_file_is_a_stream() {
    let found = streams(&fixture("blocks.tar.xz.new"));
    assert!(found.len() == 2 && found.iter().all(|stream| stream.coding == Coding::Lzma2), "{found:?}");
}

/// Streams that say the same as others in other words, which nothing here would write, or that end in bits of no meaning, stay as they are.
#[test]
fn other_spellings_stay_as_they_are() {
    let plain = text(100_000, "same");
    let packed = miniz_oxide::deflate::compress_to_vec(&plain, 6);
    let old = member("a", 0, 8, 0, &miniz_oxide::deflate::compress_to_vec(&text(100_000, "other"), 6));
    let mut padded = packed.clone();
    // The last byte has bits behind the end unless it ends there.
    let last = padded.last_mut().unwrap();
    assert!(last.leading_zeros() > 0);
    *last |= 0x80;
    assert!(patch(&old, &member("a", 0, 8, 0, &packed)).is_some());
    assert_eq!(patch(&old, &member("a", 0, 8, 0, &padded)), None);
}

#[test]
fn streams_are_found_whatever_the_headers_say() {
    let packed = deflate(USUAL, &text(5000, "a"));
    let found = |content: &[u8]| streams(content).iter().map(|stream| (stream.start, stream.packed)).collect::<Vec<_>>();
    for (flags, len) in [(0, packed.len() as u32), (8, 0), (0, u32::MAX), (0, 1)] {
        assert_eq!(found(&member("x", flags, 8, len, &packed)), [(31, packed.len())], "flags {flags}, length {len}");
    }
    assert_eq!(found(&member("x", 1, 8, 5, &packed)), [], "encrypted");
    assert_eq!(found(&member("x", 0, 0, 5, &packed)), [], "stored");
    assert_eq!(found(&member("x", 0, 8, 5, &packed[..packed.len() - 1])), [], "cut short");
    let mut long_name = member("x", 0, 8, 5, &packed);
    long_name[26..28].copy_from_slice(&u16::MAX.to_le_bytes());
    assert_eq!(found(&long_name), [], "a name behind the end");
    let mut gzip = vec![0x1f, 0x8b, 8, 4 | 8 | 16 | 2, 0, 0, 0, 0, 0, 0, 2, 0, 9, 9];
    gzip.extend(b"name\0comment\0crc-"[..15].iter());
    let start = gzip.len();
    gzip.extend(&packed);
    assert_eq!(found(&gzip), [(start, packed.len())]);
}

/// Content is looked at in blocks, and a header may lie across two.
#[test]
fn streams_are_found_wherever_they_begin() {
    let plain = text(5000, "a");
    let (zip, zlib) = (member("x", 0, 8, 5, &deflate(USUAL, &plain)), miniz_oxide::deflate::compress_to_vec_zlib(&plain, 6));
    for (archive, header) in [(zip, 31), (zlib, 2)] {
        for before in 0..600 {
            let content = [&vec![archive[0]; before][..], &archive, b"behind"].concat();
            let starts = streams(&content).iter().map(|stream| stream.start).collect::<Vec<_>>();
            assert_eq!(starts, [before + header], "{before}");
        }
    }
}

/// Two bytes are a short header: what is behind must have the right checksum at its end.
#[test]
fn zlib_streams_are_found_by_their_checksum() {
    let packed = deflate(USUAL, &text(5000, "a"));
    let checksum = &miniz_oxide::deflate::compress_to_vec_zlib(&text(5000, "a"), 1);
    let checksum = &checksum[checksum.len() - 4..];
    let found = |content: &[u8]| streams(content).iter().map(|stream| (stream.start, stream.packed)).collect::<Vec<_>>();
    for level in [0x01, 0x5e, 0x9c, 0xda] {
        let whole = [&[0x78, level], &packed[..], checksum, b"behind"].concat();
        assert_eq!(found(&whole), [(2, packed.len())], "level {level:x}");
    }
    assert_eq!(found(&[&[0x78, 0x9d], &packed[..], checksum].concat()), [], "its check bits are wrong");
    assert_eq!(found(&[&[0x78, 0xbb], &packed[..], checksum].concat()), [], "a dictionary");
    assert_eq!(found(&[&[0x78, 0x9c], &packed[..], &[0; 4]].concat()), [], "another's checksum");
    assert_eq!(found(&[&[0x78, 0x9c], &packed[..], &checksum[..3]].concat()), [], "cut short");
}

/// A cabinet's blocks are found by their headers alone, which must tell what is there.
#[test]
fn blocks_of_cabinets() {
    let plain = text(5000, "a");
    let packed = deflate(USUAL, &plain);
    let block = |letters: &[u8], packed_len: usize, plain_len: usize, packed: &[u8]| {
        let lens = [packed_len as u16, plain_len as u16].map(u16::to_le_bytes).concat();
        [&[1, 2, 3, 4], &lens[..], letters, packed].concat()
    };
    let found = |content: &[u8]| streams(content).iter().map(|stream| (stream.start, stream.packed)).collect::<Vec<_>>();
    let (packed_len, plain_len) = (packed.len() + 2, plain.len());
    let whole = block(b"CK", packed_len, plain_len, &packed);
    assert_eq!(found(&whole), [(10, packed.len())]);
    let (second, both) = (whole.len() + 10, [&whole[..], &whole].concat());
    assert_eq!(found(&both), [(10, packed.len()), (second, packed.len())]);
    for (packed_len, plain_len) in
        [(packed_len + 1, plain_len), (packed_len, plain_len - 1), (packed_len, plain_len + 1), (1, 1), (0, 0)]
    {
        assert_eq!(found(&block(b"CK", packed_len, plain_len, &packed)), [], "lies: {packed_len}, {plain_len}");
    }
    assert_eq!(found(&block(b"[]", packed_len, plain_len, &packed)), [], "LZX");
    assert_eq!(found(&whole[..whole.len() - 1]), [], "cut short");
    assert_eq!(found(&whole[3..]), [], "without its header");
    let (long, bomb) = (vec![0; 40_000], deflate(USUAL, &vec![0; 40_000]));
    assert_eq!(found(&block(b"CK", bomb.len() + 2, long.len(), &bomb)), [], "longer than a block");
    // What makes blocks that go on where the last one ended cannot be made again, and stays as it is.
    let other = block(b"CK", packed_len, plain_len, &deflate(Style { level: 1, ..USUAL }, &plain));
    assert!(make(&encode(&whole, &other, DEPTH_MAX), &whole).unwrap() == other);
}

/// An archive in an archive is seen through, and one in that is not; a patch that goes deeper is refused.
#[test]
fn archives_in_archives() {
    let nested = |word: &str, depth: usize| {
        let mut content = text(20_000, word);
        for _ in 0..depth {
            content = member("x", 0, 8, 1, &deflate(USUAL, &content));
        }
        content
    };
    let len = |depth: usize| patch(&nested("old", depth), &nested("new", depth)).map(|patch| patch.len());
    let (once, twice, thrice) = (len(1).unwrap(), len(2).unwrap(), len(3).unwrap());
    assert!(twice < once + 200, "{once} bytes for an archive, {twice} for one in it");
    assert!(thrice > 2 * twice, "{twice} and {thrice} bytes");
    let (old, new) = (nested("old", 3), nested("new", 3));
    let deeper = encode(&old, &new, DEPTH_MAX + 1);
    assert!(make(&deeper, &old).unwrap_err().to_string().contains("depth"));
}

/// Members that claim the same bytes: the first to be found has them.
#[test]
fn overlapping_members_are_one_stream() {
    let inner = member("inner", 0, 8, 9, &deflate(USUAL, &text(3000, "inner")));
    // A stored block in which the inner member lies.
    let mut packed = vec![1];
    packed.extend((inner.len() as u16).to_le_bytes());
    packed.extend((!(inner.len() as u16)).to_le_bytes());
    packed.extend(&inner);
    let outer = member("outer", 0, 8, 9, &packed);
    let found = streams(&outer);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].packed, found[0].plain), (packed.len(), inner.len()));
}

#[test]
fn a_stream_that_inflates_without_end_costs_little() {
    // A thousand to one, again and again: 1 MiB for 1 GiB.
    let bomb = deflate(USUAL, &vec![0; 64 << 20]);
    let mut archive = Vec::new();
    for number in 0..16 {
        archive.extend(member(&number.to_string(), 0, 8, 7, &bomb));
    }
    let plain: usize = streams(&archive).iter().map(|stream| stream.plain).sum();
    assert!(plain <= super::PLAIN_BYTES_MAX, "{plain}");
}

/// Headers behind which there is nothing, and such whose streams are all that follows and lack their end: of many, what comes behind is not reached.
#[test]
fn headers_that_lead_nowhere_cost_little() {
    let archive = member("x", 0, 8, 5, &deflate(USUAL, &text(5000, "a")));
    for (junk, few, many) in [(&[0x78, 0x9c][..], 1000, 1_100_000), (&[0, 2, 0, 0xfd, 0xff, 0x78, 0x9c], 100, 300_000)] {
        let found = |count| streams(&[&junk.repeat(count), &archive[..]].concat()).len();
        assert_eq!((found(few), found(many)), (1, 0), "{junk:x?}");
    }
}

#[test]
fn a_patch_for_another_base_or_cut_short_is_refused() {
    let (old, new) = (fixture("python.zip.old"), fixture("python.zip.new"));
    let patch = patch(&old, &new).unwrap();
    assert!(make(&patch, &old[1..]).is_err());
    let mut other = old.clone();
    other[40..400].fill(7);
    assert!(make(&patch, &other).is_err() || make(&patch, &other).unwrap() != new);
    for len in 0..patch.len() {
        assert!(make(&patch[..len], &old).is_err(), "{len} bytes of the patch");
    }
    let mut newer = patch.clone();
    newer[8] = 1;
    assert!(make(&newer, &old).unwrap_err().to_string().contains("newer Consign"));
}

/// Whatever is done to a patch, it ends with an error, or with as many bytes as it announces, for a digest to judge.
#[test]
fn damaged_patches_end() {
    for name in ["node.tgz", "seven.zip", "blocks.tar.xz"] {
        let (old, new) = (fixture(&format!("{name}.old")), fixture(&format!("{name}.new")));
        let patch = patch(&old, &new).unwrap();
        for at in 0..patch.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = patch.clone();
                damaged[at] ^= flip;
                if let Ok(made) = make(&damaged, &old) {
                    assert_eq!(made.len(), new.len(), "{name}, byte {at}");
                }
            }
        }
    }
}

/// Runs of one letter, with anything between: thousands of places look alike, and none is of use.
#[test]
fn a_stream_that_takes_too_much_work_is_not_compressed_again() {
    let mut state = 1_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut plain = Vec::new();
    while plain.len() < 300_000 {
        plain.extend(vec![b'a'; 13 + below(13) as usize]);
        plain.push(below(256) as u8);
    }
    for (level, expected) in [(1, true), (9, false)] {
        let style = Style { family: Family::Zlib, level, memory: 8 };
        let found = Guesser::default().style_of(&plain, &deflate(style, &plain));
        assert_eq!(found, Some(style).filter(|_| expected), "level {level}");
    }
}

/// Pieces that archives are made of, in any order.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let word = "[a-z]{1,8}";
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        (0_usize..9000, word).prop_map(|(len, word)| text(len, &word)),
        (0_usize..9000, word).prop_map(|(len, word)| member(&word, 0, 8, 1, &deflate(USUAL, &text(len, &word)))),
        (0_usize..9000, word, 0_u8..=10).prop_map(|(len, word, level)| {
            member(&word, 0, 8, 1, &miniz_oxide::deflate::compress_to_vec(&text(len, &word), level))
        }),
        (0_usize..9000, word).prop_map(|(len, word)| {
            let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
            gzip.extend(deflate(USUAL, &text(len, &word)));
            gzip.extend([1, 2, 3, 4, 5, 6, 7, 8]);
            gzip
        }),
        (0_usize..9000, word, 0_u8..=10)
            .prop_map(|(len, word, level)| miniz_oxide::deflate::compress_to_vec_zlib(&text(len, &word), level)),
        (0_usize..9000, word, 0_u32..=9).prop_map(|(len, word, level)| xz(&text(len, &word), level)),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|noise| xz(&noise, 1)),
        Just(b"PK\x03\x04".to_vec()),
        Just(vec![0x1f, 0x8b, 8]),
        Just(vec![0x78, 0x9c]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_target_is_made_again(base in proptest::collection::vec(piece(), 0..6), target in proptest::collection::vec(piece(), 0..6)) {
        // Some of the target is in the base too.
        let mut mixed = target.clone();
        mixed.extend(base.iter().step_by(2).cloned());
        patch(&base.concat(), &mixed.concat());
    }

    #[test]
    fn arbitrary_bytes_are_no_trouble(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = make(&bytes, b"base");
        let mut patch = b"CNDU\x01\x00\x01\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00".to_vec();
        patch.extend(&bytes);
        let _ = make(&patch, b"base");
    }
}
