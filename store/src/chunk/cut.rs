//! FastCDC v2020 with the parameters of the format, over a whole buffer or a stream.

use std::ops::Range;

use fastcdc::v2020::{FastCDC, Normalization};

use super::{CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

/// Iterates the chunk ranges of a whole file held in `bytes`; nothing for an empty file.
pub fn cut(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let len = first_cut(&bytes[start..], true);
        let range = start..start + len;
        start = range.end;
        (len > 0).then_some(range)
    })
}

/// Finds the length of the first chunk of `window`, a slice of a longer stream.
///
/// `window` must hold at least [`super::CHUNK_BYTES_MAX`] bytes unless `last` says that the stream ends with it. Returns 0 for an
/// empty window.
#[must_use]
pub fn first_cut(window: &[u8], last: bool) -> usize {
    debug_assert!(last || window.len() >= CHUNK_BYTES_MAX, "a window this short may be cut elsewhere than the whole file");
    // No cut depends on more than this, and bytes beyond it would make the same content cut differently by stream and by buffer.
    let window = &window[..window.len().min(CHUNK_BYTES_MAX)];
    let cutter = FastCDC::with_level(window, CHUNK_BYTES_MIN, CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, Normalization::Level1);
    cutter.cut(0, window.len()).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a xorshift generator: the same on every machine and for ever.
    fn generated(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn cut_points_are_pinned() {
        let ends: Vec<usize> = cut(&generated(1_000_001)).map(|range| range.end).collect();
        assert_eq!(
            ends,
            [44_750, 264_712, 364_837, 393_237, 484_666, 513_133, 532_150, 646_885, 735_049, 801_916, 954_199, 1_000_001]
        );
    }

    #[test]
    fn zeros_are_cut_at_the_maximum() {
        let ranges: Vec<_> = cut(&vec![0; CHUNK_BYTES_MAX * 2 + 7]).collect();
        assert_eq!(
            ranges,
            [0..CHUNK_BYTES_MAX, CHUNK_BYTES_MAX..CHUNK_BYTES_MAX * 2, CHUNK_BYTES_MAX * 2..CHUNK_BYTES_MAX * 2 + 7]
        );
    }

    #[test]
    fn short_files_are_one_chunk_and_empty_ones_none() {
        assert_eq!(cut(b"").count(), 0);
        assert_eq!(cut(&generated(CHUNK_BYTES_MIN)).collect::<Vec<_>>(), std::iter::once(0..CHUNK_BYTES_MIN).collect::<Vec<_>>());
    }

    #[test]
    fn a_stream_is_cut_as_the_whole() {
        for extra in [0, 1, 2, 3, 4095] {
            let bytes = generated(3 * CHUNK_BYTES_MAX + 12_345 + extra);
            let whole: Vec<_> = cut(&bytes).collect();
            let mut start = 0;
            let mut streamed = Vec::new();
            while start < bytes.len() {
                let end = bytes.len().min(start + CHUNK_BYTES_MAX);
                let len = first_cut(&bytes[start..end], end == bytes.len());
                streamed.push(start..start + len);
                start += len;
            }
            assert_eq!(streamed, whole);
        }
    }
}
