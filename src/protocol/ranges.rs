//! Lists of ordinal ranges as sent in requests: LEB128 pairs (gap since the previous end, length), ascending (docs/formats.md).

use std::ops::Range;

/// Most ranges in one request.
pub const RANGES_MAX: usize = 65_536;
/// Most bytes of an encoded list.
pub const RANGES_BYTES_MAX: usize = 512 << 10;

/// A list of ranges could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list of ranges is malformed: {0}")]
pub struct RangesError(pub &'static str);

/// Encodes ascending, disjoint, non-empty ranges.
#[must_use]
pub fn encode(ranges: &[Range<u32>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ranges.len() * 3);
    let mut previous = 0;
    for range in ranges {
        put(&mut out, range.start - previous);
        put(&mut out, range.end - range.start);
        previous = range.end;
    }
    out
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// Too many ranges, an empty one, an overflow, a cut-off or over-long number.
pub fn decode(mut bytes: &[u8]) -> Result<Vec<Range<u32>>, RangesError> {
    if bytes.len() > RANGES_BYTES_MAX {
        return Err(RangesError("too long"));
    }
    let mut out = Vec::new();
    let mut previous = 0_u32;
    while !bytes.is_empty() {
        let gap = take(&mut bytes)?;
        let len = take(&mut bytes)?;
        let start = previous.checked_add(gap).ok_or(RangesError("overflow"))?;
        let end = start.checked_add(len).ok_or(RangesError("overflow"))?;
        if len == 0 {
            return Err(RangesError("empty range"));
        }
        if out.len() == RANGES_MAX {
            return Err(RangesError("too many ranges"));
        }
        out.push(start..end);
        previous = end;
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn take(bytes: &mut &[u8]) -> Result<u32, RangesError> {
    let mut value = 0_u32;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(RangesError("cut off"))?;
        *bytes = rest;
        let low = u32::from(byte & 0x7f);
        if shift == 28 && low > 0xf {
            return Err(RangesError("number too large"));
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return if byte == 0 && shift > 0 { Err(RangesError("number not minimal")) } else { Ok(value) };
        }
    }
    Err(RangesError("number too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_nonsense() {
        let ranges = vec![0..1, 5..900, 901..u32::MAX];
        assert_eq!(decode(&encode(&ranges)), Ok(ranges));
        assert_eq!(decode(&[]), Ok(vec![]));
        for bad in
            [&[0x80][..], &[1], &[1, 0], &[0x80, 0x00, 1], &[0xff, 0xff, 0xff, 0xff, 0x1f, 1], &[0xff, 0xff, 0xff, 0xff, 0xf, 1]]
        {
            assert!(decode(bad).is_err(), "{bad:x?}");
        }
    }
}
