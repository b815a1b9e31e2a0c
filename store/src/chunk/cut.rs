//! FastCDC v2020 with the parameters of the format, over a whole buffer or a stream.

use std::ops::Range;

/// Iterates the chunk ranges of a whole file held in `bytes`; nothing for an empty file.
pub fn cut(_bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    std::iter::empty()
}

/// Finds the length of the first chunk of `window`, a slice of a longer stream.
///
/// `window` must hold at least [`super::CHUNK_BYTES_MAX`] bytes unless `last` says that the stream ends with it. Returns 0 for an
/// empty window.
#[must_use]
pub fn first_cut(_window: &[u8], _last: bool) -> usize {
    todo!()
}
