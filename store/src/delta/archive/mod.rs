//! Patches that see through deflate and LZMA2: most packages are archives, and of a changed archive hardly a compressed byte stays.
//!
//! Bases and target are *unfolded*: streams that differ are inflated, the plain contents are patched, and the target's streams are
//! folded again, bit for bit. Of a stream that no compressor known here makes, the patch tells what its compressor chose; one where that costs too much
//! stays as it is. A receiver needs no idea of archives: the patch says where the streams are (docs/formats.md).

mod apply;
mod build;
mod deflate;
mod find;
mod folder;
mod guess;
mod inflate;
mod lists;
mod lzma;
mod record;
mod unfolded;
mod work;

pub use apply::apply_joined;
pub use build::ApplyCost;
pub(super) use build::encode_joined;
pub(super) use find::{Streams, begins_as_archive, holds_xz};
pub use folder::fold_threads;

/// How often a patch may see through deflate: an archive, and archives in it.
const DEPTH_MAX: usize = 2;
/// Most plain bytes of the streams of all bases, or of the target.
const PLAIN_BYTES_MAX: usize = 256 << 20;
/// Most streams of the bases, or of the target.
const STREAMS_MAX: usize = 1 << 18;
/// Plain bytes that are folded at once.
const PLAIN_STEP_BYTES: usize = 64 << 10;
/// Longest lists of streams, bytes.
const LISTS_BYTES_MAX: usize = 12 << 20;

/// Most bytes of what compressors chose; part of the lists.
const CHOICES_BYTES_MAX: usize = 8 << 20;

const MAGIC: [u8; 4] = *b"CNDU";
/// Bytes before the lists.
const FIXED_BYTES: usize = 36;

#[cfg(test)]
mod tests;
