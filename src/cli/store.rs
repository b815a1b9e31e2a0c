//! `consign store …`: a store of chunks on this machine, without a fleet.

mod patches;
mod upkeep;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, Subcommand};
use consign_store::ingest::{self, Ingested, Options, Progress};
use consign_store::manifest::{Platform, Platforms};
use consign_store::restore::{self, Got};
use consign_store::{ManifestId, Store};
use serde::Serialize;

use super::error::CliError;
use super::output::Output;
use super::progress::{Bar, LOOK_MILLIS};
use super::{Context, human};

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Bring a folder into a store
    Put(Put),
    /// Restore a version from a store into a folder
    Get(Get),
    /// Count what a store holds
    Stats(Stats),
    /// Tell what an update between two versions costs
    Plan(patches::Plan),
    /// Build the patches between two versions: what servers run in the background
    #[command(hide = true)]
    Patch(patches::Patch),
    /// Free what no kept version needs
    Gc(upkeep::Gc),
    /// Read everything again and find damage
    Scrub(upkeep::Scrub),
    /// Store damaged chunks anew from another store
    Repair(upkeep::Repair),
}

/// Brings a folder into a store.
#[derive(Debug, Args)]
pub struct Put {
    /// The store's folder; made if it is absent
    store: PathBuf,
    /// The folder to bring in
    dir: PathBuf,
    /// Read every byte, not only files whose size, times or inode changed
    #[arg(long)]
    verify: bool,
    /// File of the stat cache (default: one a source folder, inside the store)
    #[arg(long, value_name = "FILE")]
    stat_cache: Option<PathBuf>,
}

/// Restores a version.
#[derive(Debug, Args)]
pub struct Get {
    /// The store's folder
    store: PathBuf,
    /// The manifest, b3:…
    manifest: ManifestId,
    /// The folder to make
    dest: PathBuf,
    /// A folder with similar content to take from
    #[arg(long, value_name = "DIR")]
    seed: Option<PathBuf>,
    /// Threads to work with; 0 means one a core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// Counts.
#[derive(Debug, Args)]
pub struct Stats {
    /// The store's folder
    store: PathBuf,
}

/// What `store put` answers: a contract.
#[derive(Debug, Serialize)]
struct PutAnswer {
    manifest: String,
    files: u64,
    bytes: u64,
    chunks: u64,
    new_chunks: u64,
    new_stored_bytes: u64,
    seconds: f64,
}

/// What `store get` answers: a contract.
#[derive(Debug, Serialize)]
struct GetAnswer {
    files: u64,
    bytes: u64,
    from_seed_bytes: u64,
    from_store_bytes: u64,
    seconds: f64,
}

/// What `store stats` answers.
#[derive(Debug, Serialize)]
struct StatsAnswer {
    packs: u64,
    records: u64,
    chunks: u64,
    raw_bytes: u64,
    stored_bytes: u64,
}

/// Runs the command.
pub fn run(command: &StoreCommand, context: &Context) -> Result<(), CliError> {
    match command {
        StoreCommand::Put(put) => self::put(put, &context.output),
        StoreCommand::Get(get) => self::get(get, &context.output),
        StoreCommand::Stats(stats) => self::stats(stats, &context.output),
        StoreCommand::Plan(plan) => patches::plan(plan, &context.output),
        StoreCommand::Patch(patch) => patches::patch(patch, &context.output),
        StoreCommand::Gc(gc) => upkeep::gc(gc, &context.output),
        StoreCommand::Scrub(scrub) => upkeep::scrub(scrub, &context.output),
        StoreCommand::Repair(repair) => upkeep::repair(repair, &context.output),
    }
}

fn put(put: &Put, output: &Output) -> Result<(), CliError> {
    let started = Instant::now();
    // The source first: a mistyped folder leaves no store behind.
    let source = put.dir.canonicalize().map_err(|e| CliError::io("find", &put.dir, &e).hint("name an existing folder"))?;
    let store = Store::open(&put.store)?;
    let options = Options {
        workers: 0,
        platforms: Platforms::default().with(Platform::Linux),
        stat_cache: Some(put.stat_cache.clone().map_or_else(|| stat_cache(&store, &source), Ok)?),
        verify: put.verify,
        now_unix_nanos: now_unix_nanos(),
        progress: Arc::new(Progress::default()),
    };
    let made = ingest_with_bar(&store, &put.dir, &options, output)?;
    let answer = PutAnswer {
        manifest: made.manifest.to_string(),
        files: made.files,
        bytes: made.bytes,
        chunks: made.chunks,
        new_chunks: made.new_chunks,
        new_stored_bytes: made.new_stored_bytes,
        seconds: started.elapsed().as_secs_f64(),
    };
    output.answer(&answer, |output| {
        output.line(&answer.manifest)?;
        output.note(&format!(
            "{}, {} in {}; {} new, {} stored; {}",
            human::things(answer.files, "file"),
            human::size(answer.bytes),
            human::things(answer.chunks, "chunk"),
            human::count(answer.new_chunks),
            human::size(answer.new_stored_bytes),
            human::duration(answer.seconds)
        ));
        Ok(())
    })
}

/// Ingests in a thread of its own where a bar is to be drawn meanwhile.
fn ingest_with_bar(store: &Store, dir: &Path, options: &Options, output: &Output) -> Result<Ingested, CliError> {
    if !output.draws_progress() {
        return Ok(ingest::ingest(store, dir, options)?);
    }
    let bar = Bar::start(output, "reading");
    let progress = &options.progress;
    let result = std::thread::scope(|scope| {
        let work = scope.spawn(|| ingest::ingest(store, dir, options));
        while !work.is_finished() {
            let said = format!("{} of {} files", progress.files_done.load(Relaxed), progress.files_total.load(Relaxed));
            bar.show(&said, progress.bytes_done.load(Relaxed), progress.bytes_total.load(Relaxed));
            std::thread::sleep(Duration::from_millis(LOOK_MILLIS));
        }
        work.join()
    });
    drop(bar);
    match result {
        Ok(made) => Ok(made?),
        Err(fault) => std::panic::resume_unwind(fault),
    }
}

/// Names the stat cache of a source folder: one a folder, by its real path.
fn stat_cache(store: &Store, source: &Path) -> Result<PathBuf, CliError> {
    let folder = store.dir().join("stat");
    std::fs::create_dir_all(&folder).map_err(|e| CliError::io("create", &folder, &e))?;
    Ok(folder.join(&blake3::hash(source.as_os_str().as_bytes()).to_hex()[..32]))
}

fn now_unix_nanos() -> i128 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(i128::MAX))
}

fn get(get: &Get, output: &Output) -> Result<(), CliError> {
    let started = Instant::now();
    let store = Store::open_read_only(&get.store)?;
    let Got { files, bytes, from_seed_bytes, from_store_bytes } =
        restore::get(&store, get.manifest, &get.dest, get.seed.as_deref(), get.threads)?;
    let answer = GetAnswer { files, bytes, from_seed_bytes, from_store_bytes, seconds: started.elapsed().as_secs_f64() };
    output.answer(&answer, |output| {
        output.line(&format!(
            "{}, {}: {} from the seed, {} from the store; {}",
            human::things(files, "file"),
            human::size(bytes),
            human::size(from_seed_bytes),
            human::size(from_store_bytes),
            human::duration(answer.seconds)
        ))
    })
}

fn stats(stats: &Stats, output: &Output) -> Result<(), CliError> {
    let found = Store::open_read_only(&stats.store)?.stats()?;
    let answer = StatsAnswer {
        packs: found.packs,
        records: found.records,
        chunks: found.chunks,
        raw_bytes: found.raw_bytes,
        stored_bytes: found.stored_bytes,
    };
    output.answer(&answer, |output| {
        output.line(&format!(
            "{}, {} raw, {} stored in {} of {}",
            human::things(answer.chunks, "chunk"),
            human::size(answer.raw_bytes),
            human::size(answer.stored_bytes),
            human::things(answer.records, "record"),
            human::things(answer.packs, "pack")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(value: &impl Serialize) -> Vec<String> {
        let text = serde_json::to_string(value).unwrap();
        text.split('"').skip(1).step_by(2).map(str::to_owned).filter(|word| word != "m").collect()
    }

    #[test]
    fn the_json_fields_are_the_contract() {
        let put =
            PutAnswer { manifest: "m".into(), files: 0, bytes: 0, chunks: 0, new_chunks: 0, new_stored_bytes: 0, seconds: 0.0 };
        assert_eq!(keys(&put), ["manifest", "files", "bytes", "chunks", "new_chunks", "new_stored_bytes", "seconds"]);
        let get = GetAnswer { files: 0, bytes: 0, from_seed_bytes: 0, from_store_bytes: 0, seconds: 0.0 };
        assert_eq!(keys(&get), ["files", "bytes", "from_seed_bytes", "from_store_bytes", "seconds"]);
    }
}
