//! What the stages of a put could do if each had the machine for itself, and content to measure with.
//!
//! `limits measure FOLDER SCRATCH` prints seconds a stage: reading (files), cutting and hashing (FastCDC, BLAKE3) and compressing (zstd -3, runs of
//! 2 MiB) from memory on all cores, and writing what compression left to a file in SCRATCH by one thread, synced. The crates are called
//! directly, so a slow store cannot make its own limit look low. `limits bare FOLDER [FILE]` is what a put cannot do without, by all cores and nothing
//! else: it lists, reads, cuts and hashes, and writes what it read to FILE, synced. `limits text|noise FILE BYTES` and `limits package FOLDER BYTES` make
//! content.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use fastcdc::v2020::{FastCDC, Normalization};

/// What stops a measurement; only ever shown.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A piece of work of one thread, bytes: a large file counts as many.
const PIECE_BYTES: usize = 8 << 20;
/// Raw bytes of a record.
const RECORD_BYTES: usize = 2 << 20;
/// Chunk sizes of the format: least, average, most.
const CHUNK_BYTES: [usize; 3] = [16 << 10, 64 << 10, 256 << 10];
/// zstd's level.
const LEVEL: i32 = 3;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let answer = match words[..] {
        [] => {
            let folder = tempfile::tempdir()?;
            make(&folder.path().join("source"), 256 << 20)?;
            measure(&folder.path().join("source"), folder.path())?
        }
        ["measure", folder, scratch] => measure(Path::new(folder), Path::new(scratch))?,
        ["bare", folder] => bare(Path::new(folder), None)?,
        ["bare", folder, file] => bare(Path::new(folder), Some(Path::new(file)))?,
        ["text", file, bytes] => return text(Path::new(file), 0, bytes.parse()?),
        ["noise", file, bytes] => return noise(Path::new(file), 0, bytes.parse()?),
        ["package", folder, bytes] => return make(Path::new(folder), bytes.parse()?),
        _ => {
            return Err("use: limits [measure FOLDER SCRATCH | bare FOLDER [FILE] | text FILE BYTES | noise FILE BYTES | package FOLDER BYTES]".into());
        }
    };
    Ok(writeln!(std::io::stdout(), "{answer}")?)
}

fn measure(folder: &Path, scratch: &Path) -> Result<serde_json::Value> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    let (read, ()) = timed(|| {
        on_all_cores(files.len(), |number, buffer| {
            buffer.resize(PIECE_BYTES, 0);
            let mut file = File::open(&files[number])?;
            while file.read(buffer)? > 0 {}
            Ok(())
        })
    })?;
    let content = files.iter().map(fs::read).collect::<std::io::Result<Vec<_>>>()?;
    let bytes: usize = content.iter().map(Vec::len).sum();
    let pieces: Vec<&[u8]> = content.iter().flat_map(|file| file.chunks(PIECE_BYTES)).collect();
    let (hash, ()) = timed(|| {
        on_all_cores(pieces.len(), |number, _| {
            cut_and_hash(pieces[number]);
            Ok(())
        })
    })?;
    // Small files share a record.
    let joined = content.concat();
    drop(content);
    let runs: Vec<&[u8]> = joined.chunks(RECORD_BYTES).collect();
    let packed_bytes = AtomicU64::new(0);
    let (compress, ()) = timed(|| {
        on_all_cores(runs.len(), |number, buffer| {
            buffer.resize(zstd::zstd_safe::compress_bound(RECORD_BYTES), 0);
            let len = zstd::bulk::compress_to_buffer(runs[number], buffer, LEVEL)?;
            packed_bytes.fetch_add(len as u64, Ordering::Relaxed);
            Ok(())
        })
    })?;
    let stored = usize::try_from(packed_bytes.into_inner())?.min(joined.len());
    let path = scratch.join("limits.written");
    let (write, ()) = timed(|| {
        let mut file = File::create(&path)?;
        for part in joined[..stored].chunks(RECORD_BYTES) {
            file.write_all(part)?;
        }
        Ok(file.sync_all()?)
    })?;
    fs::remove_file(path)?;
    Ok(
        serde_json::json!({"files": files.len(), "bytes": bytes, "read": read, "cut and hash": hash, "compress": compress, "write": write}),
    )
}

fn bare(folder: &Path, copy: Option<&Path>) -> Result<serde_json::Value> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    let mut pieces = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let len = fs::symlink_metadata(file)?.len();
        let piece_at = |at| (number, at, usize::try_from(len - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES)));
        pieces.extend((0..len).step_by(PIECE_BYTES).map(piece_at));
    }
    let copy = copy.map(File::create).transpose()?;
    let end = AtomicU64::new(0);
    on_all_cores(pieces.len(), |number, buffer| {
        let (file, at, len) = pieces[number];
        buffer.resize(buffer.len().max(len), 0);
        let piece = &mut buffer[..len];
        File::open(&files[file])?.read_exact_at(piece, at)?;
        cut_and_hash(piece);
        match &copy {
            Some(copy) => Ok(copy.write_all_at(piece, end.fetch_add(len as u64, Ordering::Relaxed))?),
            None => Ok(()),
        }
    })?;
    copy.map(|copy| copy.sync_all()).transpose()?;
    Ok(serde_json::json!({"files": files.len(), "bytes": pieces.iter().map(|piece| piece.2).sum::<usize>()}))
}

fn cut_and_hash(piece: &[u8]) {
    let [min, avg, max] = CHUNK_BYTES;
    for chunk in FastCDC::with_level(piece, min, avg, max, Normalization::Level1) {
        std::hint::black_box(blake3::hash(&piece[chunk.offset..chunk.offset + chunk.length]));
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let begun = Instant::now();
    let result = work()?;
    Ok((begun.elapsed().as_secs_f64(), result))
}

/// Does `work` for each number below `count`, in as many threads as there are cores, each with a buffer of its own.
fn on_all_cores(count: usize, work: impl Fn(usize, &mut Vec<u8>) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut buffer = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            work(number, &mut buffer)?;
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Makes a package: a quarter in one file, the rest in files from 1 KiB to 1 MiB; text and noise by turns.
fn make(folder: &Path, bytes: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    noise(&folder.join("large.bin"), 1, bytes / 8)?;
    text(&folder.join("large.txt"), 1, bytes / 8)?;
    let mut left = bytes - bytes / 8 * 2;
    for number in 2.. {
        let len = (1024_u64 << (number % 11)).min(left);
        if len == 0 {
            break;
        }
        let part = folder.join(format!("part-{:03}", number / 100));
        fs::create_dir_all(&part)?;
        let make = if number % 2 == 0 { text } else { noise };
        make(&part.join(format!("file-{number}")), number, len)?;
        left -= len;
    }
    Ok(())
}

fn noise(path: &Path, seed: u64, bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut source = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    each_part(bytes, |part| {
        source.fill(part);
        Ok(file.write_all(part)?)
    })
}

/// Words of a small vocabulary in generated order, which compress about as prose does.
fn text(path: &Path, seed: u64, bytes: u64) -> Result<()> {
    let words: Vec<String> =
        (0..4096_u32).map(|word| format!("{:x} ", word.wrapping_mul(2_654_435_761) >> (word % 20))).collect();
    let mut file = File::create(path)?;
    let mut state = seed.wrapping_mul(0xd1b5_4a32_d192_ed03) ^ 0x9e37_79b9_7f4a_7c15;
    let mut waiting: Vec<u8> = Vec::new();
    each_part(bytes, |part| {
        while waiting.len() < part.len() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let word = words.get(usize::try_from(state % 4096)?).ok_or("no such word")?;
            waiting.extend_from_slice(word.as_bytes());
        }
        let rest = waiting.split_off(part.len());
        file.write_all(&std::mem::replace(&mut waiting, rest))?;
        Ok(())
    })
}

fn each_part(bytes: u64, mut part: impl FnMut(&mut [u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; RECORD_BYTES];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        part(&mut buffer[..now])?;
        left -= now as u64;
    }
    Ok(())
}
