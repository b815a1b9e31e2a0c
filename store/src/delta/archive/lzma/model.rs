//! The symbols of LZMA and how they are coded, for both sides: a format that has not changed since 2001 (the LZMA specification of the
//! LZMA SDK).

use super::range::{NEW, Prob, Range};
use super::window::Window;

/// Matches of fewer bytes are only ever told as the last distance and one byte.
pub(super) const LEN_MIN: usize = 2;
pub(super) const LEN_MAX: usize = 273;
/// Most bits of a place, and of the byte before, that tell literals and lengths apart; LZMA2 allows four of a literal together.
const PLACE_BITS_MAX: u32 = 4;
const LITERAL_BITS_MAX: u32 = 4;
const STATES: usize = 12;
const LITERAL_PROBS: usize = 0x300;
/// Kinds of lengths that tell distances apart.
const LEN_KINDS: usize = 4;
/// Distances from this slot on have bits of which nothing is known, all but the lowest four.
const SLOTS_LEARNT: u32 = 14;
pub(super) const SLOT_BITS: u32 = 6;
pub(super) const ALIGN_BITS: u32 = 4;

/// What a compressor makes of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    Literal,
    /// One of the four last distances again.
    Again {
        index: u8,
        len: u16,
    },
    Match {
        back: u32,
        len: u16,
    },
}

impl Symbol {
    pub(super) fn again(index: usize, len: usize) -> Self {
        Self::Again { index: index as u8, len: len as u16 }
    }

    pub(super) fn found(back: usize, len: usize) -> Self {
        Self::Match { back: back as u32, len: len as u16 }
    }

    /// How far back it goes, with the last distances before it; 0 of a literal.
    pub(super) fn back(self, backs: &[usize; 4]) -> usize {
        match self {
            Self::Literal => 0,
            Self::Again { index, .. } => backs[usize::from(index)],
            Self::Match { back, .. } => back as usize,
        }
    }

    /// Makes its distance the last one.
    pub(super) fn turn(self, backs: &mut [usize; 4]) {
        match self {
            Self::Literal => {}
            Self::Again { index, .. } => backs[..=usize::from(index)].rotate_right(1),
            Self::Match { back, .. } => {
                backs.rotate_right(1);
                backs[0] = back as usize;
            }
        }
    }

    pub(super) fn len(self) -> usize {
        match self {
            Self::Literal => 1,
            Self::Again { len, .. } | Self::Match { len, .. } => len.into(),
        }
    }
}

/// How many bits tell what is probable: a stream's own choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Props {
    /// Of the byte before a literal.
    before: u32,
    /// Of a literal's place.
    place: u32,
    /// Of a match's place.
    match_place: u32,
}

impl Props {
    /// Of the byte in a stream; `None` if LZMA2 has none such.
    pub(super) fn of_byte(byte: u8) -> Option<Self> {
        let byte = u32::from(byte);
        let props = Self { before: byte % 9, place: byte / 9 % 5, match_place: byte / 45 };
        (props.before + props.place <= LITERAL_BITS_MAX && props.match_place <= PLACE_BITS_MAX).then_some(props)
    }
}

/// All that is learnt of a stream.
#[derive(Debug)]
pub(super) struct Model {
    props: Props,
    state: usize,
    /// The last four distances, the last one first.
    pub(super) backs: [usize; 4],
    is_match: [[Prob; 1 << PLACE_BITS_MAX]; STATES],
    is_again: [Prob; STATES],
    /// Whether it is not the first, not the second, not the third of the last distances.
    is_other: [[Prob; STATES]; 3],
    is_long: [[Prob; 1 << PLACE_BITS_MAX]; STATES],
    literals: Vec<[Prob; LITERAL_PROBS]>,
    slots: [[Prob; 1 << SLOT_BITS]; LEN_KINDS],
    /// Of the distances below slot 14: a tree for each slot.
    near: [[Prob; 32]; SLOTS_LEARNT as usize],
    align: [Prob; 1 << ALIGN_BITS],
    match_lens: Lens,
    again_lens: Lens,
}

impl Model {
    pub(super) fn new(props: Props) -> Self {
        Self {
            props,
            state: 0,
            backs: [1; 4],
            is_match: [[NEW; 1 << PLACE_BITS_MAX]; STATES],
            is_again: [NEW; STATES],
            is_other: [[NEW; STATES]; 3],
            is_long: [[NEW; 1 << PLACE_BITS_MAX]; STATES],
            literals: vec![[NEW; LITERAL_PROBS]; 1 << (props.before + props.place)],
            slots: [[NEW; 1 << SLOT_BITS]; LEN_KINDS],
            near: [[NEW; 32]; SLOTS_LEARNT as usize],
            align: [NEW; 1 << ALIGN_BITS],
            match_lens: Lens::new(),
            again_lens: Lens::new(),
        }
    }

    /// Forgets what was learnt, with the same properties.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.props);
    }

    /// Codes the symbol at `at`, and a literal's byte; what lies before is in `window`. `None` for a distance that goes back too far.
    #[inline]
    pub(super) fn code<R: Range>(
        &mut self,
        range: &mut R,
        (window, at): (&Window, usize),
        (symbol, byte): (Symbol, u8),
    ) -> Option<(Symbol, u8)> {
        let place = at - window.floor;
        let kind = place & ((1 << self.props.match_place) - 1);
        let state = self.state;
        if !range.bit(&mut self.is_match[state][kind], symbol != Symbol::Literal) {
            return Some((Symbol::Literal, self.literal(range, (window, at), byte)));
        }
        let len = symbol.len();
        let index = if let Symbol::Again { index, .. } = symbol { Some(index) } else { None };
        if !range.bit(&mut self.is_again[state], index.is_some()) {
            let told = if let Symbol::Match { back, .. } = symbol { back - 1 } else { 0 };
            let len = self.match_lens.code(range, kind, len);
            let back = self.distance(range, len, told) as usize + 1;
            self.state = if state < 7 { 7 } else { 10 };
            self.backs = [back, self.backs[0], self.backs[1], self.backs[2]];
            return (back <= window.reach(at)).then_some((Symbol::found(back, len), byte));
        }
        let told = usize::from(index.unwrap_or(0));
        let mut index = 0;
        for other in &mut self.is_other {
            if !range.bit(&mut other[state], told > index) {
                break;
            }
            index += 1;
        }
        let short = index == 0 && !range.bit(&mut self.is_long[state][kind], len > 1);
        self.backs[..=index].rotate_right(1);
        let len = if short {
            self.state = if state < 7 { 9 } else { 11 };
            1
        } else {
            self.state = if state < 7 { 8 } else { 11 };
            self.again_lens.code(range, kind, len)
        };
        (self.backs[0] <= window.reach(at)).then_some((Symbol::again(index, len), byte))
    }

    fn literal<R: Range>(&mut self, range: &mut R, (window, at): (&Window, usize), byte: u8) -> u8 {
        let Props { before, place, .. } = self.props;
        let low = (at - window.floor) & ((1 << place) - 1);
        let probs = &mut self.literals[low << before | usize::from(window.before(at)) >> (8 - before)];
        let byte = u32::from(byte) | 1 << 8;
        let mut node = 1_u32;
        if self.state >= 7 && self.backs[0] <= window.reach(at) {
            // As long as it agrees with the byte where the last match would go on.
            let mut there = u32::from(window.byte(at - self.backs[0]));
            while node < 1 << 8 {
                there <<= 1;
                let (expected, bits) = (there >> 8 & 1, 7 - node.ilog2());
                let bit = u32::from(range.bit(&mut probs[(((1 + expected) << 8) + node) as usize], byte >> bits & 1 == 1));
                node = node << 1 | bit;
                if bit != expected {
                    break;
                }
            }
        }
        while node < 1 << 8 {
            let bits = 7 - node.ilog2();
            node = node << 1 | u32::from(range.bit(&mut probs[node as usize], byte >> bits & 1 == 1));
        }
        self.state = match self.state {
            0..4 => 0,
            4..10 => self.state - 3,
            _ => self.state - 6,
        };
        node as u8
    }

    /// Codes a distance less one.
    fn distance<R: Range>(&mut self, range: &mut R, len: usize, distance: u32) -> u32 {
        let slot = range.tree(&mut self.slots[(len - LEN_MIN).min(LEN_KINDS - 1)], SLOT_BITS, slot_of(distance));
        let (front, bits) = slot_range(slot);
        if bits == 0 {
            return front;
        }
        let rest = distance.wrapping_sub(front);
        front
            + if slot < SLOTS_LEARNT {
                range.reverse_tree(&mut self.near[slot as usize], bits, rest)
            } else {
                let upper = range.direct(bits - ALIGN_BITS, rest >> ALIGN_BITS) << ALIGN_BITS;
                upper + range.reverse_tree(&mut self.align, ALIGN_BITS, rest & ((1 << ALIGN_BITS) - 1))
            }
    }
}

/// The slot of a distance less one.
pub(super) fn slot_of(distance: u32) -> u32 {
    if distance < 4 {
        return distance;
    }
    let bits = distance.ilog2();
    bits << 1 | distance >> (bits - 1) & 1
}

/// The first distance less one of a slot, and the bits that tell which it is.
pub(super) fn slot_range(slot: u32) -> (u32, u32) {
    if slot < 4 {
        return (slot, 0);
    }
    let bits = (slot >> 1) - 1;
    ((2 | slot & 1) << bits, bits)
}

/// How lengths are coded.
#[derive(Debug)]
struct Lens {
    is_longer: [Prob; 2],
    short: [[Prob; 8]; 1 << PLACE_BITS_MAX],
    middle: [[Prob; 8]; 1 << PLACE_BITS_MAX],
    long: [Prob; 256],
}

impl Lens {
    fn new() -> Self {
        let few = [[NEW; 8]; 1 << PLACE_BITS_MAX];
        Self { is_longer: [NEW; 2], short: few, middle: few, long: [NEW; 256] }
    }

    fn code<R: Range>(&mut self, range: &mut R, kind: usize, len: usize) -> usize {
        let more = len.wrapping_sub(LEN_MIN) as u32;
        let more = if !range.bit(&mut self.is_longer[0], more >= 8) {
            range.tree(&mut self.short[kind], 3, more)
        } else if !range.bit(&mut self.is_longer[1], more >= 16) {
            8 + range.tree(&mut self.middle[kind], 3, more.wrapping_sub(8))
        } else {
            16 + range.tree(&mut self.long, 8, more.wrapping_sub(16))
        };
        more as usize + LEN_MIN
    }
}
