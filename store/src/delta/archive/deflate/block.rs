//! One block: its symbols, and the cheapest of the three ways to write it, as zlib chooses.

use super::bits::Bits;
use super::huffman::{CODE_BITS_MAX, Code};
use super::tables::{
    BLOCK_END, DISTANCE_EXTRA, DISTANCES, LENGTH_CODE_EXTRA, LENGTH_CODE_ORDER, LENGTH_EXTRA, LENGTHS, LITERALS, MATCH_MIN,
    distance, fixed_lens, length,
};

/// Longest code of code lengths, bits.
const LENGTH_CODE_BITS_MAX: usize = 7;
/// Longest stored block, bytes.
pub(super) const STORED_BYTES_MAX: usize = 65_535;
/// Symbols that a block has room for from the beginning.
const SYMBOLS_SPARE: usize = 1 << 15;
/// Symbols after which gzip thinks about ending a block early.
const EARLY_SYMBOLS: usize = 4096;
/// Code length symbols that repeat: the last length 3 to 6 times, zero 3 to 10 times, zero 11 to 138 times.
const REPEAT: usize = 16;
const ZEROS: usize = 17;
const MANY_ZEROS: usize = 18;

/// A literal byte, or a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    /// 0 for a literal.
    distance: u16,
    /// The byte, or the length less 3.
    value: u8,
}

impl Symbol {
    pub(super) fn literal(value: u8) -> Self {
        Self { distance: 0, value }
    }

    /// A match of 3 to 258 bytes, 1 to 32768 back.
    pub(super) fn found(len: usize, back: usize) -> Self {
        Self { distance: back as u16, value: (len - MATCH_MIN) as u8 }
    }

    pub(super) fn is_match(self) -> bool {
        self.distance > 0
    }

    /// How far back a match is.
    pub(super) fn back(self) -> usize {
        usize::from(self.distance)
    }

    /// Plain bytes that it stands for.
    pub(super) fn len(self) -> usize {
        if self.is_match() { usize::from(self.value) + MATCH_MIN } else { 1 }
    }
}

/// The symbols of a block so far.
#[derive(Debug)]
pub(super) struct Block {
    symbols: Vec<Symbol>,
    full: usize,
    /// Whether a block may end early where that seems to pay.
    early: bool,
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Block {
    /// Makes a block that is full with `full` symbols, or `early` where gzip thinks that it pays.
    pub(super) fn new(full: usize, early: bool) -> Self {
        let symbols = Vec::with_capacity(full.min(SYMBOLS_SPARE));
        let mut block = Self { symbols, full, early, literals: [0; LITERALS], distances: [0; DISTANCES] };
        block.literals[BLOCK_END] = 1;
        block
    }

    /// Adds a symbol and says whether the block, which stands for about `plain` bytes, is full.
    pub(super) fn add(&mut self, symbol: Symbol, plain: usize) -> bool {
        self.symbols.push(symbol);
        if symbol.is_match() {
            self.literals[BLOCK_END + 1 + length(symbol.len()).symbol] += 1;
            self.distances[distance(usize::from(symbol.distance)).symbol] += 1;
        } else {
            self.literals[usize::from(symbol.value)] += 1;
        }
        self.is_full(plain)
    }

    fn is_full(&self, plain: usize) -> bool {
        let count = self.symbols.len();
        if self.early && count.is_multiple_of(EARLY_SYMBOLS) {
            let bits = |(symbol, &count): (usize, &u32)| count as usize * (5 + usize::from(DISTANCE_EXTRA[symbol]));
            let guessed = (count * 8 + self.distances.iter().enumerate().map(bits).sum::<usize>()) / 8;
            let matches = self.distances.iter().sum::<u32>() as usize;
            if matches < count / 2 && guessed < plain / 2 {
                return true;
            }
        }
        count == self.full
    }

    /// Writes the block and begins the next; `plain` is what it stands for.
    pub(super) fn write(&mut self, plain: &[u8], last: bool, bits: &mut Bits) {
        let own = self.own_codes();
        let own_bytes = (3 + own.lens.bits() + self.bits_by(&own.literals.lens, &own.distances.lens)).div_ceil(8);
        let (literals, distances) = fixed_lens();
        let fixed_bytes = (3 + self.bits_by(&literals, &distances)).div_ceil(8);
        if plain.len() + 4 <= own_bytes.min(fixed_bytes) && plain.len() <= STORED_BYTES_MAX {
            self.write_as(&Form::Stored, plain, last, bits);
        } else if fixed_bytes <= own_bytes {
            self.write_as(&Form::Fixed, plain, last, bits);
        } else {
            self.write_as(&Form::Own(own), plain, last, bits);
        }
    }

    /// Writes the block in a form and begins the next; `plain`, what it stands for, counts only where it is stored.
    pub(super) fn write_as(&mut self, form: &Form, plain: &[u8], last: bool, bits: &mut Bits) {
        bits.put(u32::from(last) | (form.kind() as u32) << 1, 3);
        match form {
            Form::Stored => {
                bits.align();
                let len = plain.len() as u16;
                bits.bytes.extend_from_slice(&len.to_le_bytes());
                bits.bytes.extend_from_slice(&(!len).to_le_bytes());
                bits.bytes.extend_from_slice(plain);
            }
            Form::Fixed => {
                let (literals, distances) = fixed_lens();
                let codes = (Code::of_lens(literals, LITERALS + 1), Code::of_lens(distances, DISTANCES - 1));
                self.write_symbols(&codes.0, &codes.1, bits);
            }
            Form::Own(own) => {
                own.lens.write(own.literals.last + 1, own.distances.last + 1, bits);
                self.write_symbols(&own.literals, &own.distances, bits);
            }
        }
        if last {
            bits.align();
        }
        self.symbols.clear();
        self.literals = [0; LITERALS];
        self.literals[BLOCK_END] = 1;
        self.distances = [0; DISTANCES];
    }

    /// The codes that zlib would make for the block.
    pub(super) fn own_codes(&self) -> Own {
        let literals = Code::of_frequencies(&self.literals, CODE_BITS_MAX);
        let distances = Code::of_frequencies(&self.distances, CODE_BITS_MAX);
        let lens = Lengths::of(&literals, &distances);
        Own { literals, distances, lens }
    }

    /// Bits of all symbols with codes of the given lengths.
    fn bits_by(&self, literals: &[u8], distances: &[u8]) -> usize {
        let literal = |(symbol, &count): (usize, &u32)| {
            let extra = symbol.checked_sub(BLOCK_END + 1).map_or(0, |symbol| LENGTH_EXTRA[symbol]);
            count as usize * usize::from(literals[symbol] + extra)
        };
        let distance = |(symbol, &count): (usize, &u32)| count as usize * usize::from(distances[symbol] + DISTANCE_EXTRA[symbol]);
        self.literals.iter().enumerate().map(literal).sum::<usize>()
            + self.distances.iter().enumerate().map(distance).sum::<usize>()
    }

    fn write_symbols(&self, literals: &Code, distances: &Code, bits: &mut Bits) {
        let put = |code: &Code, symbol: usize, bits: &mut Bits| {
            bits.put(u32::from(code.codes[symbol]), u32::from(code.lens[symbol]));
        };
        for symbol in &self.symbols {
            if !symbol.is_match() {
                put(literals, usize::from(symbol.value), bits);
                continue;
            }
            let len = length(symbol.len());
            put(literals, BLOCK_END + 1 + len.symbol, bits);
            bits.put(len.extra, len.extra_bits);
            let back = distance(usize::from(symbol.distance));
            put(distances, back.symbol, bits);
            bits.put(back.extra, back.extra_bits);
        }
        put(literals, BLOCK_END, bits);
    }
}

/// How a block is written.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// As it is.
    Stored,
    /// By the codes that every compressor knows.
    Fixed,
    /// By codes of its own.
    Own(Own),
}

impl Form {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Stored => Kind::Stored,
            Self::Fixed => Kind::Fixed,
            Self::Own(_) => Kind::Own,
        }
    }
}

/// A form without its codes, as a block's first bits say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Stored = 0,
    Fixed = 1,
    Own = 2,
}

/// A block's own codes.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) literals: Code,
    pub(super) distances: Code,
    pub(super) lens: Lengths,
}

/// The lengths of both codes, run by run, and the code for them.
#[derive(Debug, Clone)]
pub(super) struct Lengths {
    /// Symbol, and what its extra bits say.
    pub(super) runs: Vec<(usize, u32)>,
    pub(super) code: Code,
    /// Code lengths that are written.
    pub(super) written: usize,
}

impl Lengths {
    fn of(literals: &Code, distances: &Code) -> Self {
        let mut runs = Vec::new();
        push_runs(&literals.lens[..=literals.last], &mut runs);
        push_runs(&distances.lens[..=distances.last], &mut runs);
        let (code, written) = Self::code_of(&runs);
        Self { runs, code, written }
    }

    /// The code that zlib would make for `runs`, and how many of its lengths it would write.
    pub(super) fn code_of(runs: &[(usize, u32)]) -> (Code, usize) {
        let mut frequencies = [0; LENGTHS];
        for (symbol, _) in runs {
            frequencies[*symbol] += 1;
        }
        let code = Code::of_frequencies(&frequencies, LENGTH_CODE_BITS_MAX);
        let written = (4..=LENGTHS).rev().find(|&count| count == 4 || code.lens[LENGTH_CODE_ORDER[count - 1]] > 0);
        (code, written.unwrap_or(4))
    }

    fn bits(&self) -> usize {
        let of = |&(symbol, _): &(usize, u32)| usize::from(self.code.lens[symbol] + LENGTH_CODE_EXTRA[symbol]);
        5 + 5 + 4 + 3 * self.written + self.runs.iter().map(of).sum::<usize>()
    }

    fn write(&self, literals: usize, distances: usize, bits: &mut Bits) {
        bits.put((literals - 257) as u32, 5);
        bits.put((distances - 1) as u32, 5);
        bits.put((self.written - 4) as u32, 4);
        for symbol in &LENGTH_CODE_ORDER[..self.written] {
            bits.put(u32::from(self.code.lens[*symbol]), 3);
        }
        for &(symbol, extra) in &self.runs {
            bits.put(u32::from(self.code.codes[symbol]), u32::from(self.code.lens[symbol]));
            bits.put(extra, u32::from(LENGTH_CODE_EXTRA[symbol]));
        }
    }
}

/// How many lengths a run stands for.
pub(super) fn run_len((symbol, extra): (usize, u32)) -> usize {
    match symbol {
        REPEAT | ZEROS => 3 + extra as usize,
        MANY_ZEROS => 11 + extra as usize,
        _ => 1,
    }
}

/// The codes of literals and of distances that `runs` stand for, so many lengths of each; `None` if there are none such.
pub(super) fn codes_of(runs: &[(usize, u32)], literals: usize, distances: usize) -> Option<(Code, Code)> {
    let mut lens: Vec<u8> = Vec::with_capacity(LITERALS + DISTANCES);
    for &run in runs {
        let len = match run.0 {
            REPEAT => *lens.last()?,
            ZEROS | MANY_ZEROS => 0,
            len => len as u8,
        };
        lens.resize(lens.len() + run_len(run), len);
    }
    if lens.len() != literals + distances || literals > LITERALS || distances > DISTANCES || distances == 0 {
        return None;
    }
    let mut distance_lens = lens.split_off(literals);
    lens.resize(LITERALS, 0);
    distance_lens.resize(DISTANCES, 0);
    let fits = Code::fits(&lens) && Code::fits(&distance_lens);
    fits.then(|| (Code::of_lens(lens, literals - 1), Code::of_lens(distance_lens, distances - 1)))
}

/// Splits code lengths into runs: longest first, seven at once after a new length.
fn push_runs(lens: &[u8], runs: &mut Vec<(usize, u32)>) {
    let mut rest = lens;
    let mut before = None;
    while let Some(&len) = rest.first() {
        let same = rest.iter().take_while(|&&other| other == len).count();
        let most = match len {
            0 => 138,
            _ if before == Some(len) => 6,
            _ => 7,
        };
        let run = same.min(most);
        let symbol = usize::from(len);
        let repeated = if len > 0 && before != Some(len) { run - 1 } else { run };
        if len == 0 && run >= 11 {
            runs.push((MANY_ZEROS, run as u32 - 11));
        } else if len == 0 && run >= 3 {
            runs.push((ZEROS, run as u32 - 3));
        } else if len > 0 && repeated >= 3 {
            if repeated < run {
                runs.push((symbol, 0));
            }
            runs.push((REPEAT, repeated as u32 - 3));
        } else {
            runs.extend(std::iter::repeat_n((symbol, 0), run));
        }
        before = Some(len);
        rest = &rest[run..];
    }
}
