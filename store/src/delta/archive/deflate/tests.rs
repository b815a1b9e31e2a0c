//! What zlib, Node.js and gzip made of the same content, as digests: what a style writes never changes.

use sha2::{Digest, Sha256};

use super::super::super::coder::{Decoder, Encoder};
use super::{Choices, Deflater, Family, Habit, Reader, Replay, Style};

const USUAL: Style = Style { family: Family::Zlib, level: 6, memory: 8 };

/// A generator that other languages write in three lines too.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn bytes(&mut self, count: usize, of: usize, from: usize) -> Vec<u8> {
        (0..count).map(|_| (from + self.below(of)) as u8).collect()
    }
}

/// Words, noise, runs, and pieces of what came before.
fn content() -> Vec<u8> {
    let mut random = Random(1);
    let mut words = Vec::new();
    for _ in 0..700 {
        let len = 1 + random.below(9);
        words.push(random.bytes(len, 26, 97));
    }
    let mut out = Vec::new();
    while out.len() < 400_000 {
        match random.below(1000) {
            0..2 => {
                let len = 30 + random.below(40_000);
                out.extend(random.bytes(len, 256, 0));
            }
            2..4 => {
                let byte = random.below(256) as u8;
                out.resize(out.len() + 1 + random.below(5000), byte);
            }
            4..60 if out.len() > 1000 => {
                let back = 1 + random.below(out.len().min(60_000));
                let start = out.len() - back;
                let end = (start + 3 + random.below(400)).min(out.len());
                out.extend_from_within(start..end);
            }
            _ => {
                let word = random.below(700).min(random.below(700));
                out.extend_from_slice(&words[word]);
                out.push(if random.below(8) > 0 { b' ' } else { b'\n' });
            }
        }
    }
    out
}

fn digest(bytes: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(bytes));
    digest[..16].to_owned()
}

fn deflate(style: Style, plain: &[u8], step: usize) -> Vec<u8> {
    deflate_by(1, style, plain, step)
}

fn deflate_by(parsers: usize, style: Style, plain: &[u8], step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sink = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok::<(), ()>(())
    };
    let mut deflater = Deflater::new(style, parsers);
    for step in plain.chunks(step) {
        deflater.push(step, &mut sink).unwrap();
    }
    deflater.finish(&mut sink).unwrap();
    out
}

/// Family, level, memory level, the first digits of the SHA-256 of the compressed bytes.
const GOLDEN: [(Family, u8, u8, &str); 81] = [
    (Family::Zlib, 1, 8, "a8df83f69feec81a"),
    (Family::Zlib, 2, 8, "4de96cb8a798e0b8"),
    (Family::Zlib, 3, 8, "5dd96c02820fdde4"),
    (Family::Zlib, 4, 8, "688c9e56989f9e42"),
    (Family::Zlib, 5, 8, "297b6d6ac10a53c1"),
    (Family::Zlib, 6, 8, "ac2ec5f1637cadf9"),
    (Family::Zlib, 7, 8, "81c755d05076f818"),
    (Family::Zlib, 8, 8, "ddec85bb025314a8"),
    (Family::Zlib, 9, 8, "8925d0e413117bb9"),
    (Family::Zlib, 1, 9, "d0dbda9863ef8e00"),
    (Family::Zlib, 2, 9, "bab176af3b3401a3"),
    (Family::Zlib, 3, 9, "5707380541d1193f"),
    (Family::Zlib, 4, 9, "2dba54c2411b8f4f"),
    (Family::Zlib, 5, 9, "49723e472212971f"),
    (Family::Zlib, 6, 9, "0199ed9245089dad"),
    (Family::Zlib, 7, 9, "33b07c6632e01c5b"),
    (Family::Zlib, 8, 9, "e7e1cc8e05d5e426"),
    (Family::Zlib, 9, 9, "b052439890532d77"),
    (Family::Zlib, 1, 5, "fc069f0df6a10fb6"),
    (Family::Zlib, 2, 5, "ab481a1b780c0dd1"),
    (Family::Zlib, 3, 5, "c7661697c4d0a9b1"),
    (Family::Zlib, 4, 5, "0c1e49a49504c666"),
    (Family::Zlib, 5, 5, "463027ca35edbd38"),
    (Family::Zlib, 6, 5, "731d7055144dd99c"),
    (Family::Zlib, 7, 5, "44de95a0fde53926"),
    (Family::Zlib, 8, 5, "ef5323ce725fafc0"),
    (Family::Zlib, 9, 5, "f2d789d23d036c14"),
    (Family::Zlib, 1, 1, "cc061250533cbc1b"),
    (Family::Zlib, 2, 1, "caf96d2df0bdcdf5"),
    (Family::Zlib, 3, 1, "52bd46257550480e"),
    (Family::Zlib, 4, 1, "426f2a208b46733a"),
    (Family::Zlib, 5, 1, "0f1cbdd4d775c2f2"),
    (Family::Zlib, 6, 1, "78dffe55682c8ec1"),
    (Family::Zlib, 7, 1, "f7533df56c908fa5"),
    (Family::Zlib, 8, 1, "5296bca75670f94f"),
    (Family::Zlib, 9, 1, "9f11b95c17eeb727"),
    (Family::Chromium, 1, 8, "0d01af9bf39f0f78"),
    (Family::Chromium, 2, 8, "f577af70d395efa6"),
    (Family::Chromium, 3, 8, "34be661df4eb552b"),
    (Family::Chromium, 4, 8, "0b3a62fda7bdaa4a"),
    (Family::Chromium, 5, 8, "8cc1e2b7c4cc8ca1"),
    (Family::Chromium, 6, 8, "958422bc54383a50"),
    (Family::Chromium, 7, 8, "8cce84bb92e7f245"),
    (Family::Chromium, 8, 8, "aba85ecaf2b71492"),
    (Family::Chromium, 9, 8, "ef8b184324ef48e6"),
    (Family::Chromium, 1, 9, "94630ede3a0045b6"),
    (Family::Chromium, 2, 9, "e149d40def122241"),
    (Family::Chromium, 3, 9, "de81cebb2a0993c2"),
    (Family::Chromium, 4, 9, "2dee06c686092ffc"),
    (Family::Chromium, 5, 9, "893e3106114b7aef"),
    (Family::Chromium, 6, 9, "19078dda71b29d65"),
    (Family::Chromium, 7, 9, "e76b6e03213c5264"),
    (Family::Chromium, 8, 9, "7337437d3c7404e8"),
    (Family::Chromium, 9, 9, "eb7714ddf67d8bab"),
    (Family::Chromium, 1, 5, "3b378631f0d17c80"),
    (Family::Chromium, 2, 5, "221b67ed7c2ea758"),
    (Family::Chromium, 3, 5, "10888545aff3b3f8"),
    (Family::Chromium, 4, 5, "0626d85ba4654d76"),
    (Family::Chromium, 5, 5, "5909da450a29a660"),
    (Family::Chromium, 6, 5, "3dac11c2d7639544"),
    (Family::Chromium, 7, 5, "f0f98081d37b971a"),
    (Family::Chromium, 8, 5, "72ef9355dd0170bb"),
    (Family::Chromium, 9, 5, "c6a130543ca1203e"),
    (Family::Chromium, 1, 1, "105736757983b781"),
    (Family::Chromium, 2, 1, "d546f9341be4fafb"),
    (Family::Chromium, 3, 1, "137b8730caabf8e6"),
    (Family::Chromium, 4, 1, "079ce79507965c64"),
    (Family::Chromium, 5, 1, "2aa73c3be3b4e60f"),
    (Family::Chromium, 6, 1, "cd123f3350ab122f"),
    (Family::Chromium, 7, 1, "ef8efa5693518f1b"),
    (Family::Chromium, 8, 1, "63fa368b3e4e82da"),
    (Family::Chromium, 9, 1, "551884230796958b"),
    (Family::Gzip, 1, 9, "11658bc927f1e510"),
    (Family::Gzip, 2, 9, "a7b4a718cf78c365"),
    (Family::Gzip, 3, 9, "2ee3146c439708c8"),
    (Family::Gzip, 4, 9, "42c97e6600ad6821"),
    (Family::Gzip, 5, 9, "4f4cdc3dd6ff3c58"),
    (Family::Gzip, 6, 9, "99e33db6a8bc493e"),
    (Family::Gzip, 7, 9, "8fbaf8d97ed2ae96"),
    (Family::Gzip, 8, 9, "8b82c93a92d68ec8"),
    (Family::Gzip, 9, 9, "50eab3b734c59821"),
];

#[test]
fn writes_what_the_others_write() {
    let plain = content();
    assert_eq!(digest(&plain), "c09f8410eb5902fe", "the content is another: the generator has changed");
    let mut wrong = Vec::new();
    for (family, level, memory, expected) in GOLDEN {
        let style = Style { family, level, memory };
        if digest(&deflate(style, &plain, 100_000)) != expected {
            wrong.push(style);
        }
    }
    assert_eq!(wrong, []);
}

#[test]
fn pieces_make_no_difference() {
    let plain = &content()[..90_000];
    for style in Style::usual() {
        assert_eq!(deflate(style, plain, 90_000), deflate(style, plain, 777), "{style:?}");
    }
}

#[test]
fn several_parsers_decide_as_one() {
    let mut plain = content();
    // Where all is alike parsers that begin at different places end no match at the same place.
    plain.resize(plain.len() + 500_000, b'x');
    plain.extend(content());
    for style in Style::usual().filter(|style| style.level >= 4) {
        let alone = digest(&deflate(style, &plain, 100_000));
        for parsers in [2, 3, 5] {
            assert_eq!(digest(&deflate_by(parsers, style, &plain, 90_000)), alone, "{parsers} parsers, {style:?}");
        }
    }
}

#[test]
fn parsers_share_the_work() {
    let plain = content().repeat(4);
    let style = Style { family: Family::Zlib, level: 6, memory: 8 };
    let looks = |parsers| {
        let mut deflater = Deflater::new(style, parsers);
        deflater.push(&plain, &mut |_: &[u8]| Ok::<(), ()>(())).unwrap();
        deflater.looks()
    };
    // If they never met, each but the first would have worked in vain.
    assert!(looks(3) < looks(1) * 11 / 10, "{} looks by three, {} by one", looks(3), looks(1));
}

#[test]
fn short_content_and_none() {
    for style in Style::usual() {
        for plain in [&b""[..], b"a", b"ab", b"abc", b"aaaaaa", b"abcabcabcabcabcd"] {
            let packed = deflate(style, plain, 1);
            let inflated = miniz_oxide::inflate::decompress_to_vec(&packed).unwrap();
            assert_eq!(inflated, plain, "{style:?}");
        }
    }
}

#[test]
fn a_style_is_its_code() {
    for style in Style::usual() {
        assert_eq!(Style::of_code(style.code()), Some(style));
    }
    assert_eq!(Style::of_code(171), None);
}

/// All habits there are.
fn habits() -> impl Iterator<Item = Habit> {
    (0..=u8::MAX).map_while(Habit::of_code)
}

#[test]
fn a_habit_is_its_code() {
    for (code, habit) in (0..).zip(habits()) {
        assert_eq!(habit.code(), code);
    }
    assert_eq!(habits().count(), 48);
}

/// Tells what the compressor of `packed` chose, and has it done again in pieces of `step` bytes.
fn replay(habit: Habit, plain: &[u8], packed: &[u8], step: usize) -> (Vec<u8>, usize) {
    let (mut choices, mut encoder, mut reader) = (Choices::default(), Encoder::new(), Reader::new(packed));
    let mut replay = Replay::new(habit);
    replay.push(plain, (&mut choices, &mut encoder), &mut || reader.block(), &mut |_| Ok(())).unwrap();
    replay.finish((&mut choices, &mut encoder), &mut || reader.block(), &mut |_| Ok(())).unwrap();
    let told = encoder.finish();
    let (mut choices, mut decoder) = (Choices::default(), Decoder::new(&told));
    let mut out = Vec::new();
    let mut sink = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let mut replay = Replay::new(habit);
    for step in plain.chunks(step) {
        replay.push(step, (&mut choices, &mut decoder), &mut || None, &mut sink).unwrap();
    }
    replay.finish((&mut choices, &mut decoder), &mut || None, &mut sink).unwrap();
    (out, told.len())
}

#[test]
fn whatever_was_chosen_is_done_again() {
    let plain = content();
    let mut packed: Vec<Vec<u8>> = (0..=10).map(|level| miniz_oxide::deflate::compress_to_vec(&plain, level)).collect();
    packed.push(deflate(Style { family: Family::Gzip, level: 6, memory: 9 }, &plain, 100_000));
    for (number, packed) in packed.iter().enumerate() {
        assert!(replay(Habit::USUAL, &plain, packed, 777).0 == *packed, "stream {number}");
    }
    for habit in habits() {
        assert!(
            replay(habit, &plain[..60_000], &deflate(USUAL, &plain[..60_000], 60_000), 60_000).0
                == deflate(USUAL, &plain[..60_000], 60_000),
            "{habit:?}"
        );
    }
    for plain in [&b""[..], b"a", b"abcabcabcabcd"] {
        let packed = miniz_oxide::deflate::compress_to_vec(plain, 6);
        assert_eq!(replay(Habit::USUAL, plain, &packed, 1).0, packed);
    }
}

#[test]
fn a_compressor_of_known_habit_needs_hardly_telling() {
    let plain = content();
    let packed = deflate(USUAL, &plain, 100_000);
    let told = replay(Habit::USUAL, &plain, &packed, 100_000).1;
    assert!(told < packed.len() / 100, "{told} bytes of {}", packed.len());
}

#[test]
fn choices_of_nobody_end() {
    let plain = content();
    let mut random = Random(9);
    for round in 0..200 {
        let len = random.below(600);
        let told = random.bytes(len, 256, 0);
        let (mut choices, mut decoder) = (Choices::default(), Decoder::new(&told));
        let mut replay = Replay::new(habits().nth(round % 48).unwrap());
        let start = random.below(plain.len() - 30_000);
        let models = (&mut choices, &mut decoder);
        if replay.push(&plain[start..start + 30_000], models, &mut || None, &mut |_| Ok(())).is_ok() {
            let _ = replay.finish((&mut choices, &mut decoder), &mut || None, &mut |_| Ok(()));
        }
    }
}
