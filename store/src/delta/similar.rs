//! Which old content a new file without a namesake resembles most: by name where versions and hashes are no part of it, and by sketch.

use std::io::Read;

use crate::error::{Error, Result};

/// Features of a sketch.
const FEATURES_MAX: usize = 64;
/// Bits by which the rolling hash forgets with each byte: a feature spans 64 / 3, so 21 bytes. Longer ones rarely survive in machine
/// code, where every few bytes refer to something that moved.
pub(super) const FORGET_BITS: u32 = 3;
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// Sixty-fourths that content must share to be called similar.
const LIKENESS_MIN: u32 = 3;
/// Sixty-fourths that an equal name is worth.
const NAME_WORTH: u32 = 8;
/// Sixty-fourths that an equal folder is worth besides.
const FOLDER_WORTH: u32 = 4;

/// A number for each byte value, drawn once and for ever.
pub(super) const GEAR: [u64; 256] = {
    let mut gear = [0; 256];
    let mut state = 0x434f_4e53_4947_4e31_u64;
    let mut at = 0;
    while at < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        gear[at] = mixed ^ mixed >> 31;
        at += 1;
    }
    gear
};

/// The smallest hashes of all short strings in a content: what two sketches share is what the contents share, as far as 64 samples tell.
///
/// 512 bytes at most; the same for the same content on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sketch {
    /// Ascending, without twins.
    features: Vec<u64>,
}

impl Sketch {
    /// Sketches what `content` gives, at about a gigabyte a second and in constant memory.
    ///
    /// # Errors
    /// I/O.
    pub fn of(content: &mut dyn Read) -> Result<Self> {
        let mut buffer = vec![0; READ_BYTES];
        let mut sketcher = Sketcher::default();
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok(sketcher.finish()),
                Ok(read) => sketcher.push(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Io { operation: "read for a sketch the", path: "content".into(), source }),
            }
        }
    }

    /// Sketches `content`.
    #[must_use]
    pub fn of_bytes(content: &[u8]) -> Self {
        let mut sketcher = Sketcher::default();
        sketcher.push(content);
        sketcher.finish()
    }

    /// Estimates how much two contents share: 0 (nothing) to 64 (the same).
    #[must_use]
    pub fn likeness(&self, other: &Self) -> u32 {
        let (mut here, mut there) = (self.features.iter().peekable(), other.features.iter().peekable());
        let (mut seen, mut shared) = (0, 0);
        // The smallest of the union are a fair sample of it.
        while seen < FEATURES_MAX {
            let (Some(a), Some(b)) = (here.peek(), there.peek()) else {
                seen += here.count() + there.count();
                break;
            };
            let order = a.cmp(b);
            if order.is_le() {
                here.next();
            }
            if order.is_ge() {
                there.next();
            }
            shared += usize::from(order.is_eq());
            seen += 1;
        }
        (shared * FEATURES_MAX / seen.clamp(1, FEATURES_MAX)) as u32
    }
}

/// Takes content in pieces and keeps its smallest hashes.
#[derive(Debug, Default)]
pub(super) struct Sketcher {
    hash: u64,
    smallest: std::collections::BTreeSet<u64>,
    /// Hashes from here on are too large, once there are enough.
    limit: Option<u64>,
    bytes: u64,
}

/// Bytes that a feature spans.
const SPAN: u64 = u64::BITS.div_ceil(FORGET_BITS) as u64;

impl Sketcher {
    /// Takes the next bytes of the content.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash << FORGET_BITS).wrapping_add(GEAR[usize::from(byte)]);
            self.bytes += 1;
            if self.limit.is_none_or(|limit| self.hash < limit) && self.bytes >= SPAN {
                self.keep();
            }
        }
    }

    #[cold]
    fn keep(&mut self) {
        self.smallest.insert(self.hash);
        if self.smallest.len() > FEATURES_MAX {
            self.smallest.pop_last();
        }
        if self.smallest.len() == FEATURES_MAX {
            self.limit = self.smallest.last().copied();
        }
    }

    /// Ends the content.
    pub(super) fn finish(mut self) -> Sketch {
        if self.bytes > 0 && self.bytes < SPAN {
            self.keep(); // shorter than one feature: all of it is one
        }
        Sketch { features: self.smallest.into_iter().collect() }
    }
}

/// A content that may be a base, or that needs one.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// Its path in its version, `/` between the parts.
    pub path: &'a str,
    /// Its sketch.
    pub sketch: &'a Sketch,
}

/// Finds the candidate that `target` resembles most, if any resembles it enough to be worth a patch, and returns its place.
///
/// An equal name (see [`name_key`]) counts for an eighth of the content, an equal folder for a sixteenth more: so names decide among
/// contents that are nearly alike, and never against the content. Of equals the first is taken.
#[must_use]
pub fn best_base(target: &Described<'_>, candidates: &[Described<'_>]) -> Option<usize> {
    let (folder, name) = split(target.path);
    let mut best = None;
    for (place, candidate) in candidates.iter().enumerate() {
        let likeness = target.sketch.likeness(candidate.sketch);
        if likeness < LIKENESS_MIN {
            continue;
        }
        let (other_folder, other_name) = split(candidate.path);
        let mut score = likeness;
        if other_name == name {
            score += NAME_WORTH + if other_folder == folder { FOLDER_WORTH } else { 0 };
        }
        if best.is_none_or(|(top, _)| score > top) {
            best = Some((score, place));
        }
    }
    best.map(|(_, place)| place)
}

fn split(path: &str) -> (String, String) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    (name_key(folder), name_key(name))
}

/// Replaces versions and hashes in a name or path: every run of hexadecimal digits with a decimal one among them becomes `#`.
///
/// Files of two versions with equal keys are namesakes but for the version: `cmake-3.30.1.dist-info/RECORD`, `libz-1a2b3c4d.so`.
#[must_use]
pub fn name_key(path: &str) -> String {
    let mut key = String::with_capacity(path.len());
    let mut rest = path;
    while !rest.is_empty() {
        let run = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (digits, behind) = rest.split_at(run);
        if digits.bytes().any(|byte| byte.is_ascii_digit()) {
            key.push('#');
        } else {
            key.push_str(digits);
        }
        let next = behind.find(|c: char| c.is_ascii_hexdigit()).unwrap_or(behind.len());
        key.push_str(&behind[..next]);
        rest = &behind[next..];
    }
    key
}
