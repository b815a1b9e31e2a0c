//! Fixed-width little-endian fields and the checksums of structures, as every format here uses them.

use crate::error::{Error, Result};

/// The one major version of every format so far.
pub(crate) const VERSION: u16 = 1;
/// The hash algorithm byte of BLAKE3-256.
pub(crate) const HASH_BLAKE3: u8 = 1;
/// Bytes of a checksum of a structure.
pub(crate) const SUM_BYTES: usize = 16;

/// Copies `N` bytes from offset `at`; the caller has compared the length of `bytes` with the format before.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

/// Reads a `u16` at offset `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// Reads a `u32` at offset `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// Reads a `u64` at offset `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Reads a `u32` at offset `at` as a length or count.
pub(crate) fn len_at(bytes: &[u8], at: usize) -> usize {
    u32_at(bytes, at) as usize
}

/// Computes the checksum of a structure: the first 16 bytes of BLAKE3 in derive-key mode over the joined `parts`.
pub(crate) fn sum(context: &str, parts: &[&[u8]]) -> [u8; SUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    array_at(hasher.finalize().as_bytes(), 0)
}

/// Checks what every header starts with (magic at 0, version at 4, hash algorithm at 6, required features at 8); `what` is for the message.
pub(crate) fn check_start(bytes: &[u8], magic: [u8; 4], what: &str) -> Result<()> {
    if bytes.len() < 12 {
        return Err(Error::damaged(what, "it ends inside its header"));
    }
    if bytes[..4] != magic {
        return Err(Error::damaged(what, "it does not start with its magic bytes"));
    }
    let too_new = |why: String| Err(Error::TooNew { what: what.to_owned(), why });
    match (u16_at(bytes, 4), bytes[6], u16_at(bytes, 8)) {
        // Zeros are what a power cut leaves of a sector that was not written: no program will ever write them here.
        (0, ..) => Err(Error::damaged(what, "format version 0 does not exist")),
        (_, 0, _) => Err(Error::damaged(what, "hash algorithm 0 does not exist")),
        (version, ..) if version != VERSION => too_new(format!("format version {version}")),
        (_, hash, _) if hash != HASH_BLAKE3 => too_new(format!("hash algorithm {hash}")),
        (.., features) if features != 0 => too_new(format!("required features {features:#06x}")),
        _ => Ok(()),
    }
}

/// Bytes that every file and structure starts with.
pub(crate) const START_BYTES: usize = 12;

/// Makes what [`check_start`] checks: `detail` is the format's own byte at 7, optional features are 0.
pub(crate) const fn start(magic: [u8; 4], detail: u8) -> [u8; START_BYTES] {
    let [version_low, version_high] = VERSION.to_le_bytes();
    [magic[0], magic[1], magic[2], magic[3], version_low, version_high, HASH_BLAKE3, detail, 0, 0, 0, 0]
}

/// Appends [`start`].
pub(crate) fn put_start(out: &mut Vec<u8>, magic: [u8; 4], detail: u8) {
    out.extend_from_slice(&start(magic, detail));
}
