//! What the stories share: fleets of real processes, folders with content, a wire that can be damaged.

pub mod command;
pub mod content;
pub mod fleet;
pub mod liar;
pub mod process;
pub mod wire;

use std::time::{Duration, Instant};

/// Longest wait for anything, seconds: a machine under load is slow, one that hangs is a failure.
pub const WAIT_SECS_MAX: u64 = 120;
/// Pause between two looks, milliseconds.
const LOOK_MILLIS: u64 = 20;

/// Looks again and again until there is something; fails with what the last look said.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) if started.elapsed() < Duration::from_secs(WAIT_SECS_MAX) => drop(state),
            Err(state) => panic!("waited {WAIT_SECS_MAX} s for {what}: {state}"),
        }
        std::thread::sleep(Duration::from_millis(LOOK_MILLIS));
    }
}

/// Turns a condition into the answer of a look.
pub fn holds(condition: bool, state: impl std::fmt::Display) -> Result<(), String> {
    if condition { Ok(()) } else { Err(state.to_string()) }
}

/// Numbers from a seed, the same on every machine.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (`SplitMix64`).
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }
}

/// How often a proof by repetition runs, and from which seed: `CONSIGN_SOAK_COUNT`, `CONSIGN_SOAK_SEED`.
pub fn soak(count_default: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    (number("CONSIGN_SOAK_COUNT").unwrap_or(count_default), number("CONSIGN_SOAK_SEED").unwrap_or(1))
}

/// How many images of disks a proof makes, and from which seed: `CONSIGN_SOAK_IMAGES`, `CONSIGN_SOAK_SEED`.
pub fn images(count_default: u64) -> (u64, u64) {
    let count = std::env::var("CONSIGN_SOAK_IMAGES").ok().and_then(|text| text.parse().ok());
    (count.unwrap_or(count_default), soak(0).1)
}

/// Says that a proof by repetition went well; `scripts/soak.sh` reads it.
pub fn soaked(what: &str, count: u64, seed: u64) {
    // At the start of a line, whatever the test runner has written before.
    eprintln!("\nSOAK {what} {count} {seed}");
}

/// Says loudly that a proof was left out.
pub fn left_out(what: &str, why: &str) {
    eprintln!("**** LEFT OUT: {what}: {why}");
}
