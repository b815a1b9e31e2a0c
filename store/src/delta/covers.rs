//! Which stretches of the target are made from which stretches of the base.

use std::sync::OnceLock;

use super::format::BaseRef;
use super::matcher::{self, KEY_BYTES, Looks, Matcher, common_prefix, equal_bytes, resemblance};
use super::window::Cover;
use crate::id::FileDigest;
use crate::manifest::recipe;

/// Bytes ahead over which the present alignment is judged.
const JUDGE_BYTES: usize = 32;
/// Equal bytes of them that keep it without a look at others.
const JUDGE_EQUAL: u32 = 22;
/// Points by which another alignment must be better: what its cover costs beside bytes that models guess well.
const GAIN_MIN: i64 = 20;
/// Points more for one that was not used lately: its place costs some bytes.
const FAR_GAIN_MIN: i64 = 16;
/// Equal bytes of the first eight that make another alignment worth a look.
const BEGIN_EQUAL: u32 = 4;
/// Alignments that are tried without the index.
const RECENT: usize = 4;

/// A place of the target that is the same as a place of the base.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    target: usize,
    base: usize,
}

/// Content that patches are made of, with what is worked out of it once: several patches may share it.
pub(super) struct Base<'a> {
    pub(super) bytes: &'a [u8],
    /// The start against the start costs nothing to try: files that changed little never need the index.
    matcher: OnceLock<Matcher>,
    digest: OnceLock<FileDigest>,
}

impl<'a> Base<'a> {
    /// Takes `bytes` as base; `digest` is theirs if it is known, else they are cut and hashed where it is asked for.
    pub(super) fn of(bytes: &'a [u8], digest: Option<FileDigest>) -> Self {
        Self { bytes, matcher: OnceLock::new(), digest: digest.map_or_else(OnceLock::new, OnceLock::from) }
    }

    /// What a patch says of it.
    pub(super) fn named(&self) -> BaseRef {
        let digest = *self.digest.get_or_init(|| recipe::of_bytes(self.bytes).digest);
        BaseRef { digest, len: self.bytes.len() as u64 }
    }

    fn matcher(&self) -> &Matcher {
        self.matcher.get_or_init(|| Matcher::new(self.bytes))
    }
}

/// Finds covers: in order, without overlap, each within both.
pub(super) fn find<'a>(base: &'a Base<'a>, target: &'a [u8]) -> impl Iterator<Item = Cover> + 'a {
    let mut covers = Covers { base: base.bytes, target, anchors: Anchors::new(base, target).peekable(), back: 0 };
    std::iter::from_fn(move || covers.next())
}

/// Finds the places where the alignment changes, one after the other.
struct Anchors<'a> {
    base: &'a Base<'a>,
    target: &'a [u8],
    recent: [isize; RECENT],
    at: usize,
    begun: bool,
    looks: Looks,
}

impl<'a> Anchors<'a> {
    fn new(base: &'a Base<'a>, target: &'a [u8]) -> Self {
        let empty = base.bytes.is_empty() || target.is_empty();
        Self { base, target, recent: [0; RECENT], at: 0, begun: empty, looks: Looks::default() }
    }
}

impl Anchors<'_> {
    /// Finds a place of the base that scores above `floor`: by recent alignments, then by the index.
    fn better(&mut self, mut floor: i64) -> Option<usize> {
        let (base, target, at) = (self.base.bytes, self.target, self.at);
        let mut best = None;
        for &shift in &self.recent[1..] {
            let Some(place) = at.checked_add_signed(shift).filter(|&place| place < base.len()) else { continue };
            if !begins_alike(&base[place..], &target[at..]) {
                continue;
            }
            let score = resemblance(&base[place..], &target[at..]);
            if score > floor {
                floor = score;
                best = Some(place);
            }
        }
        let found = self.base.matcher().best(base, target, at, floor + FAR_GAIN_MIN, &mut self.looks);
        found.map(|(place, _)| place).or(best)
    }
}

impl Iterator for Anchors<'_> {
    type Item = Anchor;

    fn next(&mut self) -> Option<Anchor> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(Anchor { target: 0, base: 0 });
        }
        let (base, target) = (self.base.bytes, self.target);
        if base.is_empty() {
            return None;
        }
        while self.at < target.len() {
            let at = self.at;
            let here = at.checked_add_signed(self.recent[0]).filter(|&here| here < base.len());
            let same = here.map_or(0, |here| common_prefix(&base[here..], &target[at..]));
            if same > 0 {
                self.at += same;
                continue;
            }
            // An alignment that is found late reaches back to where it begins.
            if !matcher::is_chosen(target, at) || here.is_some_and(|here| stays_good(&base[here..], &target[at..])) {
                self.at += 1;
                continue;
            }
            let present = here.map_or(0, |here| resemblance(&base[here..], &target[at..]));
            if let Some(found) = self.better(present + GAIN_MIN) {
                let shift = found.cast_signed() - at.cast_signed();
                let place = self.recent.iter().position(|&known| known == shift).unwrap_or(RECENT - 1);
                self.recent.copy_within(..place, 1);
                self.recent[0] = shift;
                self.at += KEY_BYTES.min(target.len() - at);
                return Some(Anchor { target: at, base: found });
            }
            self.at += 1;
        }
        None
    }
}

fn stays_good(base: &[u8], target: &[u8]) -> bool {
    let (base, _) = base.as_chunks::<8>();
    let (target, _) = target.as_chunks::<8>();
    let pairs = base.iter().zip(target).take(JUDGE_BYTES / 8);
    let equal: u32 = pairs.map(|(base, target)| equal_bytes(u64::from_le_bytes(*base) ^ u64::from_le_bytes(*target))).sum();
    equal >= JUDGE_EQUAL
}

/// Says whether it is worth looking further: most alignments are not, and tell so in one word.
fn begins_alike(base: &[u8], target: &[u8]) -> bool {
    match (base.first_chunk(), target.first_chunk()) {
        (Some(base), Some(target)) => equal_bytes(u64::from_le_bytes(*base) ^ u64::from_le_bytes(*target)) >= BEGIN_EQUAL,
        _ => true,
    }
}

/// Extends anchors in both directions as far as it pays, and settles overlaps.
struct Covers<'a> {
    base: &'a [u8],
    target: &'a [u8],
    anchors: std::iter::Peekable<Anchors<'a>>,
    /// How far the next anchor extends backward.
    back: usize,
}

impl Covers<'_> {
    fn next(&mut self) -> Option<Cover> {
        loop {
            let anchor = self.anchors.next()?;
            let cover = self.extend(anchor);
            if cover.len > 0 {
                return Some(cover);
            }
        }
    }

    fn extend(&mut self, anchor: Anchor) -> Cover {
        let (base, target) = (self.base, self.target);
        let next = self.anchors.peek();
        let room = next.map_or(target.len(), |next| next.target) - anchor.target;
        let mut forward = forward(&base[anchor.base..], &target[anchor.target..][..room]);
        let mut next_back = next.map_or(0, |next| backward(&base[..next.base], &target[next.target - room..next.target]));
        if let Some(next) = next
            && forward + next_back > room
        {
            let overlap = forward + next_back - room;
            let from = anchor.target + forward - overlap;
            let keep = settle(
                &target[from..from + overlap],
                &base[anchor.base + forward - overlap..][..overlap],
                &base[next.base - next_back..][..overlap],
            );
            forward = forward - overlap + keep;
            next_back -= keep;
        }
        let back = std::mem::replace(&mut self.back, next_back);
        Cover { target: (anchor.target - back) as u64, base: (anchor.base - back) as u64, len: (forward + back) as u64 }
    }
}

/// Returns the length at which equal bytes outweigh different ones the most.
fn forward(base: &[u8], target: &[u8]) -> usize {
    let len = base.len().min(target.len());
    let ((words, rest), (targets, targets_rest)) = (base[..len].as_chunks(), target[..len].as_chunks());
    let mut weight = Weight::default();
    words.iter().zip(targets).for_each(|(base, target)| weight.add_word(*base, *target, |at| at));
    rest.iter().zip(targets_rest).for_each(|(base, target)| weight.add(base == target));
    weight.len
}

/// Likewise from the ends.
fn backward(base: &[u8], target: &[u8]) -> usize {
    let len = base.len().min(target.len());
    let ((rest, words), (targets_rest, targets)) =
        (base[base.len() - len..].as_rchunks(), target[target.len() - len..].as_rchunks());
    let mut weight = Weight::default();
    words.iter().zip(targets).rev().for_each(|(base, target)| weight.add_word(*base, *target, |at| WORD - 1 - at));
    rest.iter().zip(targets_rest).rev().for_each(|(base, target)| weight.add(base == target));
    weight.len
}

/// Bytes that are compared at once.
const WORD: usize = 8;

/// Equal bytes less different ones so far, and the length at which they were most.
#[derive(Default)]
struct Weight {
    score: i64,
    best: i64,
    at: usize,
    len: usize,
}

impl Weight {
    #[inline]
    fn add(&mut self, equal: bool) {
        self.moved(1, if equal { 1 } else { -1 });
    }

    /// Takes a word, whose bytes come in `order`: most are equal as a whole.
    #[inline]
    fn add_word(&mut self, base: [u8; WORD], target: [u8; WORD], order: impl Fn(usize) -> usize) {
        if base == target {
            self.moved(WORD, WORD as i64);
        } else {
            (0..WORD).map(order).for_each(|at| self.add(base[at] == target[at]));
        }
    }

    #[inline]
    fn moved(&mut self, bytes: usize, score: i64) {
        self.at += bytes;
        self.score += score;
        if self.score > self.best {
            (self.best, self.len) = (self.score, self.at);
        }
    }
}

/// Splits an overlap: returns how much of it is better left to the earlier cover.
fn settle(target: &[u8], earlier: &[u8], later: &[u8]) -> usize {
    let (mut score, mut best, mut keep) = (0_i64, 0, 0);
    for (index, &byte) in target.iter().enumerate() {
        score += i64::from(earlier[index] == byte) - i64::from(later[index] == byte);
        if score > best {
            (best, keep) = (score, index + 1);
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte by byte.
    fn weighed<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
        let mut weight = Weight::default();
        pairs.for_each(|(base, target)| weight.add(base == target));
        weight.len
    }

    proptest! {
        #[test]
        fn words_weigh_what_their_bytes_do(base in prop::collection::vec(0_u8..2, 0..100), target in prop::collection::vec(0_u8..2, 0..100)) {
            prop_assert_eq!(forward(&base, &target), weighed(base.iter().zip(&target)));
            prop_assert_eq!(backward(&base, &target), weighed(base.iter().rev().zip(target.iter().rev())));
        }

        #[test]
        fn words_that_are_mostly_equal_do_too(base in prop::collection::vec(any::<u8>(), 0..200), flips in prop::collection::vec(0_usize..200, 0..6)) {
            let mut target = base.clone();
            for at in flips.into_iter().filter(|at| *at < base.len()) {
                target[at] ^= 1;
            }
            prop_assert_eq!(forward(&base, &target), weighed(base.iter().zip(&target)));
            prop_assert_eq!(backward(&base, &target), weighed(base.iter().rev().zip(target.iter().rev())));
        }
    }
}
