//! Patches that see through deflate: most packages are archives, and of a changed archive hardly a compressed byte stays.
//!
//! Bases and target are *unfolded*: deflate streams that differ are inflated, the plain contents are patched, and the target's streams are
//! folded again, bit for bit. A stream that cannot be folded again stays as it is. A receiver needs no idea of archives: the patch says
//! where the streams are (docs/formats-archive.md).

mod apply;
mod build;
mod deflate;
mod find;
mod guess;
mod inflate;
mod lists;

pub use apply::apply_joined;
pub(super) use build::Unfolding;

/// Most plain bytes of the streams of all bases, or of the target.
const PLAIN_BYTES_MAX: usize = 256 << 20;
/// Most streams of the bases, or of the target.
const STREAMS_MAX: usize = 1 << 18;
/// Plain bytes after which the work of folding is measured.
const PLAIN_STEP_BYTES: usize = 64 << 10;
/// Places looked at for matches for each plain byte, above which folding takes too long.
const LOOKS_PER_BYTE_MAX: u64 = 512;
/// Longest lists of streams, bytes.
const LISTS_BYTES_MAX: usize = 8 << 20;

const MAGIC: [u8; 4] = *b"CNDU";
/// Bytes before the lists.
const FIXED_BYTES: usize = 36;

/// Most places that may be looked at while `plain` bytes are folded.
fn looks_max(plain: usize) -> u64 {
    (plain + PLAIN_STEP_BYTES) as u64 * LOOKS_PER_BYTE_MAX
}
