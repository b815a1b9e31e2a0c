//! `consign store gc|scrub|repair`: keeping a store small and whole.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use consign_store::upkeep::{self, DamagedChunk, GcOptions};
use consign_store::{ManifestId, Store};
use serde::Serialize;

use crate::cli::error::CliError;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::progress::Bar;

/// How long dead chunks wait unless said otherwise: a day.
const GRACE_SECS: u32 = 24 * 60 * 60;
/// Damaged chunks that are listed one by one for a person.
const LISTED_MAX: usize = 20;

/// Frees what no kept version needs.
#[derive(Debug, Args)]
pub struct Gc {
    /// The store's folder
    store: PathBuf,
    /// The versions to keep, b3:…
    #[arg(long, value_name = "MANIFEST", required = true, num_args = 1..)]
    keep: Vec<ManifestId>,
    /// Seconds that a chunk must have been dead for
    #[arg(long, value_name = "SECS", default_value_t = GRACE_SECS)]
    grace: u32,
    /// Change nothing, only say what would be freed
    #[arg(long)]
    dry_run: bool,
}

/// Reads everything again.
#[derive(Debug, Args)]
pub struct Scrub {
    /// The store's folder
    store: PathBuf,
    /// Most bytes read in a second
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

/// Stores damaged chunks anew.
#[derive(Debug, Args)]
pub struct Repair {
    /// The store's folder
    store: PathBuf,
    /// A store that has the right bytes
    #[arg(long, value_name = "STORE")]
    from: PathBuf,
}

/// What `store gc` answers: a contract.
#[derive(Debug, Serialize)]
struct GcAnswer {
    dry_run: bool,
    freed_bytes: u64,
    copied_bytes: u64,
    packs_unlinked: u64,
    packs_rewritten: u64,
    packs_kept: u64,
    chunks_swept: u64,
    chunks_waiting: u64,
    waiting_bytes: u64,
    chunks_missing: u64,
    seconds: f64,
}

/// A damaged chunk in an answer.
#[derive(Debug, Serialize)]
struct DamagedLine {
    id: String,
    file: Option<PathBuf>,
    offset: u32,
}

/// A pack with a damaged header or footer in an answer.
#[derive(Debug, Serialize)]
struct DamagedPackLine {
    file: Option<PathBuf>,
    why: String,
}

/// What `store scrub` answers: a contract.
#[derive(Debug, Serialize)]
struct ScrubAnswer {
    records: u64,
    bytes: u64,
    corrected: u64,
    damaged: Vec<DamagedLine>,
    damaged_packs: Vec<DamagedPackLine>,
    seconds: f64,
}

/// What `store repair` answers: a contract.
#[derive(Debug, Serialize)]
struct RepairAnswer {
    repaired: u64,
    packs_rewritten: u64,
    damaged: Vec<DamagedLine>,
    seconds: f64,
}

/// Runs `store gc`.
pub fn gc(gc: &Gc, output: &Output) -> Result<(), CliError> {
    let started = Instant::now();
    let store = open(&gc.store)?;
    let grace_millis = i64::from(gc.grace) * 1000;
    let options = GcOptions { dry_run: gc.dry_run, ..GcOptions::new(human::now().0, grace_millis) };
    let done = upkeep::gc(&store, &options, || Ok(gc.keep.clone()))?;
    let answer = GcAnswer {
        dry_run: gc.dry_run,
        freed_bytes: done.freed_bytes,
        copied_bytes: done.copied_bytes,
        packs_unlinked: done.packs_unlinked,
        packs_rewritten: done.packs_rewritten,
        packs_kept: done.packs_kept,
        chunks_swept: done.chunks_swept,
        chunks_waiting: done.chunks_waiting,
        waiting_bytes: done.waiting_raw_bytes,
        chunks_missing: done.chunks_missing,
        seconds: started.elapsed().as_secs_f64(),
    };
    output.answer(&answer, |output| {
        output.line(&format!(
            "{} {}: {} removed, {} written anew ({} copied); {}",
            human::size(answer.freed_bytes),
            if gc.dry_run { "would be freed" } else { "freed" },
            human::things(answer.packs_unlinked, "pack"),
            human::count(answer.packs_rewritten),
            human::size(answer.copied_bytes),
            human::duration(answer.seconds)
        ))?;
        if answer.chunks_waiting > 0 {
            output.note(&format!(
                "{} ({} raw) are dead and wait: for their grace period, or for their pack to be mostly dead",
                human::things(answer.chunks_waiting, "chunk"),
                human::size(answer.waiting_bytes)
            ));
        }
        if answer.packs_kept > 0 {
            let packs = human::things(answer.packs_kept, "pack");
            output.warning(&format!("{packs} could not be emptied: run `consign store scrub {}`", gc.store.display()));
        }
        if answer.chunks_missing > 0 {
            let chunks = human::things(answer.chunks_missing, "chunk");
            output.warning(&format!("{chunks} of the kept versions are not in this store"));
        }
        Ok(())
    })
}

/// Runs `store scrub`.
pub fn scrub(scrub: &Scrub, output: &Output) -> Result<(), CliError> {
    let started = Instant::now();
    let store = open(&scrub.store)?;
    let total = store.stats()?.stored_bytes;
    let bar = Bar::start(output, "reading");
    let mut read = 0_u64;
    let found = upkeep::scrub(&store, &mut |bytes| {
        read += bytes;
        bar.show("reading", read, total.max(read));
        if let Some(rate) = scrub.rate {
            std::thread::sleep(due(read, rate).saturating_sub(started.elapsed()));
        }
        Ok(())
    });
    drop(bar);
    let found = found?;
    let remaining = store.damaged()?;
    let pack = |pack: &upkeep::DamagedPack| DamagedPackLine { file: store.pack_path(pack.number), why: pack.why.clone() };
    let answer = ScrubAnswer {
        records: found.records,
        bytes: found.bytes,
        corrected: found.corrected,
        damaged: lines(&store, &remaining),
        damaged_packs: found.damaged_packs.iter().map(pack).collect(),
        seconds: started.elapsed().as_secs_f64(),
    };
    output.answer(&answer, |output| {
        output.line(&format!(
            "{} and {} read; {} damaged; {}",
            human::things(answer.records, "record"),
            human::size(answer.bytes),
            human::things(answer.damaged.len() as u64, "chunk"),
            human::duration(answer.seconds)
        ))?;
        for DamagedPackLine { file, why } in &answer.damaged_packs {
            output.line(&format!("pack {}: {why}", shown(file.as_ref())))?;
        }
        list(output, &answer.damaged)
    })?;
    if remaining.is_empty() && answer.damaged_packs.is_empty() { Ok(()) } else { Err(damage_remains(&scrub.store)) }
}

/// Runs `store repair`.
pub fn repair(repair: &Repair, output: &Output) -> Result<(), CliError> {
    let started = Instant::now();
    let store = open(&repair.store)?;
    let other = Store::open_read_only(&repair.from)?;
    let done = upkeep::repair(&store, &mut upkeep::from_store(&other))?;
    let answer = RepairAnswer {
        repaired: done.repaired,
        packs_rewritten: done.packs_rewritten,
        damaged: lines(&store, &done.remaining),
        seconds: started.elapsed().as_secs_f64(),
    };
    output.answer(&answer, |output| {
        output.line(&format!(
            "{} repaired, {} written anew, {} damaged still; {}",
            human::things(answer.repaired, "chunk"),
            human::things(answer.packs_rewritten, "pack"),
            human::count(answer.damaged.len() as u64),
            human::duration(answer.seconds)
        ))?;
        list(output, &answer.damaged)
    })?;
    if done.remaining.is_empty() { Ok(()) } else { Err(damage_remains(&repair.store)) }
}

/// Opens a store that must be there: upkeep makes none.
fn open(store: &std::path::Path) -> Result<Store, CliError> {
    drop(Store::open_read_only(store)?);
    Ok(Store::open(store)?)
}

/// Returns when `bytes` may have been read at `rate` bytes a second, from the start.
fn due(bytes: u64, rate: u64) -> Duration {
    let millis = u128::from(bytes) * 1000 / u128::from(rate.max(1));
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

fn lines(store: &Store, damaged: &[DamagedChunk]) -> Vec<DamagedLine> {
    let line = |chunk: &DamagedChunk| DamagedLine {
        id: chunk.id.to_string(),
        file: store.pack_path(chunk.at.record.pack),
        offset: chunk.at.record.offset,
    };
    damaged.iter().map(line).collect()
}

fn shown(file: Option<&PathBuf>) -> String {
    file.map_or_else(|| "that is gone".to_owned(), |file| file.display().to_string())
}

fn list(output: &Output, damaged: &[DamagedLine]) -> Result<(), CliError> {
    for DamagedLine { id, file, offset } in damaged.iter().take(LISTED_MAX) {
        output.line(&format!("{id} in the record at byte {offset} of {}", shown(file.as_ref())))?;
    }
    let more = damaged.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        output.line(&format!("… and {} more (--json lists all)", human::count(more as u64)))?;
    }
    Ok(())
}

fn damage_remains(store: &std::path::Path) -> CliError {
    CliError::failed(format!("{} is damaged", store.display())).code("damaged").hint(
        "run `consign store repair` with --from and a store that has the content, or publish the content again; what is damaged is not used",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_held() {
        assert_eq!(due(3_000_000, 1_000_000), Duration::from_secs(3));
        assert_eq!(due(0, 1), Duration::ZERO);
        assert_eq!(due(u64::MAX, 1), Duration::from_millis(u64::MAX));
    }
}
