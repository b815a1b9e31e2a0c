//! Packs: files of records; appended while open, never changed again once sealed, read through maps (byte layout: docs/formats.md).

mod footer;
pub(crate) mod map;
mod open;
mod sealed;
mod set;
mod sort;
mod walk;

use std::path::Path;

use bytes::Bytes;

pub(crate) use footer::{FooterLine, LINE_BYTES};
pub(crate) use open::OpenPack;
pub(crate) use sealed::SealedPack;
pub(crate) use set::{Mode, Pack, PackSet};
pub(crate) use walk::Found;

use crate::chunk::fields;
use crate::error::{Error, Result};

/// Most bytes of records in a pack, its header included: a fuller one is sealed and another begun.
pub const PACK_BYTES_MAX: u32 = 1 << 30;
/// Bytes of the header of a pack.
pub const PACK_HEADER_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"CNPK";
const HEADER_SUM_AT: usize = 16;
const HEADER_CONTEXT: &str = "consign 2026-11 v1 pack header";

/// Encodes the header of pack `number`.
///
/// ```text
/// 0 magic "CNPK"   4 version u16   6 hash u8   7 zero   8 required u16   10 optional u16   12 number u32   16 checksum ×16
/// ```
fn encode_header(number: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(PACK_HEADER_BYTES);
    fields::put_start(&mut header, MAGIC, 0);
    header.extend_from_slice(&number.to_le_bytes());
    header.extend_from_slice(&fields::sum(HEADER_CONTEXT, &[&header]));
    header
}

/// Checks the header of the pack at `path` and returns the pack's number.
fn parse_header(header: &[u8], path: &Path) -> Result<u32> {
    fields::check_start(header, MAGIC, &path.display().to_string())?;
    if header.len() < PACK_HEADER_BYTES {
        return Err(damaged(path, "it ends inside its header"));
    }
    if fields::sum(HEADER_CONTEXT, &[&header[..HEADER_SUM_AT]]) != header[HEADER_SUM_AT..PACK_HEADER_BYTES] {
        return Err(damaged(path, "the checksum of its header is wrong; move it away to open the store without its content"));
    }
    Ok(fields::u32_at(header, 12))
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::damaged(path.display().to_string(), why)
}

/// Names pack and offset in an error about a record.
fn at_record(path: &Path, offset: u64, error: Error) -> Error {
    let what = format!("the record at byte {offset} of {}", path.display());
    match error {
        Error::Damaged { what: inner, why } if inner == "record" => Error::Damaged { what, why },
        Error::Damaged { what: inner, why } => Error::Damaged { what, why: format!("{inner}: {why}") },
        Error::TooNew { why, .. } => Error::TooNew { what, why },
        other => other,
    }
}

/// The bytes that a read of `len` at `offset` takes of a map.
fn range_of(offset: u64, len: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(len)?)
}

/// Reads `len` bytes at `offset` of `file`.
fn read_at(file: &std::fs::File, path: &Path, offset: u64, len: usize) -> Result<Bytes> {
    let mut bytes = vec![0; len];
    match crate::fsx::read_exact_at(file, &mut bytes, offset) {
        Ok(()) => Ok(bytes.into()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(damaged(path, &format!("it ends before byte {}", offset + len as u64)))
        }
        Err(source) => Err(Error::Io { operation: "read", path: path.to_path_buf(), source }),
    }
}

/// Narrows an offset in a pack to the width it has in the formats.
fn offset32(offset: u64) -> u32 {
    u32::try_from(offset).expect("packs take no record that would end behind PACK_BYTES_MAX")
}
