//! What every deflate stream has in common (RFC 1951): how lengths and distances become symbols and extra bits.

/// Shortest match.
pub(super) const MATCH_MIN: usize = 3;
/// Longest match.
pub(super) const MATCH_MAX: usize = 258;
/// Symbols of literals and lengths, of distances, of code lengths.
pub(super) const LITERALS: usize = 286;
pub(super) const DISTANCES: usize = 30;
pub(super) const LENGTHS: usize = 19;
/// The symbol that ends a block.
pub(super) const BLOCK_END: usize = 256;

/// Extra bits of length symbol 257 and those behind it.
pub(super) const LENGTH_EXTRA: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
/// Extra bits of the distance symbols.
pub(super) const DISTANCE_EXTRA: [u8; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
/// Extra bits of the code length symbols.
pub(super) const LENGTH_CODE_EXTRA: [u8; 19] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 7];
/// The order in which the lengths of code length symbols are written.
pub(super) const LENGTH_CODE_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// A length or distance as it is written: symbol, then extra bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coded {
    pub(super) symbol: usize,
    pub(super) extra: u32,
    pub(super) extra_bits: u32,
}

/// Codes a match length, 3 to 258: the symbol counts from 0 and stands for literal symbol 257 onwards.
pub(super) fn length(len: usize) -> Coded {
    if len == MATCH_MAX {
        return Coded { symbol: 28, extra: 0, extra_bits: 0 };
    }
    let over = len - MATCH_MIN;
    if over < 8 {
        return Coded { symbol: over, extra: 0, extra_bits: 0 };
    }
    let bits = over.ilog2() - 2;
    Coded { symbol: 4 * bits as usize + (over >> bits), extra: (over & ((1 << bits) - 1)) as u32, extra_bits: bits }
}

/// Codes a distance, 1 to 32768.
pub(super) fn distance(distance: usize) -> Coded {
    let over = distance - 1;
    if over < 4 {
        return Coded { symbol: over, extra: 0, extra_bits: 0 };
    }
    let bits = over.ilog2() - 1;
    Coded { symbol: 2 * bits as usize + (over >> bits), extra: (over & ((1 << bits) - 1)) as u32, extra_bits: bits }
}

/// The length of a match with this symbol, counted from 0, and these extra bits.
pub(super) fn length_of(symbol: usize, extra: u32) -> usize {
    match symbol {
        0..8 => MATCH_MIN + symbol,
        28.. => MATCH_MAX,
        _ => MATCH_MIN + ((4 + symbol % 4) << LENGTH_EXTRA[symbol]) + extra as usize,
    }
}

/// The distance of this symbol with these extra bits.
pub(super) fn distance_of(symbol: usize, extra: u32) -> usize {
    match symbol {
        0..4 => 1 + symbol,
        _ => 1 + ((2 + symbol % 2) << DISTANCE_EXTRA[symbol]) + extra as usize,
    }
}

/// The lengths of the fixed codes, of literals, two more than are used, and of distances.
pub(super) fn fixed_lens() -> (Vec<u8>, Vec<u8>) {
    let of = |symbol| match symbol {
        0..=143 | 280.. => 8,
        144..=255 => 9,
        _ => 7,
    };
    ((0..LITERALS + 2).map(of).collect(), vec![5; DISTANCES])
}

#[cfg(test)]
mod tests {
    use super::{DISTANCE_EXTRA, LENGTH_EXTRA, distance, distance_of, length, length_of};

    #[test]
    fn codes_agree_with_the_table_of_extra_bits() {
        for len in 3..=258 {
            let coded = length(len);
            assert_eq!(coded.extra_bits, u32::from(LENGTH_EXTRA[coded.symbol]), "length {len}");
            assert_eq!(length_of(coded.symbol, coded.extra), len);
        }
        assert_eq!((length(257).symbol, length(257).extra, length(258).symbol), (27, 30, 28));
        for at in 1..=32768 {
            let coded = distance(at);
            assert_eq!(coded.extra_bits, u32::from(DISTANCE_EXTRA[coded.symbol]), "distance {at}");
            assert_eq!(distance_of(coded.symbol, coded.extra), at);
        }
        assert_eq!((distance(32768).symbol, distance(32768).extra), (29, 8191));
    }
}
