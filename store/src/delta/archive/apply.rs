//! Applying a patch of either kind to joined bases.

use std::fs::File;
use std::io::Read;
use std::thread;

use crossbeam_channel::bounded;

use super::super::apply::apply_unverified;
use super::super::base::ReadAt;
use super::super::format::{BaseRef, Limits, WINDOW_BYTES, damaged};
use super::folder::Folder;
use super::lists::{BaseList, read_targets};
use super::unfolded::Base;
use super::{CHOICES_BYTES_MAX, DEPTH_MAX, FIXED_BYTES, LISTS_BYTES_MAX, MAGIC};
use crate::chunk::fields::{check_start, len_at, u64_at};
use crate::cores;
use crate::error::{Error, Result};
use crate::parallel::BESIDE_BYTES_MIN;

/// Bytes of unfolded target that go to whoever folds it at once, and how many such pieces lie ready: a window of the patch.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_AHEAD: usize = WINDOW_BYTES / PIECE_BYTES;

/// Applies a patch of one base, `base` with `base_len` bytes, whether it sees through archives or not, and gives `sink` the target in order.
///
/// A patch that does keeps what it inflates in a file that `scratch` opens (empty, read and write): at most 256 MiB, and as much again in another if it has streams
/// of LZMA2. If it sees through archives in archives, that are twice as many files. Is to need at most 64 MiB of memory; agents with large
/// streams of LZMA2 were measured at up to 70 MB in all. What `sink` gets counts only once this returns well, and only if it has the digest that the caller expects.
///
/// # Errors
/// Damage, another base, limits, I/O, what `scratch` and `sink` return.
pub fn apply_joined(
    patch: &mut (dyn Read + Send),
    limits: &Limits,
    base: (&dyn ReadAt, u64),
    scratch: &mut (dyn FnMut() -> Result<File> + Send),
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    apply_nested(patch, limits, base, scratch, sink, DEPTH_MAX)
}

fn apply_nested(
    patch: &mut (dyn Read + Send),
    limits: &Limits,
    (base, base_len): (&dyn ReadAt, u64),
    scratch: &mut (dyn FnMut() -> Result<File> + Send),
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    depth: usize,
) -> Result<()> {
    let mut front = [0; MAGIC.len()];
    exactly(patch, &mut front)?;
    if front != MAGIC {
        let mut whole = front.chain(patch);
        let mut open = |asked: &BaseRef| if asked.len == base_len { Ok(base) } else { Err(other_base()) };
        return apply_unverified(&mut whole, limits, &mut open, sink).map(drop);
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Error::Limit { what: "the patch's depth of archives in archives".into(), limit: DEPTH_MAX.to_string() });
    };
    let mut fixed = [0; FIXED_BYTES];
    fixed[..MAGIC.len()].copy_from_slice(&front);
    exactly(patch, &mut fixed[MAGIC.len()..])?;
    check_start(&fixed, MAGIC, "the patch")?;
    let target_len = u64_at(&fixed, 20);
    if u64_at(&fixed, 12) != base_len {
        return Err(other_base());
    }
    if target_len > limits.target_bytes_max {
        let limit = format!("{} bytes", limits.target_bytes_max);
        return Err(Error::Limit { what: "the target of the patch".into(), limit });
    }
    let lists = lists(patch, len_at(&fixed, 28), len_at(&fixed, 32))?;
    let mut lists = lists.as_slice();
    let unfolded = Base::inflate(&BaseList::read(&mut lists)?, base, base_len, scratch)?;
    let targets = read_targets(&mut lists, &unfolded.streams)?;
    if lists.len() > CHOICES_BYTES_MAX {
        let limit = format!("{CHOICES_BYTES_MAX} bytes");
        return Err(Error::Limit { what: "the choices that the patch tells".into(), limit });
    }
    let mut folder = Folder::new(targets, lists, target_len, &unfolded, sink)?;
    if target_len < BESIDE_BYTES_MIN as u64 || cores() == 1 {
        apply_nested(patch, limits, (&unfolded, unfolded.len()), scratch, &mut |bytes| folder.push(bytes), depth)?;
        return folder.finish();
    }
    // What is made is decoded beside: neither waits for the other longer than for some pieces.
    thread::scope(|scope| {
        let (made, taken) = bounded::<Vec<u8>>(PIECES_AHEAD);
        let base = (&unfolded as &dyn ReadAt, unfolded.len());
        let making = scope.spawn(move || {
            let mut give = |bytes: &[u8]| {
                // Nobody takes it any more where folding failed: that is the error.
                let mut pieces = bytes.chunks(PIECE_BYTES);
                pieces.try_for_each(|piece| made.send(piece.to_vec())).map_err(|_| Error::Cancelled)
            };
            apply_nested(patch, limits, base, scratch, &mut give, depth)
        });
        let ended = taken.into_iter().try_for_each(|piece| folder.push(&piece));
        let made = making.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ended?;
        made?;
        folder.finish()
    })
}

fn other_base() -> Error {
    damaged("it is made of something else")
}

fn exactly(patch: &mut dyn Read, bytes: &mut [u8]) -> Result<()> {
    patch.read_exact(bytes).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged("it ends early"),
        _ => Error::Io { operation: "read the", path: "patch".into(), source },
    })
}

fn lists(patch: &mut dyn Read, len: usize, packed_len: usize) -> Result<Vec<u8>> {
    if len > LISTS_BYTES_MAX || packed_len > LISTS_BYTES_MAX {
        return Err(Error::Limit { what: "the patch's lists of streams".into(), limit: format!("{LISTS_BYTES_MAX} bytes") });
    }
    let mut packed = vec![0; packed_len];
    exactly(patch, &mut packed)?;
    let lists = zstd::bulk::decompress(&packed, len).map_err(|_| damaged("its lists of streams cannot be decompressed"))?;
    if lists.len() == len { Ok(lists) } else { Err(damaged("its lists of streams are shorter than it says")) }
}
