//! Reading a stream block by block: what its compressor chose, which inflating it does not tell.

use super::block::{Form, Lengths, Own, Symbol, codes_of, run_len};
use super::huffman::{CODE_BITS_MAX, Code};
use super::tables::{
    BLOCK_END, DISTANCE_EXTRA, LENGTH_CODE_EXTRA, LENGTH_CODE_ORDER, LENGTH_EXTRA, LENGTHS, distance_of, fixed_lens, length,
    length_of,
};

/// Most symbols of a block; nobody's compressor makes more but of one that has no end.
pub(super) const SYMBOLS_MAX: usize = 1 << 20;

/// A block as it was written.
#[derive(Debug)]
pub(in super::super) struct ReadBlock {
    pub(super) last: bool,
    pub(super) form: Form,
    /// None of a stored block.
    pub(super) symbols: Vec<Symbol>,
    /// Bytes of a stored block, else symbols.
    pub(super) count: usize,
}

/// Reads a stream that inflates.
#[derive(Debug)]
pub(in super::super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> Reader<'a> {
    pub(in super::super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0 }
    }

    /// The next block; `None` if there is none, or one that no [`Form`] writes bit for bit.
    pub(in super::super) fn block(&mut self) -> Option<ReadBlock> {
        let last = self.take(1)? == 1;
        let block = match self.take(2)? {
            0 => {
                let count = self.stored()?;
                ReadBlock { last, form: Form::Stored, symbols: Vec::new(), count }
            }
            1 => {
                let (literals, distances) = fixed_lens();
                let symbols = self.symbols(&Table::of(&literals), &Table::of(&distances))?;
                ReadBlock { last, form: Form::Fixed, count: symbols.len(), symbols }
            }
            2 => {
                let own = self.own()?;
                let symbols = self.symbols(&Table::of(&own.literals.lens), &Table::of(&own.distances.lens))?;
                ReadBlock { last, form: Form::Own(own), count: symbols.len(), symbols }
            }
            _ => return None,
        };
        if last {
            self.align()?;
            let left = self.bytes.len() - self.at + self.count as usize / 8;
            return (left == 0).then_some(block);
        }
        Some(block)
    }

    fn fill(&mut self) {
        while self.count <= 56
            && let Some(&byte) = self.bytes.get(self.at)
        {
            self.held |= u64::from(byte) << self.count;
            self.count += 8;
            self.at += 1;
        }
    }

    fn take(&mut self, bits: u32) -> Option<u32> {
        self.fill();
        self.drop_bits(bits).map(|value| value as u32)
    }

    fn drop_bits(&mut self, bits: u32) -> Option<u64> {
        let value = self.held & ((1 << bits) - 1);
        self.count = self.count.checked_sub(bits)?;
        self.held >>= bits;
        Some(value)
    }

    /// Goes on to a whole byte; `None` if what is left out is not zeros.
    fn align(&mut self) -> Option<()> {
        let rest = self.count % 8;
        (self.drop_bits(rest)? == 0).then_some(())
    }

    /// Reads the length of a stored block and leaves its bytes out.
    fn stored(&mut self) -> Option<usize> {
        self.align()?;
        let (len, check) = (self.take(16)?, self.take(16)?);
        if len != !check & 0xffff {
            return None;
        }
        // Back to the first of the bytes.
        let start = self.at - self.count as usize / 8;
        (self.held, self.count) = (0, 0);
        self.at = (start + len as usize <= self.bytes.len()).then_some(start + len as usize)?;
        Some(len as usize)
    }

    fn own(&mut self) -> Option<Own> {
        let (literals, distances) = (self.take(5)? as usize + 257, self.take(5)? as usize + 1);
        let written = self.take(4)? as usize + 4;
        let mut lens = vec![0; LENGTHS];
        for &symbol in &LENGTH_CODE_ORDER[..written] {
            lens[symbol] = self.take(3)? as u8;
        }
        let table = Table::of(&lens);
        let code = Code::of_lens(lens, LENGTHS - 1);
        let (mut runs, mut left) = (Vec::new(), literals + distances);
        while left > 0 {
            let symbol = self.decode(&table)?;
            let run = (symbol, self.take(u32::from(LENGTH_CODE_EXTRA[symbol]))?);
            left = left.checked_sub(run_len(run))?;
            runs.push(run);
        }
        let (literals, distances) = codes_of(&runs, literals, distances)?;
        Some(Own { literals, distances, lens: Lengths { runs, code, written } })
    }

    fn symbols(&mut self, literals: &Table, distances: &Table) -> Option<Vec<Symbol>> {
        let mut symbols = Vec::new();
        loop {
            let symbol = self.decode(literals)?;
            if symbol == BLOCK_END {
                return Some(symbols);
            }
            if symbols.len() == SYMBOLS_MAX {
                return None;
            }
            let Some(symbol) = symbol.checked_sub(BLOCK_END + 1) else {
                symbols.push(Symbol::literal(symbol as u8));
                continue;
            };
            let extra = self.take(u32::from(*LENGTH_EXTRA.get(symbol)?))?;
            let len = length_of(symbol, extra);
            let back = self.decode(distances)?;
            let back = distance_of(back, self.take(u32::from(DISTANCE_EXTRA[back]))?);
            // The longest match has two spellings.
            if length(len).symbol != symbol {
                return None;
            }
            symbols.push(Symbol::found(len, back));
        }
    }

    fn decode(&mut self, table: &Table) -> Option<usize> {
        self.fill();
        let entry = table.entries[self.held as usize & (table.entries.len() - 1)];
        let bits = u32::from(entry & 15);
        self.drop_bits(bits)?;
        (bits > 0).then_some(usize::from(entry >> 4))
    }
}

/// Symbols by the bits that begin with their code: symbol, then the code's length in the lowest four bits, 0 for none.
struct Table {
    entries: Vec<u16>,
}

impl Table {
    fn of(lens: &[u8]) -> Self {
        let bits = lens.iter().copied().max().map_or(1, usize::from).clamp(1, CODE_BITS_MAX);
        let mut entries = vec![0; 1 << bits];
        if Code::fits(lens) {
            let codes = Code::of_lens(lens.to_vec(), 0).codes;
            for (symbol, (&len, &code)) in lens.iter().zip(&codes).enumerate().filter(|(_, (len, _))| **len > 0) {
                for entry in entries[usize::from(code)..].iter_mut().step_by(1 << len) {
                    *entry = (symbol as u16) << 4 | u16::from(len);
                }
            }
        }
        Self { entries }
    }
}
