//! What the patches between two versions cost one core: building them from a store, and applying them to the old folder in memory.
//!
//! Both are told in the processor time of all their threads, which other work on the machine does not lengthen much. Threads that run at once share
//! caches and memory: for what one core does, let it use one.
//!
//! `patches STORE BASE TARGET FOLDER` wants both manifests in the store and the old version's folder, and prints one JSON object. What an
//! application makes is cut, hashed and compared as on an agent, and then dropped: nothing is written.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use consign_store::delta::{Limits, ReadAt, Span, apply_joined, build_set};
use consign_store::manifest::ManifestFile;
use consign_store::{Error, ManifestId, Store};
use rustix::time::{ClockId, clock_gettime};

/// What stops a measurement; only ever shown.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [store, base, target, folder] = words[..] else {
        return Ok(writeln!(std::io::stderr(), "use: patches STORE BASE TARGET FOLDER, see scripts/bench.sh deltas")?);
    };
    let store = Store::open_read_only(Path::new(store))?;
    let answer = measure(&store, base.parse()?, target.parse()?, Path::new(folder))?;
    Ok(writeln!(std::io::stdout(), "{answer}")?)
}

fn measure(store: &Store, base: ManifestId, target: ManifestId, folder: &Path) -> Result<serde_json::Value> {
    let scratch = tempfile::tempdir()?;
    let out = scratch.path().join("patches");
    fs::create_dir(&out)?;
    let base = ManifestFile::extract(store, base, &scratch.path().join("base"))?;
    let target = ManifestFile::extract(store, target, &scratch.path().join("target"))?;
    let begun = processor_seconds();
    let set = build_set(store, &base, &target, &out)?;
    let encode_seconds = processor_seconds() - begun;
    let (mut apply_seconds, mut made_bytes, mut patch_bytes) = (0.0, 0_u64, 0);
    let (mut decisions, mut folded_bytes) = (0, 0);
    for built in &set {
        let old = built.scope.bases.iter().map(|span| stretch(&base, *span, folder)).collect::<Result<Vec<_>>>()?;
        let (old, patch) = (old.concat(), fs::read(out.join(built.digest.to_hex()))?);
        let begun = processor_seconds();
        let whole = (&old.as_slice() as &dyn ReadAt, old.len() as u64);
        let mut inflated =
            || tempfile::tempfile().map_err(|source| Error::Io { operation: "open", path: "a file".into(), source });
        apply_joined(&mut patch.as_slice(), &Limits::default(), whole, &mut inflated, &mut |part| {
            made_bytes += std::hint::black_box(part).len() as u64;
            Ok(())
        })?;
        apply_seconds += processor_seconds() - begun;
        patch_bytes += built.len;
        decisions += built.cost.decisions;
        folded_bytes += built.cost.folded_bytes;
    }
    Ok(serde_json::json!({
        "patches": set.len(), "patch_bytes": patch_bytes, "made_bytes": made_bytes,
        "encode_seconds": encode_seconds, "apply_seconds": apply_seconds,
        "decisions": decisions, "folded_bytes": folded_bytes,
    }))
}

/// Reads what a patch is made of.
fn stretch(base: &ManifestFile, span: Span, folder: &Path) -> Result<Vec<u8>> {
    let (entry, from, len) = match span {
        Span::File(entry) => (entry, 0, u64::MAX),
        Span::Part { entry, from, len } => (entry, from, len),
    };
    let mut file = fs::File::open(folder.join(base.path_of(entry)))?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How long the threads of this process have run.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds and nanoseconds of one measurement")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}
