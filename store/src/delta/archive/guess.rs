//! How a stream was compressed: found by doing it again.

use super::PLAIN_STEP_BYTES;
use super::deflate::{Deflater, Style};
use super::folder::fold_threads;
use super::work::{BUILT_LOOKS_PER_BYTE_MAX, Work};

/// Plain bytes that may be compressed in vain, all streams of a patch together; [`VAIN_LOOKS`] count as one more.
const VAIN_BYTES_MAX: u64 = 128 << 20;
const VAIN_LOOKS: u64 = 8;

/// Plain bytes after which a style that has made the same so far is worth more threads.
const SURE_BYTES: u64 = 512 << 10;

/// Guesses stream by stream; what was right before is tried first.
pub(super) struct Guesser {
    last: Option<Style>,
    vain_left: u64,
    work: Work,
}

impl Default for Guesser {
    fn default() -> Self {
        Self { last: None, vain_left: VAIN_BYTES_MAX, work: Work::default() }
    }
}

impl Guesser {
    /// Finds the style that makes exactly `packed` of `plain`.
    pub(super) fn style_of(&mut self, plain: &[u8], packed: &[u8]) -> Option<Style> {
        let last = self.last;
        for style in last.into_iter().chain(Style::usual().filter(|style| Some(*style) != last)) {
            match self.compare(style, plain, packed) {
                Outcome::Same => {
                    self.last = Some(style);
                    return Some(style);
                }
                Outcome::Other => {}
                Outcome::NoMore => return None,
            }
        }
        None
    }

    fn compare(&mut self, style: Style, plain: &[u8], packed: &[u8]) -> Outcome {
        let mut rest = packed;
        let mut matches = |bytes: &[u8]| match rest.strip_prefix(bytes) {
            Some(left) => {
                rest = left;
                Ok(())
            }
            None => Err(()),
        };
        let mut deflater = Deflater::new(style, 1);
        let mut done = 0_u64;
        let mut same = true;
        for step in plain.chunks(PLAIN_STEP_BYTES) {
            done += step.len() as u64;
            same = deflater.push(step, &mut matches).is_ok()
                && self.work.allows(plain.len() as u64, deflater.looks(), BUILT_LOOKS_PER_BYTE_MAX);
            if !same {
                break;
            }
            // A style that is not the right one tells so soon.
            if done == SURE_BYTES {
                deflater.share(fold_threads());
            }
        }
        let looks = deflater.looks();
        if same && deflater.finish(&mut matches).is_ok() && rest.is_empty() {
            self.work.add(plain.len() as u64, looks);
            return Outcome::Same;
        }
        match self.vain_left.checked_sub(done + looks / VAIN_LOOKS) {
            Some(left) => {
                self.vain_left = left;
                Outcome::Other
            }
            None => Outcome::NoMore,
        }
    }
}

enum Outcome {
    Same,
    Other,
    /// Enough has been tried in vain.
    NoMore,
}
