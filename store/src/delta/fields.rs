//! Fields: four-byte numbers in machine code and tables that refer to places, and how a place's move predicts them.
//!
//! When linked anew, what a number refers to has moved by some distance and so has the number itself. A number relative to its own
//! place changes by the difference of both, an absolute one by the first alone. How far a place moved is learnt from the first
//! number that refers to it and predicts all others, without knowing the format of the file or the processor.

use super::model::hash;

/// What is known of the move of one place.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    sure: u8,
    moved: u32,
}

/// Largest sureness of an entry.
const SURE_MAX: u8 = 7;

/// Moves by place; a newer place takes the entry of an older one.
#[derive(Debug)]
struct Table {
    /// Which place an entry is of: apart, because most look-ups need no more, and these alone stay in the cache.
    checks: Vec<u16>,
    entries: Vec<Entry>,
    shift: u32,
}

impl Table {
    fn new(bits: u32) -> Self {
        Self { checks: vec![0; 1 << bits], entries: vec![Entry::default(); 1 << bits], shift: 64 - bits }
    }

    #[inline]
    fn place(&self, key: u32) -> (usize, u16) {
        let hash = hash(u64::from(key));
        ((hash >> self.shift) as usize, hash as u16 | 1)
    }

    #[inline]
    fn get(&self, key: u32) -> Option<Entry> {
        let (at, check) = self.place(key);
        (self.checks[at] == check).then(|| self.entries[at])
    }

    fn learn(&mut self, key: u32, moved: u32) {
        let (at, check) = self.place(key);
        let known = self.checks[at] == check;
        let entry = &mut self.entries[at];
        if known && entry.moved == moved {
            entry.sure = (entry.sure + 1).min(SURE_MAX);
        } else if known && entry.sure > 1 {
            entry.sure /= 2;
        } else {
            self.checks[at] = check;
            *entry = Entry { sure: 0, moved };
        }
    }
}

/// Where a field stands and what stood there in the base.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    /// The four bytes in the base.
    pub(super) old: u32,
    /// Their position in the base, and in the target; the lower 32 bits.
    pub(super) base: u32,
    /// See `base`.
    pub(super) target: u32,
    /// The two bytes before them in the base.
    pub(super) before: u16,
}

impl Spot {
    fn moved(&self) -> u32 {
        self.target.wrapping_sub(self.base)
    }

    fn refers(&self) -> u32 {
        self.base.wrapping_add(self.old)
    }
}

/// A guess at the four bytes in the target, and how sure it is (`0..=SURE_MAX`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Guess {
    pub(super) new: u32,
    pub(super) sure: u8,
}

/// Guesses from the best kind to the worst. More of them, by the surroundings of a place and by regions of absolute numbers, made patches of native
/// programs no smaller.
pub(super) const KINDS: usize = 5;
/// Kinds of [`Fields::outlook`].
pub(super) const OUTLOOKS: usize = 16;

/// What is learnt of moves.
#[derive(Debug)]
pub(super) struct Fields {
    relative: Table,
    /// The same by the region of the place.
    region: Table,
    absolute: Table,
    /// Change of the number itself by the two bytes before it.
    change: Table,
    last: u32,
}

/// Lower bits of a place that do not matter to its region.
const REGION_BITS: u32 = 14;

impl Fields {
    /// Makes tables with 2^`bits` entries for places, fewer for regions.
    pub(super) fn new(bits: u32) -> Self {
        let (relative, region, absolute) = (Table::new(bits), Table::new(bits - 4), Table::new(bits));
        Self { relative, region, absolute, change: Table::new(10), last: 0 }
    }

    /// Says in one number what the exact entries expect here: nothing, no change, a change they are unsure or sure of.
    #[inline]
    pub(super) fn outlook(&self, spot: &Spot) -> usize {
        let rate = |entry: Option<Entry>, stays: u32| match entry {
            None => 0,
            Some(entry) if entry.moved == stays => 1,
            Some(entry) if entry.sure < 2 => 2,
            Some(_) => 3,
        };
        rate(self.relative.get(spot.refers()), spot.moved()) * 4 + rate(self.absolute.get(spot.old), 0)
    }

    /// Guesses the new bytes, best kind first, each with its kind; leaves out where nothing is known, and what is the old bytes or came before.
    ///
    /// Guesses are made as they are taken: the first is mostly right, and the later ones cost look-ups in tables out of the cache.
    pub(super) fn guesses(&self, spot: &Spot) -> impl Iterator<Item = (usize, Guess)> {
        let mut before = [spot.old; KINDS];
        (0..KINDS).filter_map(move |kind| {
            let guess = self.guess(kind, spot)?;
            let fresh = !before.contains(&guess.new);
            before[kind] = guess.new;
            fresh.then_some((kind, guess))
        })
    }

    /// Guesses by the place itself alone.
    pub(super) fn exact(&self, spot: &Spot) -> impl Iterator<Item = Guess> {
        (0..2).filter_map(|kind| self.guess(kind, spot)).filter(|guess| guess.new != spot.old)
    }

    fn guess(&self, kind: usize, spot: &Spot) -> Option<Guess> {
        let stays = |entry: Entry| Guess { new: spot.old.wrapping_add(entry.moved), sure: entry.sure };
        let moves = |entry: Entry| Guess { new: stays(entry).new.wrapping_sub(spot.moved()), sure: entry.sure };
        match kind {
            0 => self.relative.get(spot.refers()).map(moves),
            1 => self.absolute.get(spot.old).map(stays),
            2 => self.region.get(spot.refers() >> REGION_BITS).map(moves),
            3 => self.change.get(u32::from(spot.before)).map(stays),
            _ => Some(stays(Entry { sure: 0, moved: self.last })),
        }
    }

    /// Learns that the field at `spot` became `new`.
    pub(super) fn learn(&mut self, spot: &Spot, new: u32) {
        let change = new.wrapping_sub(spot.old);
        let moved = change.wrapping_add(spot.moved());
        self.relative.learn(spot.refers(), moved);
        self.region.learn(spot.refers() >> REGION_BITS, moved);
        self.absolute.learn(spot.old, change);
        self.change.learn(u32::from(spot.before), change);
        self.last = change;
    }
}
