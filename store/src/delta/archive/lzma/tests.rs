//! Streams that no encoder at hand writes: made chunk by chunk, told and made again.

use super::super::apply_joined;
use super::super::tests::{fixture, patch};
use super::chunks::{Chunk, Head, Reset};
use super::finder::Finder;
use super::model::Symbol;
use super::window::Window;
use super::{Choices, Chunks, Replay, Trail, TrailMaker, rarity};
use crate::delta::base::ReadAt;
use crate::delta::coder::{Decoder, Encoder};
use crate::delta::format::Limits;
use crate::error::{Error, Result};

/// The properties of most streams: three bits of the byte before, none of a literal's place, two of a match's.
const PROPS: u8 = 93;

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn packed(reset: Reset, symbols: Vec<Symbol>) -> Chunk {
    let plain = symbols.iter().map(|symbol| symbol.len()).sum();
    Chunk { head: Head::Packed { reset, props: if reset >= Reset::Props { PROPS } else { 0 }, plain }, symbols }
}

fn stored(anew: bool, plain: usize) -> Chunk {
    Chunk { head: Head::Stored { anew, plain }, symbols: Vec::new() }
}

/// Tells `chunks` of `plain`, and makes the stream of what was told.
fn told(plain: &[u8], chunks: Vec<Chunk>, trail: Option<&Trail>) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut coder, mut choices, mut first) = (Encoder::new(), Choices::default(), Vec::new());
    let mut replay = Replay::new(&mut choices);
    let mut chunks = chunks.into_iter();
    let mut keep = |bytes: &[u8]| {
        first.extend_from_slice(bytes);
        Ok(())
    };
    replay.push(plain, (&mut choices, &mut coder, trail), &mut || chunks.next(), &mut keep)?;
    replay.finish((&mut choices, &mut coder, trail), &mut || chunks.next(), &mut keep)?;
    let told = coder.finish();
    let (mut coder, mut choices, mut again) = (Decoder::new(&told), Choices::default(), Vec::new());
    let mut replay = Replay::new(&mut choices);
    let mut keep = |bytes: &[u8]| {
        again.extend_from_slice(bytes);
        Ok(())
    };
    // Whatever the pieces are.
    for piece in plain.chunks(100_003) {
        replay.push(piece, (&mut choices, &mut coder, trail), &mut || None, &mut keep)?;
    }
    replay.finish((&mut choices, &mut coder, trail), &mut || None, &mut keep)?;
    assert!(first == again, "what is made of what was told is another stream");
    Ok((told, first))
}

fn trail(stream: &[u8], plain: usize) -> Trail {
    let mut trail = TrailMaker::new(tempfile::tempfile().unwrap(), rarity(plain)).unwrap();
    Chunks::whole(stream, &mut |chunk, plain| trail.add(&chunk, plain).is_ok()).unwrap();
    trail.finish().unwrap()
}

fn plain_of(stream: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let whole = Chunks::whole(stream, &mut |_, bytes| {
        plain.extend_from_slice(bytes);
        true
    });
    assert_eq!(whole, Ok((stream.len(), plain.len())));
    plain
}

/// The content that symbols make, whose literals are `noise`.
fn content(chunks: &[Chunk]) -> Vec<u8> {
    let (mut plain, mut backs, mut literals) = (Vec::new(), [1; 4], noise(1000).into_iter());
    for chunk in chunks {
        if chunk.head.forgets() {
            backs = [1; 4];
        }
        for symbol in &chunk.symbols {
            let back = symbol.back(&backs);
            symbol.turn(&mut backs);
            for _ in 0..symbol.len() {
                plain.push(if back == 0 { literals.next().unwrap() } else { plain[plain.len() - back] });
            }
        }
    }
    plain
}

#[test]
fn every_kind_of_symbol_and_reset_is_told() {
    for reset in [Reset::Nothing, Reset::State, Reset::Props, Reset::All] {
        let chunks = || {
            let mut first = vec![Symbol::Literal; 300];
            first.extend([Symbol::found(300, 60), Symbol::found(137, 36), Symbol::Literal, Symbol::found(396, 96)]);
            first.extend([2, 3, 1, 0].map(|index| Symbol::again(index, 4)));
            let mut second = vec![Symbol::Literal; 20];
            second.extend([Symbol::again(0, 1), Symbol::found(20, 2), Symbol::found(1, 273), Symbol::again(0, 273)]);
            second.extend([Symbol::again(1, 17), Symbol::again(0, 1), Symbol::Literal, Symbol::found(5, 9)]);
            vec![packed(Reset::All, first), packed(reset, second)]
        };
        let plain = content(&chunks());
        let (_, stream) = told(&plain, chunks(), None).unwrap();
        assert_eq!(plain_of(&stream), plain, "{reset:?}");
        // By itself it is told in next to nothing.
        let trail = trail(&stream, plain.len());
        let (by_itself, _) = told(&plain, chunks(), Some(&trail)).unwrap();
        assert!(by_itself.len() < 80, "{reset:?}: {} bytes", by_itself.len());
    }
}

/// More than any window holds is stored, and then coded again: nothing looks back at what is gone.
#[test]
fn what_is_stored_is_passed_by() {
    let plain = noise(10 << 20);
    let chunks = |counts: &[usize]| {
        let (front, _) = plain.split_at(plain.len() - counts.iter().sum::<usize>());
        let parts = front.chunks(1 << 16).enumerate();
        let mut chunks: Vec<Chunk> = parts.map(|(at, part)| stored(at == 0, part.len())).collect();
        let resets = [Reset::Props].into_iter().chain(std::iter::repeat(Reset::Nothing));
        chunks.extend(counts.iter().zip(resets).map(|(count, reset)| packed(reset, vec![Symbol::Literal; *count])));
        chunks
    };
    assert!(told(&plain, chunks(&[1 << 16]), None).is_err(), "noise takes more than a chunk may");
    let (_, stream) = told(&plain, chunks(&[1 << 14; 4]), None).unwrap();
    assert!(plain_of(&stream) == plain);
    let trail = trail(&stream, plain.len());
    let (by_itself, _) = told(&plain, chunks(&[1 << 14; 4]), Some(&trail)).unwrap();
    assert!(by_itself.len() < 1000, "{} bytes", by_itself.len());
}

/// Chunks that no reader takes: without a beginning, going back too far, or saying another length.
#[test]
fn what_is_no_stream_is_refused() {
    let (_, stream) =
        told(&[b'a'; 400], vec![packed(Reset::All, vec![Symbol::Literal, Symbol::found(1, 273), Symbol::again(0, 126)])], None)
            .unwrap();
    assert_eq!(plain_of(&stream), [b'a'; 400]);
    let whole = |stream: &[u8]| Chunks::whole(stream, &mut |_, _| true);
    for reset in [0x80, 0xa0, 0xc0] {
        let mut other = stream.clone();
        other[0] = reset | other[0] & 0x1f;
        assert!(whole(&other).is_err(), "{reset:x}");
    }
    for (at, byte) in [(0, 0x60), (0, 3), (2, stream[2] ^ 1), (4, stream[4] ^ 1), (5, 225), (5, 4 * 9 + 5), (6, 1)] {
        let mut other = stream.clone();
        other[at] = byte;
        assert!(whole(&other).is_err(), "byte {at}");
    }
    assert!((0..stream.len()).all(|len| whole(&stream[..len]).is_err()));
    assert!(told(b"abab", vec![packed(Reset::All, vec![Symbol::Literal; 3])], None).is_err(), "ends early");
    assert!(told(b"ab", vec![packed(Reset::All, vec![Symbol::Literal; 3])], None).is_err(), "ends late");
    assert!(told(b"ab", vec![packed(Reset::Nothing, vec![Symbol::Literal; 2])], None).is_err(), "never begun");
}

#[test]
fn matches_are_found_as_far_as_they_are_remembered() {
    let (part, between) = (noise(64), vec![0; (9 << 20) + 500]);
    let mut window = Window::new();
    window.extend(&[&part[..], b"-", &between, &part, b"+", &part].concat(), 0);
    let (first, second) = (65 + between.len(), 130 + between.len());
    let (mut finder, mut found) = (Finder::new(), Vec::new());
    finder.find(&window, first, 64, &mut found);
    assert!(found.iter().all(|(len, _)| *len < 8), "{found:?}");
    finder.find(&window, second, 64, &mut found);
    assert_eq!(found.last(), Some(&(64, 65)));
    // What the window has dropped meanwhile is not looked for.
    window.extend(&[], second);
    Finder::new().find(&window, second, 64, &mut found);
    assert_eq!(found.last(), Some(&(64, 65)));
    // Nothing of another stream is found.
    finder.restart();
    let mut other = Window::new();
    other.extend(&[&b"-"[..], &part].concat(), 0);
    finder.find(&other, 1, 64, &mut found);
    assert!(found.is_empty(), "{found:?}");
}

/// Where what was made of the base cannot be written down, the patch is of no use, and records are.
#[test]
fn a_full_disk_costs_the_patch() {
    let (old, new) = (fixture("blocks.tar.xz.old"), fixture("blocks.tar.xz.new"));
    let patch = patch(&old, &new).unwrap();
    for full in [0, 1] {
        let mut opened = 0;
        let mut scratch = || {
            opened += 1;
            // What is open for reading takes nothing.
            Ok(if opened == full + 1 { std::fs::File::open("/dev/null").unwrap() } else { tempfile::tempfile().unwrap() })
        };
        let base = (&old.as_slice() as &dyn ReadAt, old.len() as u64);
        let made = apply_joined(&mut &patch[..], &Limits::default(), base, &mut scratch, &mut |_| Ok(()));
        let error = made.unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains("no room"), "file {full}: {error}");
    }
}

/// Whatever is done to an archive, old or new, what a patch makes of it is the new one.
#[test]
fn damaged_archives_are_made_again() {
    let mut dice = noise(40_000).into_iter().map(usize::from);
    let mut number = |below: usize| (dice.next().unwrap() << 8 | dice.next().unwrap()) % below;
    for name in ["blocks.tar.xz", "debian-xz.deb", "xz-1.tar.xz", "filtered.tar.xz"] {
        let (old, new) = (fixture(&format!("{name}.old")), fixture(&format!("{name}.new")));
        for _ in 0..150 {
            let mut other = new.clone();
            for _ in 0..=number(3) {
                let at = number(other.len());
                match number(4) {
                    // Where headers are.
                    0 => other[at % 64] ^= 1 << number(8),
                    1 => other.truncate(at + 1),
                    2 => drop(other.drain(at..(at + number(40)).min(other.len()))),
                    _ => other[at] = number(256) as u8,
                }
                if other.is_empty() {
                    break;
                }
            }
            patch(&old, &other);
            patch(&other, &new);
        }
    }
}
