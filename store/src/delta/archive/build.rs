//! Building a patch between unfolded contents.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::super::covers::Base;
use super::super::encode::encode_one;
use super::super::view::Views;
use super::find::{Coding, Stream, StreamDigest, Streams, zip_header_len};
use super::guess::Guesser;
use super::inflate::{Inflater, Wrapper};
use super::lists::{BaseList, BaseStream, Listed, Made, TargetStream, write_targets};
use super::lzma::{Chunks, Trail, TrailMaker, rarity};
use super::record::Recorder;
use super::{DEPTH_MAX, FIXED_BYTES, LISTS_BYTES_MAX, MAGIC};
use crate::chunk::fields::put_start;
use crate::error::{Error, Result};
use crate::id::FileDigest;
use crate::map::ReadOnlyMap;
use crate::unnamed::UnnamedWriter;

/// The zstd level of the lists.
const ZSTD_LEVEL: i32 = 19;

/// What applying a patch takes, besides copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApplyCost {
    /// Decisions that are decoded.
    pub decisions: u64,
    /// Plain bytes that are compressed, where the patch sees through archives, and as many as take as long as going through the streams of compressors
    /// that are not known.
    pub folded_bytes: u64,
}

/// Where a patch goes as it is made.
pub(in crate::delta) type PatchSink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// Builds the patch that makes `target` from `base`, which have the streams `found`, one that sees through deflate if that is of use, and gives it
/// to `sink`; what is unfolded lies in `views`. With the target is its digest, if it is known. Returns what applying it takes.
///
/// # Errors
/// I/O on `views`, what `sink` returns.
pub(in crate::delta) fn encode_joined(
    base: &Base<'_>,
    target: (&[u8], Option<FileDigest>),
    found: Streams,
    views: &Views,
    sink: PatchSink<'_>,
) -> Result<ApplyCost> {
    encode_nested(base, target, found, DEPTH_MAX, views, sink)
}

/// Builds a patch that sees through deflate at most `depth` times.
pub(super) fn encode_nested(
    base: &Base<'_>,
    target: (&[u8], Option<FileDigest>),
    found: Streams,
    depth: usize,
    views: &Views,
    sink: PatchSink<'_>,
) -> Result<ApplyCost> {
    let unfolding = if depth > 0 { Unfolding::of(base.bytes, target.0, found, views)? } else { None };
    match unfolding {
        Some(unfolding) => unfolding.encode(base.bytes, target.0, depth - 1, views, sink),
        None => encode_one(base, target, sink).map(|decisions| ApplyCost { decisions, folded_bytes: 0 }),
    }
}

/// How the streams of two contents are dealt with.
struct Unfolding {
    /// With whether they are patched.
    bases: Vec<(Stream, bool)>,
    targets: Vec<(Stream, Made)>,
    /// What the compressors of those chose that are replayed, and what replaying them takes, in plain bytes whose folding takes as long.
    choices: Vec<u8>,
    replaying: u64,
    /// What is patched: what lies between the streams of the base, then the plain content of those that are patched.
    base_view: ReadOnlyMap,
    /// How rare the anchors of the bases' streams of LZMA2 are.
    rarity: u8,
    /// The target without the streams that are kept, the others unfolded in their place.
    target_view: ReadOnlyMap,
}

/// The target's streams, as they are made.
struct Folded {
    targets: Vec<(Stream, Made)>,
    choices: Vec<u8>,
    replaying: u64,
    /// None if there is none that is folded again.
    view: Option<ReadOnlyMap>,
}

impl Unfolding {
    /// Finds the streams that stay and those that differ, and unfolds these; `None` if there is none that differs and can be folded again.
    fn of(base: &[u8], target: &[u8], found: Streams, views: &Views) -> Result<Option<Self>> {
        let Streams { bases, targets } = found;
        if targets.is_empty() {
            return Ok(None);
        }
        let wanted: HashSet<StreamDigest> = targets.iter().map(|stream| stream.digest).collect();
        let mut known = HashMap::new();
        let mut kept_or_patched = Vec::with_capacity(bases.len());
        for (at, stream) in bases.into_iter().enumerate() {
            kept_or_patched.push((stream, !wanted.contains(&stream.digest)));
            known.entry(stream.digest).or_insert(at);
        }
        let bases = kept_or_patched;
        let BaseView { view: base_view, trail, rarity } = BaseView::of(base, &bases, views)?;
        let Folded { targets, choices, replaying, view } = Folded::of(target, targets, &known, trail.as_ref(), views)?;
        Ok(view.map(|target_view| Self { bases, targets, choices, replaying, base_view, rarity, target_view }))
    }

    fn encode(self, base: &[u8], target: &[u8], depth: usize, views: &Views, sink: PatchSink<'_>) -> Result<ApplyCost> {
        let lists = self.lists(base);
        if lists.len() > LISTS_BYTES_MAX {
            return Err(Error::Limit { what: "the patch's lists of streams".into(), limit: format!("{LISTS_BYTES_MAX} bytes") });
        }
        let packed = zstd::bulk::compress(&lists, ZSTD_LEVEL).map_err(|source| Error::Io {
            operation: "compress lists of",
            path: "patch".into(),
            source,
        })?;
        let mut out = Vec::with_capacity(FIXED_BYTES + packed.len());
        put_start(&mut out, MAGIC, 0);
        out.extend((base.len() as u64).to_le_bytes());
        out.extend((target.len() as u64).to_le_bytes());
        out.extend((lists.len() as u32).to_le_bytes());
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend(packed);
        sink(&out)?;
        let folded = self.targets.iter().map(|(_, made)| if let Made::Folded { plain, .. } = made { *plain } else { 0 });
        let folded_bytes = folded.sum::<u64>() + self.replaying;
        let Self { base_view, target_view, .. } = self;
        let found = if depth > 0 { Streams::of(&base_view, &target_view) } else { Streams::default() };
        let inner = encode_nested(&Base::of(&base_view, None), (&target_view, None), found, depth, views, sink)?;
        Ok(ApplyCost { decisions: inner.decisions, folded_bytes: inner.folded_bytes + folded_bytes })
    }

    fn lists(&self, base: &[u8]) -> Vec<u8> {
        let base_gaps = gaps(self.bases.iter().map(|(stream, _)| *stream));
        let bases =
            base_gaps.zip(&self.bases).map(|(gap, &(stream, patched))| BaseStream { gap, plain: stream.plain as u64, patched });
        let bases: Vec<BaseStream> = bases.collect();
        let target_gaps = gaps(self.targets.iter().map(|(stream, _)| *stream));
        let targets: Vec<_> = target_gaps.zip(&self.targets).map(|(gap, &(_, made))| TargetStream { gap, made }).collect();
        let mut end = 0;
        let off = self.bases.iter().map(|(stream, _)| {
            let expected = end + base.get(end..).and_then(zip_header_len).unwrap_or(0);
            end = stream.start + stream.packed;
            (stream.start as u64).wrapping_sub(expected as u64)
        });
        let listed = |(off, &(stream, patched)): (u64, &(Stream, bool))| Listed { off, coding: stream.coding, patched };
        let mut lists = BaseList { streams: off.zip(&self.bases).map(listed).collect(), rarity: self.rarity }.write();
        lists.extend(write_targets(&targets, &bases));
        lists.extend(&self.choices);
        lists
    }
}

impl Folded {
    /// Finds out how `streams` of the target are made, but for those that cannot be; `known` are those of the base, and `trail` is what
    /// compressors made of some.
    fn of(
        target: &[u8],
        streams: Vec<Stream>,
        known: &HashMap<StreamDigest, usize>,
        trail: Option<&Trail>,
        views: &Views,
    ) -> Result<Self> {
        let (mut guesser, mut recorder, mut inflater) = (Guesser::default(), Recorder::default(), Inflater::new());
        let (mut targets, mut plain) = (Vec::with_capacity(streams.len()), Vec::new());
        let mut view = TargetView { target, at: 0, kept: Vec::new(), begun: None };
        for stream in streams {
            plain.clear();
            let (packed, len) = (stream.bytes(target), stream.plain as u64);
            let made = match (known.get(&stream.digest), stream.coding) {
                (Some(at), _) => Some(Made::Kept(*at)),
                (None, Coding::Deflate) => {
                    plain.reserve_exact(stream.plain);
                    unfold(&mut inflater, packed, &mut |bytes| plain.extend_from_slice(bytes));
                    let style = guesser.style_of(&plain, packed).map(|style| Made::Folded { plain: len, style });
                    style.or_else(|| recorder.record(&plain, packed).map(|habit| Made::Replayed { plain: len, habit }))
                }
                (None, Coding::Lzma2) => {
                    plain.reserve_exact(stream.plain);
                    recorder.record_lzma2(packed, trail, &mut plain).then_some(Made::Lzma2 { plain: len })
                }
            };
            let Some(made) = made else { continue };
            view.push(stream, made.plain().map(|_| plain.as_slice()), views)?;
            targets.push((stream, made));
        }
        let replaying = recorder.folded_bytes();
        Ok(Self { targets, choices: recorder.finish(), replaying, view: view.finish()? })
    }
}

/// The view of a target, begun with the first stream that is folded: most contents have none.
struct TargetView<'a> {
    target: &'a [u8],
    /// The end of the last stream.
    at: usize,
    /// What lies between those before it is begun.
    kept: Vec<Range<usize>>,
    begun: Option<UnnamedWriter>,
}

impl TargetView<'_> {
    /// Takes a stream that is kept, or its plain content.
    fn push(&mut self, stream: Stream, plain: Option<&[u8]>, views: &Views) -> Result<()> {
        let between = self.at..stream.start;
        self.at = stream.start + stream.packed;
        let view = match (&mut self.begun, plain) {
            (None, None) => {
                self.kept.push(between);
                return Ok(());
            }
            (None, Some(_)) => {
                let mut view = views.begin()?;
                std::mem::take(&mut self.kept).into_iter().try_for_each(|kept| view.push(&self.target[kept]))?;
                self.begun.insert(view)
            }
            (Some(view), _) => view,
        };
        view.push(&self.target[between])?;
        view.push(plain.unwrap_or_default())
    }

    fn finish(self) -> Result<Option<ReadOnlyMap>> {
        let Some(mut view) = self.begun else { return Ok(None) };
        view.push(&self.target[self.at..])?;
        view.finish().map(Some)
    }
}

/// The base as it is patched.
struct BaseView {
    /// What lies between its streams, then the plain content of those that are patched.
    view: ReadOnlyMap,
    /// What compressors made of those of LZMA2, if there are any.
    trail: Option<Trail>,
    rarity: u8,
}

impl BaseView {
    fn of(base: &[u8], streams: &[(Stream, bool)], views: &Views) -> Result<Self> {
        let (mut view, mut inflater) = (views.begin()?, Inflater::new());
        let mut at = 0;
        for (stream, _) in streams {
            view.push(&base[at..stream.start])?;
            at = stream.start + stream.packed;
        }
        view.push(&base[at..])?;
        let patched = || streams.iter().filter(|(_, patched)| *patched).map(|(stream, _)| *stream);
        let lzma2 = patched().filter(|stream| stream.coding == Coding::Lzma2).map(|stream| stream.plain).sum();
        let rarity = rarity(lzma2);
        let mut trail = if lzma2 > 0 { TrailMaker::new(views.open()?, rarity) } else { None };
        for stream in patched() {
            let mut taken = Ok(());
            let (coding, bytes) = (stream.coding, stream.bytes(base));
            let whole = match coding {
                Coding::Deflate => inflater.whole(Wrapper::None, bytes, &mut |plain| {
                    taken = view.push(plain);
                    taken.is_ok()
                }),
                Coding::Lzma2 => Chunks::whole(bytes, &mut |chunk, plain| {
                    taken = view.push(plain).and_then(|()| trail.iter_mut().try_for_each(|trail| trail.add(&chunk, plain)));
                    taken.is_ok()
                }),
            };
            taken?;
            debug_assert!(whole.is_ok(), "a stream that was found inflates");
        }
        Ok(Self { view: view.finish()?, trail: trail.map(TrailMaker::finish).transpose()?, rarity })
    }
}

/// Gives `sink` what the deflate stream `packed` stands for.
fn unfold(inflater: &mut Inflater, packed: &[u8], sink: &mut dyn FnMut(&[u8])) {
    let whole = inflater.whole(Wrapper::None, packed, &mut |bytes| {
        sink(bytes);
        true
    });
    debug_assert!(whole.is_ok(), "a stream that was found inflates");
}

/// Bytes between each stream and the one before.
fn gaps(streams: impl Iterator<Item = Stream>) -> impl Iterator<Item = u64> {
    let mut end = 0;
    streams.map(move |stream| {
        let gap = (stream.start - end) as u64;
        end = stream.start + stream.packed;
        gap
    })
}
