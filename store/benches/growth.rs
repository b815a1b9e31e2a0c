//! How a store's cost grows with its chunks: `growth DIR COUNT` fills a store in DIR with COUNT records of one chunk of 64 bytes, and prints one
//! JSON object: what appending, opening, looking up, building the index again, and collecting 30 % garbage take. A version names the rest.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints its figures, none of them above 2^53"
)]

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use consign_store::chunk::record::encode;
use consign_store::chunk::{ChunkKind, VerifiedChunk, cut};
use consign_store::id::FileDigest;
use consign_store::manifest::codec::ManifestWriter;
use consign_store::manifest::entry::{Attributes, Entry, EntryKind};
use consign_store::manifest::path::SafePath;
use consign_store::manifest::recipe;
use consign_store::upkeep::{GcOptions, GcReport, Live, gc_paced};
use consign_store::{ChunkId, ManifestId, Result, Store};

/// Ids that are looked up, half of them absent.
const LOOKUPS: u64 = 1_000_000;
/// Records of a small publish.
const PUBLISH_RECORDS: u64 = 100;
/// Between two of them: they are to meet the collection, not to race it.
const PUBLISH_PAUSE: Duration = Duration::from_millis(20);
/// Small publishes whose median is taken while nothing else runs.
const PUBLISHES: usize = 50;
/// How often a collection that holds back looks up.
const LOOK: Duration = Duration::from_micros(100);

/// The chunk of this number, unlike all others.
fn chunk(number: u64) -> VerifiedChunk {
    let mut bytes = Vec::with_capacity(64);
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    for _ in 0..8 {
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ number;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    VerifiedChunk::hash(ChunkKind::Content, Bytes::from(bytes))
}

fn append(store: &Store, numbers: impl Iterator<Item = u64>) -> Result<()> {
    for number in numbers {
        store.append_encoded(encode(ChunkKind::Content, &[chunk(number)], 3)?)?;
    }
    store.sync()
}

/// Puts the manifest of a version with the chunks of these numbers into the store.
fn version(store: &Store, numbers: impl Iterator<Item = u64>) -> Result<ManifestId> {
    let mut writer = ManifestWriter::new(Vec::new())?;
    for number in numbers {
        let digest = FileDigest::from(chunk(number).id());
        let path = SafePath::parse(format!("{number:010}").as_bytes())?;
        writer.push(&Entry {
            path,
            attributes: Attributes { mode: 0o644 },
            kind: EntryKind::File { size: 64, digest, chunks: 1 },
        })?;
    }
    let bytes = Bytes::from(writer.finish()?.0);
    let chunks: Vec<_> = cut::cut(&bytes).map(|range| VerifiedChunk::hash(ChunkKind::Content, bytes.slice(range))).collect();
    let built = recipe::of_bytes(&bytes);
    for chunk in &chunks {
        store.append_encoded(encode(ChunkKind::Content, std::slice::from_ref(chunk), 3)?)?;
    }
    for page in &built.pages {
        store.append_encoded(encode(ChunkKind::RecipePage, std::slice::from_ref(page), 3)?)?;
    }
    store.sync()?;
    Ok(ManifestId::from(built.digest))
}

fn rss_anon_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Seconds that `work` took, and what it made.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let from = Instant::now();
    let made = work()?;
    Ok((from.elapsed().as_secs_f64(), made))
}

/// Small publishes from `next` on, until `stop` says so or there were enough; the medians, milliseconds, of those that upkeep is told of as a
/// hub or a site server tells it, and of those between them that it meets unawares.
fn publishes(store: &Store, next: &mut u64, count: usize, stop: &AtomicBool, busy: &AtomicBool) -> Result<[f64; 2]> {
    let mut took = [Vec::new(), Vec::new()];
    for number in 0..count {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let numbers = *next..*next + PUBLISH_RECORDS;
        *next = numbers.end;
        busy.store(number.is_multiple_of(2), Ordering::Relaxed);
        took[number % 2].push(timed(|| append(store, numbers))?.0 * 1e3);
        busy.store(false, Ordering::Relaxed);
        std::thread::sleep(PUBLISH_PAUSE);
    }
    Ok(took.map(|mut took| {
        took.sort_by(f64::total_cmp);
        took.get(took.len() / 2).copied().unwrap_or(0.0)
    }))
}

/// Collects what `kept` does not need: once to condemn, once to sweep. Holds back while somebody is busy.
fn collect(store: &Store, kept: ManifestId, busy: &AtomicBool) -> Result<GcReport> {
    let run = |options: GcOptions| {
        let mut pace = |_| {
            while busy.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
            }
            Ok(())
        };
        gc_paced(store, &options, &mut pace, || Ok(Live { whole: vec![kept], partial: Vec::new() }))
    };
    run(GcOptions::new(0, 1))?;
    run(GcOptions { rewrite_bytes_max: u64::MAX, poor_percent: 95, ..GcOptions::new(2, 1) })
}

fn measure(dir: &Path, count: u64) -> Result<BTreeMap<&'static str, f64>> {
    let mut figures = BTreeMap::from([("chunks", count as f64)]);
    let store = Store::open(dir)?;
    figures.insert("append_seconds", timed(|| append(&store, 0..count))?.0);
    drop(store);

    let ids: Vec<ChunkId> =
        (0..LOOKUPS).map(|n| chunk((n / 2).wrapping_mul(2_654_435_761) % count + (n % 2) * (1 << 40)).id()).collect();
    let before = rss_anon_bytes();
    let (seconds, store) = timed(|| Store::open(dir))?;
    figures.insert("open_seconds", seconds);
    let (seconds, found) =
        timed(|| ids.iter().try_fold(0_u64, |found, id| Ok(found + u64::from(store.contains(black_box(id))?))))?;
    assert!(found == LOOKUPS / 2, "{found} of {LOOKUPS} found");
    figures.insert("lookups_a_second", LOOKUPS as f64 / seconds);
    figures.insert("rss_anon_bytes_a_chunk", rss_anon_bytes().saturating_sub(before) as f64 / count as f64);
    drop((store, ids));

    fs::remove_dir_all(dir.join("index")).expect("an index to be built again");
    let (seconds, store) = timed(|| Store::open(dir))?;
    figures.insert("rebuild_seconds", seconds);

    let kept = version(&store, (0..count).filter(|number| number % 10 >= 3))?;
    let (never, busy, mut next) = (AtomicBool::new(false), AtomicBool::new(false), 1 << 50);
    figures.insert("publish_alone_millis", publishes(&store, &mut next, 2 * PUBLISHES, &never, &busy)?[0]);
    figures.insert("rss_anon_bytes_before_gc", rss_anon_bytes() as f64);
    store.seal()?;
    let done = AtomicBool::new(false);
    let (collecting, publishing, peak) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(rss_anon_bytes());
                std::thread::sleep(PUBLISH_PAUSE);
            }
            peak
        });
        let publishing = scope.spawn(|| publishes(&store, &mut next, usize::MAX, &done, &busy));
        let collecting = timed(|| collect(&store, kept, &busy));
        done.store(true, Ordering::Relaxed);
        (collecting, publishing.join().expect("no panic"), watching.join().expect("no panic"))
    });
    let (seconds, report) = collecting?;
    figures.insert("gc_seconds", seconds);
    figures.insert("gc_swept_chunks", report.chunks_swept as f64);
    figures.insert("gc_freed_bytes", report.freed_bytes as f64);
    let [told, unawares] = publishing?;
    figures.insert("publish_during_gc_millis", told);
    figures.insert("publish_unawares_during_gc_millis", unawares);
    figures.insert("gc_peak_rss_anon_bytes", peak as f64);
    Ok(figures)
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (Some(dir), Some(count)) = (words.next(), words.next().and_then(|word| word.parse().ok())) else {
        eprintln!("usage: growth DIR COUNT (a new folder, and how many chunks)");
        return;
    };
    match measure(Path::new(&dir), count) {
        Ok(figures) => {
            let fields: Vec<_> = figures.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            println!("{{{}}}", fields.join(", "));
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
