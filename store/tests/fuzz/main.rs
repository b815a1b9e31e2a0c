//! Runs every fuzz target briefly: over its kept corpus, and over seeded mutations of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod targets;

use std::fs;
use std::path::Path;

use targets::{TARGETS, Target, golden};

/// Inputs of a target that touches files, unless `CONSIGN_SOAK_COUNT` says otherwise.
const INPUTS: u32 = 100;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Numbers from a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % end.max(1)
    }
}

/// The golden files that a target starts from, and what a search has found since.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = target.golden.iter().map(|name| fs::read(golden(name)).unwrap()).collect();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name);
    let mut files: Vec<_> = fs::read_dir(kept).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    files.sort();
    all.extend(files.iter().map(|file| fs::read(file).unwrap()));
    assert!(!all.is_empty(), "{} has no corpus", target.name);
    all
}

/// Changes `bytes` in a few places.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let len = dice.below(16).min(bytes.len() - at.min(bytes.len()));
        match dice.below(8) {
            _ if bytes.is_empty() => bytes.push(7),
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
            2 => bytes[at..at + len].fill(0xff),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + len)),
            5 => bytes.splice(at..at, std::iter::repeat_n(0, len)).for_each(drop),
            6 => {
                let from = dice.below(other.len());
                bytes.splice(at..at + len, other[from..].iter().copied().take(64)).for_each(drop);
            }
            _ => {
                let to = dice.below(bytes.len() - len);
                bytes.copy_within(at..at + len, to);
            }
        }
    }
}

#[test]
fn soak_fuzz() {
    let inputs = variable("CONSIGN_SOAK_COUNT").map_or(INPUTS, |count| u32::try_from(count * 50).unwrap_or(u32::MAX));
    let seed = variable("CONSIGN_SOAK_SEED").unwrap_or(1);
    let mut total = 0_u64;
    for target in &TARGETS {
        let corpus = corpus(target);
        for bytes in &corpus {
            (target.run)(bytes);
        }
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..inputs.saturating_mul(target.per_input) {
            let mut bytes = corpus[dice.below(corpus.len())].clone();
            mutate(&mut bytes, &corpus[dice.below(corpus.len())], &mut dice);
            let result = std::panic::catch_unwind(|| (target.run)(&bytes));
            if let Err(panic) = result {
                let kept = std::env::temp_dir().join(format!("consign-fuzz-{}.bin", target.name));
                fs::write(&kept, &bytes).unwrap();
                eprintln!("target {}, seed {seed}: {}", target.name, kept.display());
                std::panic::resume_unwind(panic);
            }
            total += 1;
        }
    }
    // At the start of a line, whatever the test runner has written before.
    eprintln!("\nSOAK fuzz-inputs {total} {seed}");
}
