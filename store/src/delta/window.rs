//! One window: gaps of literal bytes and covers of base bytes with their differences, coded by models that learn.
//!
//! Every function here runs on both sides: the encoder's buffer holds the target and is written over with itself, the decoder's is filled.

use super::coder::Coder;
use super::echo::{Echo, Told};
use super::fields::{Fields, KINDS, OUTLOOKS, Spot};
use super::format::damaged;
use super::model::{ByteModel, LOGISTIC, Logistic, Mixer, NumberModel, Slot, code_bit, hash};
use crate::error::Result;

/// Base bytes before and behind a piece that the models look at.
pub(super) const PAD: usize = 8;
/// Largest piece of a cover that is coded at once.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// Unchanged bytes after which whole runs are coded instead of single bytes.
const QUIET_BYTES: usize = 64;
/// Shortest run.
const RUN_BYTES: usize = 32;
/// Doublings of a run.
const RUN_LEVELS: usize = 8;
/// Probability in 65536ths below which a change is told by one slot alone: at half of it, patches of native programs are 1 % smaller and take a twentieth
/// longer to build.
const SETTLED: u16 = 4000;
/// The same behind two bytes of text, where little is asked and each answer counts: as for other bytes, patches of scripts are 1 to 4 % larger.
const SETTLED_TEXT: u16 = 600;
/// Most bits of the count of entries in tables that are asked at most bytes: they stay in a core's cache. With 18 bits patches of native programs are 0.3 to 1.1 %
/// smaller, built a tenth to a sixth slower and applied a quarter slower.
const NEAR_BITS_MAX: u32 = 15;
/// Uses after which a flag's slot learns no slower.
const FLAG_USES_MAX: u32 = 1000;
/// Shifts that are remembered.
const RECENT: usize = 6;

/// A stretch of the target that resembles a stretch of the joined bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cover {
    /// Position in the target.
    pub(super) target: u64,
    /// Position in the joined bases.
    pub(super) base: u64,
    /// Bytes.
    pub(super) len: u64,
}

/// Gives base bytes from a position on, [`PAD`] more on each side, zeros where the bases end.
pub(super) trait Bases {
    /// Bytes of all bases.
    fn len(&self) -> u64;
    /// Fills `padded`, whose first byte is [`PAD`] before `position`.
    fn read(&mut self, position: u64, padded: &mut [u8]) -> Result<()>;
}

/// Where literal bytes are.
#[derive(Debug)]
pub(super) enum Literals<'a> {
    /// Among the decisions.
    Modelled,
    /// In a section of their own: these are left (the decoder), or are collected (the encoder).
    Apart(&'a [u8]),
}

/// All that is learnt from window to window.
#[derive(Debug)]
pub(super) struct Model {
    tables: &'static Logistic,
    fields: Fields,
    hits: Vec<Slot>,
    /// By the two bytes before alone.
    calm: Vec<Slot>,
    flags: Vec<Slot>,
    flag_shift: u32,
    flag_mixer: Mixer<4>,
    runs: Vec<Slot>,
    words: ByteModel<3>,
    /// The lowest bytes of words.
    lows: ByteModel<2>,
    changes: ByteModel<3>,
    literals: ByteModel<5>,
    numbers: NumberModel,
    echo: Echo,
    told: Told,
    told_hits: [Slot; 3],
    recent_hits: [Slot; RECENT],
    recent: [i64; RECENT],
    /// The last eight target bytes, newest lowest.
    history: u64,
    quiet: usize,
    run_level: usize,
    run_ends: usize,
    piece: Vec<u8>,
}

/// Sets of weights for literals, one for every [`TRUSTS_A_SET`] trusts, and one for no guess.
const TRUST_SETS: usize = 4;
const TRUSTS_A_SET: usize = 6;

/// The set of weights for the lead of a change, behind those for its bytes; and what tells its contexts from theirs.
const LEAD_SET: usize = 4;
const LEAD_CONTEXT: u64 = 1 << 40;

/// Most bits of the count of slots for the lowest bytes of words.
const LOW_BITS_MAX: u32 = 16;
/// The place of the lowest byte of a word.
const LOWEST: usize = 3;

const GAP: usize = 0;
const LEN: usize = 1;
const SHIFT: usize = 2;

impl Model {
    /// Makes a model for a target of `target_len` bytes: the tables of a small one are small.
    pub(super) fn new(target_len: u64) -> Self {
        let bits = (64 - (target_len / 32).leading_zeros()).clamp(10, 18);
        let near = bits.min(NEAR_BITS_MAX);
        Self {
            tables: &LOGISTIC,
            fields: Fields::new(near),
            hits: vec![Slot::NEW; KINDS * 8 * 4],
            calm: vec![Slot::guess(2000); 1 << 16],
            flags: vec![Slot::guess(2000); 1 << near],
            flag_shift: 64 - near,
            flag_mixer: Mixer::new(OUTLOOKS * 4, 6),
            runs: vec![Slot::guess(60000); RUN_LEVELS * 4],
            words: ByteModel::new(bits, 1 + LEAD_SET, 250),
            lows: ByteModel::new(bits.min(LOW_BITS_MAX), 1, 250),
            changes: ByteModel::new(bits, 1, 250),
            literals: ByteModel::new((bits + 3).min(20), TRUST_SETS, 250),
            numbers: NumberModel::new(3),
            echo: Echo::new(target_len),
            told: Told::new(),
            told_hits: [Slot::NEW; 3],
            recent_hits: [Slot::NEW; RECENT],
            recent: [0; RECENT],
            history: 0,
            quiet: QUIET_BYTES,
            run_level: 0,
            run_ends: 0,
            piece: vec![0; PIECE_BYTES + 2 * PAD],
        }
    }

    /// Codes the window `out`, which begins at `start` of the target; `covers` are its own, clipped to it (none for the decoder).
    pub(super) fn window<C: Coder>(
        &mut self,
        coder: &mut C,
        bases: &mut dyn Bases,
        start: u64,
        out: &mut [u8],
        covers: &[Cover],
        literals: &mut Literals<'_>,
    ) -> Result<()> {
        let mut covers = covers.iter();
        let mut at = 0;
        while at < out.len() {
            let next = covers.next().copied();
            let left = out.len() - at;
            let gap = next.map_or(left as u64, |next| next.target.saturating_sub(start + at as u64));
            let gap = self.number(coder, GAP, gap);
            let gap = usize::try_from(gap).ok().filter(|&gap| gap <= left).ok_or_else(|| damaged("a gap leaves its window"))?;
            self.gap(coder, &mut out[at..at + gap], literals)?;
            at += gap;
            if at == out.len() {
                break;
            }
            let len = self.number(coder, LEN, next.map_or(0, |next| next.len - 1)).saturating_add(1);
            let len = usize::try_from(len).ok().filter(|&len| len <= out.len() - at);
            let len = len.ok_or_else(|| damaged("a cover leaves its window"))?;
            let target = start + at as u64;
            let shift = self.shift(coder, next.map_or(0, |next| next.base.wrapping_sub(next.target).cast_signed()));
            let base = target
                .checked_add_signed(shift)
                .filter(|base| base.checked_add(len as u64).is_some_and(|end| end <= bases.len()));
            let base = base.ok_or_else(|| damaged("a cover leaves its bases"))?;
            self.cover(coder, bases, base, target, &mut out[at..at + len])?;
            at += len;
        }
        Ok(())
    }

    /// Codes a number of `kind`: first whether it is the one that was told behind the same bytes before.
    fn number<C: Coder>(&mut self, coder: &mut C, kind: usize, number: u64) -> u64 {
        let history = self.history;
        if let Some(guess) = self.told.guess(kind, history)
            && code_bit(coder, &mut self.told_hits[kind], guess == number, 60)
        {
            return guess;
        }
        let number = self.numbers.code(coder, kind, number);
        self.told.learn(kind, history, number);
        number
    }

    fn shift<C: Coder>(&mut self, coder: &mut C, shift: i64) -> i64 {
        for index in 0..RECENT {
            if code_bit(coder, &mut self.recent_hits[index], self.recent[index] == shift, 60) {
                let shift = self.recent[index];
                self.recent.copy_within(..index, 1);
                self.recent[0] = shift;
                return shift;
            }
        }
        let step = shift.wrapping_sub(self.recent[0]);
        let folded = (step << 1 ^ step >> 63).cast_unsigned() & (u64::MAX >> 1);
        let folded = self.number(coder, SHIFT, folded);
        let step = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        let shift = self.recent[0].wrapping_add(step);
        self.recent.copy_within(..RECENT - 1, 1);
        self.recent[0] = shift;
        shift
    }

    fn gap<C: Coder>(&mut self, coder: &mut C, out: &mut [u8], literals: &mut Literals<'_>) -> Result<()> {
        match literals {
            Literals::Modelled => {
                self.echo.turn();
                for byte in out.iter_mut() {
                    *byte = self.literal(coder, *byte);
                }
            }
            Literals::Apart(left) => {
                let (now, later) = left.split_at_checked(out.len()).ok_or_else(|| damaged("it has too few literal bytes"))?;
                out.copy_from_slice(now);
                *left = later;
                self.remember(out);
            }
        }
        Ok(())
    }

    fn literal<C: Coder>(&mut self, coder: &mut C, byte: u8) -> u8 {
        let history = self.history;
        let order = |bytes: u32| history & ((1 << (8 * bytes)) - 1) | u64::from(bytes) << 48;
        let contexts = [order(0), order(1), order(2), order(3), 0];
        let guess = self.echo.guess(history);
        let set = guess.0.div_ceil(TRUSTS_A_SET);
        let byte = self.literals.code_guessed(coder, self.tables, set, &contexts, Some(guess), byte);
        self.echo.learn(history, byte);
        self.history = history << 8 | u64::from(byte);
        byte
    }

    fn remember(&mut self, out: &[u8]) {
        for &byte in &out[out.len().saturating_sub(8)..] {
            self.history = self.history << 8 | u64::from(byte);
        }
    }

    fn cover<C: Coder>(&mut self, coder: &mut C, bases: &mut dyn Bases, base: u64, target: u64, out: &mut [u8]) -> Result<()> {
        let mut padded = std::mem::take(&mut self.piece);
        for (index, piece) in out.chunks_mut(PIECE_BYTES).enumerate() {
            let offset = (index * PIECE_BYTES) as u64;
            let padded = &mut padded[..piece.len() + 2 * PAD];
            bases.read(base + offset, padded)?;
            self.piece(coder, padded, base + offset, target + offset, piece);
            self.remember(piece);
        }
        self.piece = padded;
        Ok(())
    }

    fn piece<C: Coder>(&mut self, coder: &mut C, padded: &[u8], base: u64, target: u64, out: &mut [u8]) {
        let mut at = 0;
        while at < out.len() {
            if self.quiet >= QUIET_BYTES {
                let len = (RUN_BYTES << self.run_level).min(out.len() - at);
                if self.run(coder, &padded[PAD + at..][..len], &mut out[at..at + len]) {
                    at += len;
                }
                continue;
            }
            let spot = Spot {
                old: u32::from_le_bytes(array(padded, PAD + at)),
                base: (base as u32).wrapping_add(at as u32),
                target: (target as u32).wrapping_add(at as u32),
                before: u16::from_le_bytes(array(padded, PAD + at - 2)),
            };
            let changed = C::WRITES && (padded[PAD + at] != out[at] || self.changes_above(&spot, padded, at, out));
            if !self.flag(coder, padded, at, &spot, changed) {
                out[at] = padded[PAD + at];
                at += 1;
                self.quiet += 1;
                continue;
            }
            if is_field(padded, at, out.len()) {
                let new = self.field(coder, &spot, u32::from_le_bytes(array(out, at)));
                out[at..at + 4].copy_from_slice(&new.to_le_bytes());
                at += 4;
            } else {
                out[at] = self.change(coder, padded, at, out);
                at += 1;
            }
            self.quiet = 0;
        }
    }

    /// Codes whether a run is unchanged; after a run with a change shorter ones are tried, then single bytes.
    fn run<C: Coder>(&mut self, coder: &mut C, base: &[u8], out: &mut [u8]) -> bool {
        let same = C::WRITES && base == out;
        let slot = &mut self.runs[self.run_level * 4 + self.run_ends];
        let same = code_bit(coder, slot, same, 250);
        if same {
            out.copy_from_slice(base);
            self.run_level = (self.run_level + 1).min(RUN_LEVELS - 1);
            self.run_ends /= 2;
        } else if self.run_level > 0 {
            self.run_level -= 1;
            self.run_ends = 3;
        } else {
            self.quiet = QUIET_BYTES - RUN_BYTES;
            self.run_ends = 3;
        }
        same
    }

    /// Decides for the encoder whether a field whose lowest byte stays is told here: if it changes to what is guessed by its place itself. To ask the
    /// surroundings too costs a twentieth more time, for 0.3 to 3 % fewer bytes.
    fn changes_above(&self, spot: &Spot, padded: &[u8], at: usize, out: &[u8]) -> bool {
        let Some(new) = out.get(at..at + 4) else { return false };
        if padded[PAD + at..PAD + at + 4] == *new || !is_field(padded, at, out.len()) {
            return false;
        }
        let new = u32::from_le_bytes(array(new, 0));
        self.fields.exact(spot).any(|guess| guess.new == new)
    }

    /// Codes whether a byte changes.
    fn flag<C: Coder>(&mut self, coder: &mut C, padded: &[u8], at: usize, spot: &Spot, changed: bool) -> bool {
        // Most bytes stay, and the two before them tell it.
        let calm = &mut self.calm[usize::from(spot.before)];
        let settled = settled(spot.before);
        if calm.one() < settled {
            return code_bit(coder, calm, changed, FLAG_USES_MAX);
        }
        let changed = self.unsettled(coder, padded, at, spot, changed);
        self.calm[usize::from(spot.before)].learn(changed, FLAG_USES_MAX);
        changed
    }

    fn unsettled<C: Coder>(&mut self, coder: &mut C, padded: &[u8], at: usize, spot: &Spot, changed: bool) -> bool {
        let outlook = self.fields.outlook(spot);
        let place_of = |index: u64, context: u64| (hash(context | index << 40) >> self.flag_shift) as usize;
        let first = place_of(1, u64::from(spot.before) << 4 | outlook as u64);
        if self.flags[first].one() < settled(spot.before) {
            return code_bit(coder, &mut self.flags[first], changed, FLAG_USES_MAX);
        }
        let since = self.quiet.min(15);
        let before = u64::from(spot.before);
        let old = u64::from(spot.old);
        let third = u64::from(padded[PAD + at - 3]);
        let places = [
            first,
            place_of(2, (since << 4 | outlook) as u64 | (before >> 8) << 12),
            place_of(3, before | third << 16 | (old >> 24) << 24),
            place_of(4, (old & 0xff) | (before >> 8) << 8 | (old >> 24) << 16 | (outlook as u64) << 24),
        ];
        let set = outlook * 4 + since.min(12) / 4;
        let mut slots = [Slot::NEW; 4];
        for (slot, &place) in slots.iter_mut().zip(&places) {
            *slot = self.flags[place];
        }
        let changed = self.flag_mixer.code(coder, self.tables, set, &mut slots, changed, FLAG_USES_MAX);
        for (slot, place) in slots.into_iter().zip(places) {
            self.flags[place] = slot;
        }
        changed
    }

    fn field<C: Coder>(&mut self, coder: &mut C, spot: &Spot, new: u32) -> u32 {
        let mut missed = 0;
        let mut found = None;
        for (kind, guess) in self.fields.guesses(spot) {
            let hit = &mut self.hits[(kind * 8 + usize::from(guess.sure)) * 4 + missed];
            if code_bit(coder, hit, guess.new == new, 250) {
                found = Some(guess.new);
                break;
            }
            missed = (missed + 1).min(3);
        }
        let new = found.unwrap_or_else(|| self.word(coder, spot, new));
        self.fields.learn(spot, new);
        new
    }

    /// Codes the change of a field that no guess hit: how many bytes in front only carry its sign, then the others, highest first.
    fn word<C: Coder>(&mut self, coder: &mut C, spot: &Spot, new: u32) -> u32 {
        let change = new.wrapping_sub(spot.old).to_be_bytes();
        let before = u64::from(spot.before);
        let contexts = [LEAD_CONTEXT, LEAD_CONTEXT | before, LEAD_CONTEXT | before >> 8 | u64::from(spot.old >> 24) << 8];
        let lead = self.words.code_nibble(coder, self.tables, LEAD_SET, &contexts, Lead::of(change).code());
        let lead = Lead::of_code(lead);
        let mut done = lead.fill;
        for (place, byte) in change.into_iter().enumerate().skip(lead.bytes) {
            if place == LOWEST {
                // It is nearly noise: what tells more of the others makes patches of native programs half a percent smaller, and building a twentieth slower.
                let contexts = [u64::from(done), before >> 8];
                done = done << 8 | u32::from(self.lows.code(coder, self.tables, 0, &contexts, byte));
                break;
            }
            let upper = u64::from(done) | (place as u64) << 32;
            let old = u64::from(spot.old.to_be_bytes()[place]);
            let contexts = [upper, (place as u64) << 32 | before, (place as u64) << 32 | old | u64::from(done != 0) << 8];
            done = done << 8 | u32::from(self.words.code(coder, self.tables, place, &contexts, byte));
        }
        spot.old.wrapping_add(done)
    }

    /// Codes one changed byte among text.
    fn change<C: Coder>(&mut self, coder: &mut C, padded: &[u8], at: usize, out: &[u8]) -> u8 {
        let history = out[at.saturating_sub(4)..at].iter().fold(self.history, |history, &byte| history << 8 | u64::from(byte));
        let old = u64::from(padded[PAD + at]);
        let contexts = [old, old | (history & 0xff) << 8, history & 0xffff];
        self.changes.code(coder, self.tables, 0, &contexts, out[at])
    }
}

/// The bytes in front of a change that are all 0 or all 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lead {
    /// How many, up to four.
    bytes: usize,
    /// What they make of a number; nothing if there are none.
    fill: u32,
}

impl Lead {
    fn of(change: [u8; 4]) -> Self {
        let same = |byte: u8| change.iter().take_while(|&&other| other == byte).count();
        match (same(0), same(255)) {
            (0, bytes @ 1..) => Self { bytes, fill: u32::MAX },
            (bytes, _) => Self { bytes, fill: 0 },
        }
    }

    /// 0 to 8.
    fn code(self) -> u8 {
        self.bytes as u8 + if self.fill == 0 { 0 } else { 4 }
    }

    /// The lead of a code; what [`Lead::code`] never gives is taken for something, so that whatever a patch says makes a number.
    fn of_code(code: u8) -> Self {
        match code {
            0..=4 => Self { bytes: code.into(), fill: 0 },
            _ => Self { bytes: usize::from(code - 4).min(4), fill: u32::MAX },
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

/// Says whether four bytes here are taken as a number: not among text.
fn is_field(padded: &[u8], at: usize, len: usize) -> bool {
    at + 4 <= len && !is_text(&padded[PAD + at - 4..PAD + at + 8])
}

/// The probability of a change that is told by one slot alone, behind the bytes `before`.
#[inline]
fn settled(before: u16) -> u16 {
    if is_text(&before.to_le_bytes()) { SETTLED_TEXT } else { SETTLED }
}

/// Says whether all bytes are printable text.
#[inline]
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_its_lead_and_what_is_behind() {
        for change in [0, 1, 0xff, 0x100, 0x0001_0000, 0x00ff_ffff, 0x0100_0000, u32::MAX, 0xffff_ff00, 0xff00_0000, 0xfeff_ffff]
        {
            let bytes = change.to_be_bytes();
            let lead = Lead::of_code(Lead::of(bytes).code());
            assert_eq!(lead, Lead::of(bytes));
            assert_eq!(bytes[lead.bytes..].iter().fold(lead.fill, |done, byte| done << 8 | u32::from(*byte)), change);
        }
        assert_eq!(Lead::of([0, 0, 1, 0]), Lead { bytes: 2, fill: 0 });
        assert_eq!(Lead::of([255, 0, 0, 0]), Lead { bytes: 1, fill: u32::MAX });
        assert!((0..16).all(|code| Lead::of_code(code).bytes <= 4));
    }
}
