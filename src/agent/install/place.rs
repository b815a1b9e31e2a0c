//! The end of the walk: the switch, and the record of it.

use std::ffi::OsStr;
use std::fs;

use consign_store::error::At as _;
use consign_store::restore::{self, Tally, Target};

use crate::agent::account::Spent;
use crate::agent::error::Result;
use crate::agent::folder::InstallFolder;
use crate::agent::install::Outcome;
use crate::agent::install::content::Content;
use crate::agent::install::patches::patches_folder;
use crate::agent::job::{Effort, Job};
use crate::agent::record::{Record, Switching, manifest_of};
use crate::net::blocking;
use crate::net::clock;
use crate::protocol::fleet::VersionInfo;
use crate::protocol::report::{Cost, InstallState, Traffic};

/// Puts a complete version in place and records it: first that it is about to be, then the switch, then that it is.
pub(super) async fn put(
    job: &Job,
    record: &mut Record,
    effort: &Effort,
    version: VersionInfo,
    content: Content,
) -> Result<Outcome> {
    let same = record.installed.as_ref().is_some_and(|installed| installed.manifest == version.manifest);
    if !same {
        job.show(|view| view.state = InstallState::Switching);
        let cost = cost(effort, &content.tally());
        record.switching = Some(Switching { version: version.clone(), cost });
        write(job, record).await?;
    }
    let tally = content.finish().await?;
    let already = same && tally.kept_bytes == tally.bytes;
    if already {
        return Ok(Outcome::Installed { already });
    }
    arrived(job, record, version, cost(effort, &tally));
    write(job, record).await?;
    let (folder, keep) = (job.folder.clone(), record.installed.as_ref().map(manifest_of).transpose()?);
    // Patches that were never applied are of no use to the next version.
    let _ = fs::remove_dir_all(patches_folder(job));
    blocking::run("clearing old manifests", move || clear(&folder, keep.map(|id| folder.manifest(id)).as_deref())).await??;
    Ok(Outcome::Installed { already })
}

/// Finishes what a kill interrupted between "about to be in place" and "in place", and corrects the record by what is.
///
/// # Errors
/// The switch journal is damaged, somebody else is at work there, or I/O.
pub(super) async fn settle_interrupted(job: &Job, record: &mut Record) -> Result<()> {
    let Some(switching) = record.switching.clone() else { return Ok(()) };
    let target = Target { dest: record.dest.clone(), work: job.folder.work(), update: record.installed.is_some() };
    let in_place = blocking::run("finishing a switch", move || restore::recover(&target)).await??;
    if in_place != Some(manifest_of(&switching.version)?) {
        return Ok(());
    }
    arrived(job, record, switching.version, switching.cost);
    write(job, record).await?;
    job.show(|view| view.installed.clone_from(&record.installed));
    Ok(())
}

/// Notes that `version` is in place.
fn arrived(job: &Job, record: &mut Record, version: VersionInfo, cost: Cost) {
    record.notes = job.account.notes();
    record.totals = record.totals.plus(&Traffic::of(&cost));
    record.installed = Some(version);
    record.switching = None;
    record.since = clock::now();
    record.cost = Some(cost);
}

async fn write(job: &Job, record: &Record) -> Result<()> {
    let (folder, record) = (job.folder.clone(), record.clone());
    blocking::run("recording an install", move || record.write(&folder)).await?
}

fn cost(effort: &Effort, tally: &Tally) -> Cost {
    let Spent { wire_bytes, socket_bytes, content_bytes } = effort.spent();
    let millis = effort.begun.map_or(0, |begun| begun.elapsed().as_millis());
    Cost {
        wire_bytes,
        socket_bytes,
        metadata_bytes: wire_bytes.saturating_sub(content_bytes),
        content_bytes,
        total_bytes: tally.bytes,
        kept_bytes: tally.kept_bytes,
        reused_bytes: tally.seed_bytes + tally.resumed_bytes,
        patched_bytes: tally.patch_bytes,
        fetched_bytes: tally.record_bytes,
        written_bytes: tally.bytes.saturating_sub(tally.kept_bytes),
        full_wire_bytes: effort.full_wire_bytes,
        millis: u64::try_from(millis).unwrap_or(u64::MAX),
    }
}

/// Removes the manifests of versions that are no longer installed.
fn clear(folder: &InstallFolder, keep: Option<&std::path::Path>) -> Result<()> {
    for entry in fs::read_dir(folder.path()).at("list", folder.path())? {
        let path = entry.at("list", folder.path())?.path();
        if path.extension() == Some(OsStr::new("manifest")) && Some(path.as_path()) != keep {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}
