//! Where the LZMA2 streams of an xz file are.

/// What an xz file begins with, and the length of its header.
pub(in super::super) const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const FILE_HEADER_BYTES: usize = 12;
/// Bytes of the checks between blocks that are used: none, CRC32, CRC64, SHA-256.
pub(in super::super) const CHECK_LENS: [usize; 4] = [0, 4, 8, 32];
/// Flags of a block header: how many filters but one, what is reserved; the two highest say whether either length is told.
const FILTERS: u8 = 0x03;
const RESERVED: u8 = 0x3c;
/// The only filter of such a block: LZMA2, with one byte of properties.
const LZMA2: &[u8] = &[0x21, 1];
const DICTIONARY_MAX: u8 = 40;
const CHECKSUM_BYTES: usize = 4;
const NUMBER_BYTES_MAX: usize = 9;

/// The length of the headers at the front of `header`, behind which the first block's stream begins, if an xz file with one begins there.
pub(in super::super) fn stream_header_len(header: &[u8]) -> Option<usize> {
    if !header.starts_with(XZ_MAGIC) {
        return None;
    }
    Some(FILE_HEADER_BYTES + block_header_len(header.get(FILE_HEADER_BYTES..)?)?)
}

/// The length of the block header at the front of `header`, behind which an LZMA2 stream begins; `None` if it is none, or has other filters.
pub(in super::super) fn block_header_len(header: &[u8]) -> Option<usize> {
    let (&size, &flags) = (header.first()?, header.get(1)?);
    let len = (usize::from(size) + 1) * 4;
    if size == 0 || flags & (FILTERS | RESERVED) != 0 {
        return None;
    }
    let mut fields = header.get(2..len.checked_sub(CHECKSUM_BYTES)?)?;
    for _ in 0..(flags >> 6).count_ones() {
        let number = fields.iter().take(NUMBER_BYTES_MAX).position(|byte| byte & 0x80 == 0)?;
        fields = &fields[number + 1..];
    }
    let [dictionary, padding @ ..] = fields.strip_prefix(LZMA2)? else { return None };
    (*dictionary <= DICTIONARY_MAX && padding.iter().all(|byte| *byte == 0)).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_known_and_others_are_not() {
        // xz -6 -T2, as dpkg-deb: both lengths.
        let threaded = [5, 0xc0, 0xd7, 0xe4, 0xba, 1, 0x80, 0x80, 0x80, 0x0c, 0x21, 1, 0x16, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(block_header_len(&threaded), Some(24));
        let plain = [2, 0, 0x21, 1, 0x16, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(block_header_len(&plain), Some(12));
        for (at, byte) in [(0, 0), (0, 1), (1, 1), (1, 4), (2, 4), (3, 2), (4, 41), (6, 1)] {
            let mut other = plain;
            other[at] = byte;
            assert_eq!(block_header_len(&other), None, "{at}");
        }
        assert!((0..plain.len()).all(|len| len >= 8 || block_header_len(&plain[..len]).is_none()));
        let file = [XZ_MAGIC, &[0, 4, 1, 2, 3, 4], &plain].concat();
        assert_eq!(stream_header_len(&file), Some(24));
    }
}
