//! One zstd frame to and from a buffer of known size, with one pair of contexts a thread.

use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};

thread_local! {
    /// The compressor and the level it is set to.
    static COMPRESSOR: RefCell<Option<(Compressor<'static>, i32)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses `raw` into `out` as one frame without checksum; fails when it does not fit. Returns the length of the frame.
pub(super) fn compress(raw: &[u8], level: i32, out: &mut [u8]) -> io::Result<usize> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let (compressor, set_level) = match slot {
            Some(there) => there,
            None => slot.insert((Compressor::new(level)?, level)),
        };
        if *set_level != level {
            compressor.set_compression_level(level)?;
            *set_level = level;
        }
        compressor.compress_to_buffer(raw, out)
    })
}

/// Decompresses `frame`, which must give exactly `raw_len` bytes; never writes or allocates more than that.
pub(super) fn decompress(frame: &[u8], raw_len: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(there) => there,
            None => slot.insert(Decompressor::new()?),
        };
        let mut raw = vec![0; raw_len];
        let written = decompressor.decompress_to_buffer(frame, raw.as_mut_slice())?;
        if written == raw_len { Ok(raw) } else { Err(io::Error::other("the frame holds fewer bytes than the header says")) }
    })
}
