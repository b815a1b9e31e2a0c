//! Building a patch between unfolded contents.

use std::collections::HashSet;

use super::super::encode::encode;
use super::super::format::Limits;
use super::deflate::Style;
use super::find::{Stream, streams};
use super::guess::Guesser;
use super::inflate::Inflater;
use super::lists::{Folded, Unfolded, write_bases, write_targets};
use super::{FIXED_BYTES, LISTS_BYTES_MAX, MAGIC};
use crate::chunk::fields::put_start;
use crate::error::{Error, Result};

/// The zstd level of the lists.
const ZSTD_LEVEL: i32 = 19;

/// What is to be unfolded of two contents.
pub(in crate::delta) struct Unfolding {
    bases: Vec<Stream>,
    targets: Vec<(Stream, Style)>,
}

impl Unfolding {
    /// Finds the streams that differ; `None` if there is none that can be folded again.
    pub(in crate::delta) fn of(base: &[u8], target: &[u8]) -> Option<Self> {
        let targets = streams(target);
        if targets.is_empty() {
            return None;
        }
        let bases = streams(base);
        let known = digests(&bases, base);
        let wanted = digests(&targets, target);
        let differs = |stream: &Stream, of: &[u8], others: &HashSet<[u8; 32]>| !others.contains(&digest(*stream, of));
        let bases = bases.into_iter().filter(|stream| differs(stream, base, &wanted)).collect();
        let mut guesser = Guesser::default();
        let mut plain = Vec::new();
        let mut guess = |stream: Stream| {
            plain.clear();
            unfold(stream, target, &mut plain);
            guesser.style_of(&plain, stream.bytes(target)).map(|style| (stream, style))
        };
        let targets = targets.into_iter().filter(|stream| differs(stream, target, &known));
        let targets: Vec<_> = targets.filter_map(&mut guess).collect();
        (!targets.is_empty()).then_some(Self { bases, targets })
    }

    /// Builds the patch that makes `target` from `base`.
    ///
    /// # Errors
    /// Limits.
    pub(in crate::delta) fn encode(self, mut base: Vec<u8>, target: Vec<u8>) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let bases: Vec<Unfolded> =
            gaps(self.bases.iter()).zip(&self.bases).map(|(gap, stream)| Unfolded { gap, plain: stream.plain as u64 }).collect();
        let folded = |(gap, (stream, style)): (u64, &(Stream, Style))| Folded { gap, plain: stream.plain as u64, style: *style };
        let targets: Vec<Folded> = gaps(self.targets.iter().map(|(stream, _)| stream)).zip(&self.targets).map(folded).collect();
        let mut lists = write_bases(&bases);
        lists.extend(write_targets(&targets, &bases));
        if lists.len() > LISTS_BYTES_MAX {
            return Err(Error::Limit { what: "the patch's lists of streams".into(), limit: format!("{LISTS_BYTES_MAX} bytes") });
        }
        let packed = zstd::bulk::compress(&lists, ZSTD_LEVEL).map_err(|source| Error::Io {
            operation: "compress lists of",
            path: "patch".into(),
            source,
        })?;
        out.reserve(FIXED_BYTES + packed.len());
        put_start(&mut out, MAGIC, 0);
        out.extend((base.len() as u64).to_le_bytes());
        out.extend((target.len() as u64).to_le_bytes());
        out.extend((lists.len() as u32).to_le_bytes());
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend(packed);
        for stream in &self.bases {
            let plain = inflated(*stream, &base);
            base.extend(plain);
        }
        let view = self.view(&target);
        drop(target);
        out.extend(encode(&[&base], &view, &Limits::default())?);
        Ok(out)
    }

    /// The target with its streams unfolded in place.
    fn view(&self, target: &[u8]) -> Vec<u8> {
        let mut view = Vec::new();
        let mut at = 0;
        for (stream, _) in &self.targets {
            view.extend_from_slice(&target[at..stream.start]);
            unfold(*stream, target, &mut view);
            at = stream.start + stream.packed;
        }
        view.extend_from_slice(&target[at..]);
        view
    }
}

fn digest(stream: Stream, of: &[u8]) -> [u8; 32] {
    *blake3::hash(stream.bytes(of)).as_bytes()
}

fn digests(streams: &[Stream], of: &[u8]) -> HashSet<[u8; 32]> {
    streams.iter().map(|stream| digest(*stream, of)).collect()
}

/// Appends what a stream stands for.
fn unfold(stream: Stream, of: &[u8], out: &mut Vec<u8>) {
    let whole = Inflater::new().whole(stream.bytes(of), &mut |bytes| {
        out.extend_from_slice(bytes);
        true
    });
    debug_assert!(whole.is_some(), "a stream that was found inflates");
}

fn inflated(stream: Stream, of: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(stream.plain);
    unfold(stream, of, &mut plain);
    plain
}

/// Bytes between each stream and the one before.
fn gaps<'a>(streams: impl Iterator<Item = &'a Stream>) -> impl Iterator<Item = u64> {
    let mut end = 0;
    streams.map(move |stream| {
        let gap = (stream.start - end) as u64;
        end = stream.start + stream.packed;
        gap
    })
}
