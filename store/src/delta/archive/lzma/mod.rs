//! LZMA2 streams, as xz writes them, so those of most Debian packages: read, and written again bit for bit.
//!
//! Compressors of this kind weigh many matches against each other, and need more memory for it than a receiver gives. So none of them is imitated: a
//! patch tells what the compressor made of each place, by what one made of the same content in the base, and by the nearest matches, see
//! [`Choices`]. What is made of a place is then coded as LZMA codes it, which leaves nothing to choose.

mod choices;
mod chunks;
mod finder;
mod guide;
mod model;
mod range;
mod replay;
mod trail;
mod window;
mod xz;

pub(super) use choices::Choices;
pub(super) use chunks::{CHUNK_BYTES_MAX, Chunks};
pub(super) use replay::Replay;
pub(super) use trail::{Trail, TrailMaker, rarity};
pub(super) use xz::{CHECK_LENS, XZ_MAGIC, block_header_len, stream_header_len};

/// Farthest match; a stream with farther ones, which levels 7 to 9 of xz may make of longer content, stays as it is.
const BACK_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests;
