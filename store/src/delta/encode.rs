//! Building a patch.

use std::borrow::Cow;
use std::thread;

use crossbeam_channel::bounded;

use super::coder::Encoder;
use super::covers::{self, Base};
use super::format::{BASES_MAX, BaseRef, Frame, Header, Limits, WINDOW_BYTES};
use super::literals::Packer;
use super::window::{Bases, Cover, Literals, Model, PAD};
use crate::cores;
use crate::error::{Error, Result};
use crate::id::FileDigest;
use crate::manifest::recipe;
use crate::parallel::BESIDE_BYTES_MIN;

/// Literal bytes of a window above which they are compressed apart: models are slow where much is new, and no better there.
const MODELLED_BYTES_MAX: usize = 128 << 10;
/// Literal bytes that lie apart which take as long to read as a decision.
const BYTES_A_DECISION: u64 = 2;
/// Covers that a thread which looks for them gives at once, and how often before it waits: 1.5 MiB in all.
const BATCH_COVERS: usize = 512;
const BATCHES_MAX: usize = 128;
/// Shorter stretches between two covers of the same alignment are made part of them.
const CLOSE_BYTES: u64 = 8;

/// Builds a patch that makes `target` from `bases`, joined.
///
/// The same input gives the same bytes. Needs up to 2 bytes of memory for each base byte, at most 256 MiB, and one more for each
/// byte of several bases; bases and target may be maps of sealed files. Cuts and hashes bases and target; whoever knows their
/// digests calls [`encode_known`].
///
/// # Errors
/// More or longer bases, or a longer target, than `limits` allow.
pub fn encode(bases: &[&[u8]], target: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    if bases.len() > BASES_MAX {
        return Err(Error::Limit { what: "the patch's count of bases".into(), limit: BASES_MAX.to_string() });
    }
    let named = bases.iter().map(|base| BaseRef { digest: recipe::of_bytes(base).digest, len: base.len() as u64 }).collect();
    let header = Header { target: recipe::of_bytes(target).digest, target_len: target.len() as u64, bases: named };
    encode_known(&header, bases, target, limits)
}

/// Builds a patch as [`encode`] with digests that are known already.
///
/// # Errors
/// As [`encode`]; and [`Error::Damaged`] if `bases` or `target` have not the lengths of `header`.
pub fn encode_known(header: &Header, bases: &[&[u8]], target: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    limits.check(header)?;
    let fits = header.target_len == target.len() as u64
        && header.bases.iter().map(|base| base.len).eq(bases.iter().map(|base| base.len() as u64));
    if !fits {
        return Err(Error::damaged(
            "the content to make a patch of",
            "its length is not the one that is known of it; read it again",
        ));
    }
    let joined = match bases {
        [one] => Cow::Borrowed(*one),
        several => Cow::Owned(several.concat()),
    };
    let mut out = Vec::new();
    encode_into(header, &Base::of(&joined, None), target, &mut |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    })
    .map(|_| out)
}

/// Builds a patch of one base and gives it to `sink` as it is made; returns how many decisions whoever applies it has to decode. `digest` is the target's
/// if it is known.
pub(super) fn encode_one(
    base: &Base<'_>,
    (target, digest): (&[u8], Option<FileDigest>),
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let named = vec![base.named()];
    let digest = digest.unwrap_or_else(|| recipe::of_bytes(target).digest);
    let header = Header { target: digest, target_len: target.len() as u64, bases: named };
    Limits::default().check(&header)?;
    encode_into(&header, base, target, sink)
}

/// Builds the patch window by window: no more is held of it, or of what is known of likeness. Covers of a long target are looked for ahead, by
/// another thread.
fn encode_into(header: &Header, base: &Base<'_>, target: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
    if target.len() < BESIDE_BYTES_MIN || cores() == 1 {
        return encode_covers(header, base, target, covers::find(base, target), sink);
    }
    thread::scope(|scope| {
        let (found, taken) = bounded::<Vec<Cover>>(BATCHES_MAX);
        scope.spawn(move || {
            let mut covers = covers::find(base, target);
            loop {
                let batch: Vec<_> = covers.by_ref().take(BATCH_COVERS).collect();
                // Nobody takes it any more where the patch is given up.
                if batch.is_empty() || found.send(batch).is_err() {
                    break;
                }
            }
        });
        encode_covers(header, base, target, taken.into_iter().flatten(), sink)
    })
}

/// Builds the patch of these `covers`.
fn encode_covers(
    header: &Header,
    base: &Base<'_>,
    target: &[u8],
    covers: impl Iterator<Item = Cover>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let mut covers = join_close(covers).peekable();
    sink(&header.encode())?;
    let mut encoding = Encoding { model: Model::new(header.target_len), packer: None, held: Held(base.bytes) };
    let mut own = Vec::new();
    let (mut start, mut decisions) = (0, 0);
    for window in target.chunks(WINDOW_BYTES) {
        let end = start + window.len() as u64;
        own.clear();
        while let Some(cover) = covers.next_if(|cover| cover.target + cover.len <= end) {
            own.push(clip(&cover, start, end));
        }
        own.extend(covers.peek().filter(|cover| cover.target < end).map(|cover| clip(cover, start, end)));
        let (encoded, decided) = encoding.window(start, window, &own)?;
        sink(&encoded)?;
        decisions += decided;
        start = end;
    }
    Ok(decisions)
}

/// Makes one cover of neighbours with the same alignment and hardly anything between them.
fn join_close(mut covers: impl Iterator<Item = Cover>) -> impl Iterator<Item = Cover> {
    let mut last = covers.next();
    std::iter::from_fn(move || {
        let mut joined = last.take()?;
        for cover in covers.by_ref() {
            if cover.base.wrapping_sub(cover.target) != joined.base.wrapping_sub(joined.target)
                || cover.target - (joined.target + joined.len) >= CLOSE_BYTES
            {
                last = Some(cover);
                break;
            }
            joined.len = cover.target + cover.len - joined.target;
        }
        Some(joined)
    })
}

fn clip(cover: &Cover, start: u64, end: u64) -> Cover {
    let from = cover.target.max(start);
    let to = (cover.target + cover.len).min(end);
    Cover { target: from, base: cover.base + (from - cover.target), len: to - from }
}

/// What goes from window to window.
struct Encoding<'a> {
    model: Model,
    /// From the first window on whose literals lie apart.
    packer: Option<Packer>,
    held: Held<'a>,
}

impl Encoding<'_> {
    /// Encodes a window; returns it with the count of its decisions.
    fn window(&mut self, start: u64, window: &[u8], covers: &[Cover]) -> Result<(Vec<u8>, u64)> {
        let Self { model, packer, held } = self;
        let covered: u64 = covers.iter().map(|cover| cover.len).sum();
        let mut encoder = Encoder::new();
        let mut buffer = window.to_vec();
        let apart = window.len() - usize::try_from(covered).unwrap_or(usize::MAX) > MODELLED_BYTES_MAX;
        let new = if apart { bare(start, window, covers) } else { Vec::new() };
        let packed = if apart { Packer::pack(packer, &new)? } else { Vec::new() };
        let mut literals = if apart { Literals::Apart(&new) } else { Literals::Modelled };
        model.window(&mut encoder, held, start, &mut buffer, covers, &mut literals)?;
        let decided = encoder.decisions + new.len() as u64 / BYTES_A_DECISION;
        let decisions = encoder.finish();
        let frame = Frame { decisions: decisions.len(), literals: packed.len() }.encode();
        Ok(([&frame[..], &decisions, &packed].concat(), decided))
    }
}

/// Collects the bytes between covers.
fn bare(start: u64, window: &[u8], covers: &[Cover]) -> Vec<u8> {
    let mut bare = Vec::new();
    let mut at = 0;
    for cover in covers {
        let to = usize::try_from(cover.target - start).unwrap_or(usize::MAX).min(window.len());
        bare.extend(&window[at..to]);
        at = (to + usize::try_from(cover.len).unwrap_or(usize::MAX)).min(window.len());
    }
    bare.extend(&window[at..]);
    bare
}

/// The joined bases in memory.
struct Held<'a>(&'a [u8]);

impl Bases for Held<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, position: u64, padded: &mut [u8]) -> Result<()> {
        let from = usize::try_from(position).expect("covers lie within a slice");
        let first = from.saturating_sub(PAD);
        let last = (from + padded.len() - PAD).min(self.0.len());
        let skip = PAD - (from - first);
        let len = last - first;
        padded[..skip].fill(0);
        padded[skip..skip + len].copy_from_slice(&self.0[first..last]);
        padded[skip + len..].fill(0);
        Ok(())
    }
}
