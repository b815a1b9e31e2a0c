//! How a stream was compressed: found by doing it again.

use super::deflate::{Deflater, Style};
use super::{PLAIN_STEP_BYTES, looks_max};

/// Plain bytes that may be compressed in vain, all streams of a patch together.
const VAIN_BYTES_MAX: usize = 96 << 20;

/// Guesses stream by stream; what was right before is tried first.
pub(super) struct Guesser {
    last: Option<Style>,
    vain_left: usize,
}

impl Default for Guesser {
    fn default() -> Self {
        Self { last: None, vain_left: VAIN_BYTES_MAX }
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
        let mut deflater = Deflater::new(style);
        let mut done = 0;
        let mut same = true;
        for step in plain.chunks(PLAIN_STEP_BYTES) {
            done += step.len();
            same = deflater.push(step, &mut matches).is_ok() && deflater.looks() <= looks_max(done);
            if !same {
                break;
            }
        }
        if same && deflater.finish(&mut matches).is_ok() && rest.is_empty() {
            return Outcome::Same;
        }
        match self.vain_left.checked_sub(done) {
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
