//! Applying patches while the next ones are fetched.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use consign_store::delta::{Front, Scope, apply_threads};
use consign_store::error::At as _;
use consign_store::restore::{Assembly, Seed};

use crate::agent::error::Result;
use crate::agent::job::Job;
use crate::net::blocking::{self, Work};
use crate::net::fetch::ArrivingReader;

/// A patch that was fetched, or is being fetched.
pub(super) struct Patch {
    pub(super) path: PathBuf,
    pub(super) scope: Scope,
    /// The files that it makes, for people.
    pub(super) files: String,
    /// By which it is blamed.
    pub(super) name: String,
    /// What is left to it, if records bring the rest of what it makes; it is applied while it arrives.
    pub(super) front: Option<(Arc<Front>, ArrivingReader)>,
}

/// Patches under way; [`Crew::end`] waits for them.
#[derive(Default)]
pub(super) struct Crew(VecDeque<Applying>);

struct Applying {
    work: Work<consign_store::Result<u64>>,
    files: String,
    name: String,
}

impl Crew {
    /// Begins to apply `patch` to the first of the seeds, as soon as one more may be under way.
    ///
    /// # Errors
    /// An earlier one met a full disk.
    pub(super) async fn begin(
        &mut self,
        job: &Job,
        (assembly, seeds): (&Arc<Assembly>, &Arc<Vec<Seed>>),
        patch: Patch,
    ) -> Result<()> {
        while self.0.len() >= apply_threads() {
            self.join(job, assembly).await?;
        }
        let (assembly, seeds) = (Arc::clone(assembly), Arc::clone(seeds));
        let Patch { path, scope, files, name, front } = patch;
        let arrived = Arc::clone(&job.arrived);
        let work = blocking::start("applying a patch", move || {
            let Some(seed) = seeds.first() else { return Ok(0) };
            if let Some((front, bytes)) = front {
                let progress = |new| {
                    arrived.fetch_add(new, Ordering::Relaxed);
                };
                return assembly.take_front(&mut BufReader::new(bytes), (&scope, &front), seed, &progress);
            }
            let file = File::open(&path).at("open", &path);
            let made = file.and_then(|file| assembly.take_patch(&mut BufReader::new(file), &scope, seed));
            // Applied or useless, it is not needed again.
            let _ = std::fs::remove_file(&path);
            made
        });
        self.0.push_back(Applying { work, files, name });
        Ok(())
    }

    /// Waits for all.
    ///
    /// # Errors
    /// As [`Crew::begin`]; all have ended even so.
    pub(super) async fn end(mut self, job: &Job, assembly: &Assembly) -> Result<()> {
        let mut ended = Ok(());
        while !self.0.is_empty() {
            ended = ended.and(self.join(job, assembly).await);
        }
        ended
    }

    /// Waits for the oldest.
    async fn join(&mut self, job: &Job, assembly: &Assembly) -> Result<()> {
        let Some(Applying { work, files, name }) = self.0.pop_front() else { return Ok(()) };
        match work.join().await? {
            Err(error) if error.is_disk_full() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a patch is useless");
                job.account.blame(&name);
                job.note(&format!("the patch for {files} was useless, so they come as records: {error}"));
            }
            Ok(_) => {}
        }
        job.show_taken(&assembly.tally());
        Ok(())
    }
}
