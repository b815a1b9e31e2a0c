//! Patches: what is changed is made from what is installed, where a server has built that; where not, or where a patch turns out useless,
//! records come instead.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use consign_store::manifest::ManifestFile;
use consign_store::restore::Seed;
use consign_store::{FileDigest, ManifestId, delta, fsx};

use super::content::Content;
use super::crew::{Crew, Patch};
use crate::agent::error::{Error, OverBudget, Result};
use crate::agent::job::{Effort, Job};
use crate::domain::Millis;
use crate::net::fetch::{Fetched, await_answer, fetch_patch};
use crate::net::rate::Rate;
use crate::net::{Client, blocking, clock};
use crate::policy::{Changed, Offered, Prefer, Terms, Way, way};
use crate::protocol::patches::{PatchAnswer, PatchInfo};

/// What decides between patches and records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<'a> {
    /// The machine's own choice.
    pub(super) prefer: Prefer,
    pub(super) terms: Terms,
    pub(super) rate: &'a Rate,
}

/// From which version to which.
pub(super) type Pair = (ManifestId, ManifestId);

/// What a server has of patches.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) answer: PatchAnswer,
    /// Those that are worth taking.
    pub(super) take: Vec<PatchInfo>,
    /// Those that are worth it while records bring a part of what they make.
    pub(super) share: Vec<Shared>,
}

/// A patch that makes the front of what is for it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) info: PatchInfo,
    pub(super) digest: FileDigest,
    pub(super) share: delta::Share,
}

/// What is left to each of `shared`.
pub(super) fn shares_of(shared: &[Shared]) -> Vec<delta::Share> {
    shared.iter().map(|shared| shared.share.clone()).collect()
}

impl Offer {
    fn none(reason: &str) -> Self {
        Self { answer: PatchAnswer::None { reason: reason.to_owned() }, take: Vec::new(), share: Vec::new() }
    }

    /// The parts of files that there are patches for, taken or not.
    fn parts(&self) -> Vec<delta::Part> {
        let PatchAnswer::Ready { set } = &self.answer else { return Vec::new() };
        set.iter().filter_map(|info| info.read()?.1.part()).collect()
    }

    /// The files of `target` that the patches that are taken make whole, by entry number.
    pub(super) fn makes_whole(&self, target: &ManifestFile) -> HashSet<u32> {
        let mut made: HashMap<u32, u64> = HashMap::new();
        for (_, scope) in self.take.iter().filter_map(PatchInfo::read) {
            let part = scope.part().map(|part| part.len);
            for entry in scope.entries() {
                let sum = made.entry(*entry).or_default();
                *sum = sum.saturating_add(part.unwrap_or(u64::MAX));
            }
        }
        let whole = |(entry, made): (u32, u64)| target.file_of(entry).is_some_and(|(size, ..)| made >= size).then_some(entry);
        made.into_iter().filter_map(whole).collect()
    }

    /// How many patches are taken, whole or for a part.
    pub(super) fn patches(&self) -> u64 {
        (self.take.len() + self.share.len()) as u64
    }

    /// What they make would cost as records, bytes.
    pub(super) fn records_bytes(&self) -> u64 {
        let whole = self.take.iter().map(|info| info.records_len);
        let shared = self.share.iter().map(|shared| shared.info.records_len / 1000 * u64::from(shared.share.permille));
        whole.chain(shared).fold(0, u64::saturating_add)
    }

    /// What the patches that are taken cost, bytes.
    pub(super) fn patch_bytes(&self) -> u64 {
        let shared = self.share.iter().map(|shared| &shared.info);
        self.take.iter().chain(shared).fold(0, |sum: u64, info| sum.saturating_add(info.len))
    }
}

impl Content {
    /// The versions that patches lead from and to; none for a first install.
    pub(super) fn pair(&self) -> Option<Pair> {
        let target = self.assembly.manifest().id();
        let base = self.seeds.first().map(|seed| seed.manifest.id())?;
        (base != target).then_some((base, target))
    }

    /// How long patches under construction are worth waiting for.
    ///
    /// # Errors
    /// The process is stopping.
    pub(super) async fn patience(&self, choice: Choice<'_>, effort: &Effort) -> Result<Duration> {
        // Whoever spares bytes waits as long whatever changed.
        let matters = !choice.terms.urgent && choice.terms.prefer(choice.prefer) == Prefer::Time;
        let changed = if matters && !self.seeds.is_empty() {
            let (assembly, seeds) = (Arc::clone(&self.assembly), Arc::clone(&self.seeds));
            // Where it cannot be counted, nothing is waited for.
            let changed = move |seed: &Seed| delta::changed_bytes(&seed.manifest, assembly.manifest()).unwrap_or(0);
            blocking::run("comparing versions", move || seeds.first().map_or(0, changed)).await?
        } else {
            0
        };
        let changed = Changed::of(changed, effort.full_wire_bytes, self.assembly.manifest().totals().bytes);
        Ok(choice.terms.patience(choice.prefer, changed, choice.rate.bytes_per_sec()))
    }

    /// Finds out which patches there are, or will be within `patience`.
    ///
    /// # Errors
    /// The budget is used up; that there is no word of patches is no error.
    pub(super) async fn offer(&self, client: &Client, job: &Job, choice: Choice<'_>, patience: Duration) -> Result<Offer> {
        // Once what is here was taken, it is too late for them.
        let Some((base, target)) = self.pair().filter(|_| !self.local_taken) else {
            let why =
                if self.seeds.is_empty() { "no version is installed to make them from" } else { "this version is installed" };
            return Ok(Offer::none(why));
        };
        let mut until = clock::now();
        let tell = |end| {
            until = end;
            show_wait(job, client, end);
        };
        let mut hurries = job.account.hurries();
        let answered = tokio::select! {
            answered = await_answer(client, base, target, patience, tell) => answered,
            Ok(()) = hurries.changed() => Ok(PatchAnswer::building(clock::now().until(until))),
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(error @ crate::net::Error::OverBudget { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "no word of patches; fetching records instead");
                return Ok(Offer::none(&error.to_string()));
            }
        };
        job.show_waited();
        let (mut take, mut share) = (Vec::new(), Vec::new());
        if let PatchAnswer::Ready { set } = &answer {
            let at_once = delta::apply_threads().min(set.len()) as u64;
            for info in set.iter().filter(|info| !job.account.is_useless(&info.digest)) {
                let Some((digest, scope)) = info.read() else { continue };
                match self.way(info, &scope, choice, at_once) {
                    Way::Patch => take.push(info.clone()),
                    // A budget is for what is planned, and who ends first is seen when it is done.
                    Way::Shared { permille } if choice.terms.max_bytes.is_none() => {
                        share.push(Shared { info: info.clone(), digest, share: delta::Share { scope, permille } });
                    }
                    Way::Shared { .. } | Way::Records => {}
                }
            }
        }
        Ok(Offer { answer, take, share })
    }

    /// Makes what the patches of `offer` can make of the installed version, each while the next ones are fetched; what is left is for records.
    ///
    /// # Errors
    /// This machine's disk, [`Error::Budget`]; a patch that cannot be had or used is no error.
    pub(super) async fn take_patches(
        self,
        client: &Client,
        job: &Job,
        (offer, terms): (Offer, Terms),
        effort: &mut Effort,
    ) -> Result<Self> {
        let Some(pair) = self.pair().filter(|_| !self.local_taken) else { return Ok(self) };
        let parts = offer.parts();
        let mut crew = Crew::default();
        let fetched = self.fetch_patches(client, job, pair, (offer.take, terms), effort, &mut crew).await;
        // Whatever came of that: nobody is left at work on the assembly.
        let applied = crew.end(job, &self.assembly).await;
        fetched.and(applied)?;
        if !parts.is_empty() {
            let assembly = Arc::clone(&self.assembly);
            blocking::run("joining parts of files", move || assembly.join_parts(&parts)).await??;
        }
        Ok(self)
    }

    async fn fetch_patches(
        &self,
        client: &Client,
        job: &Job,
        pair: Pair,
        (take, terms): (Vec<PatchInfo>, Terms),
        effort: &mut Effort,
        crew: &mut Crew,
    ) -> Result<()> {
        for info in take {
            let Some((digest, scope)) = info.read() else { continue };
            let (asked, makes) = (Arc::clone(&self.assembly), scope.clone());
            if !blocking::run("looking at what is staged", move || asked.wants_patched(&makes)).await?? {
                continue;
            }
            if let Some(max_bytes) = terms.max_bytes.filter(|_| !terms.allows(effort.spent_wire(), info.len)) {
                let (package, spent_bytes, planned_bytes) = (job.name(), effort.spent_wire(), Some(info.len));
                let over = OverBudget { package, spent_bytes, planned_bytes, max_bytes, begun: true, building: false };
                return Err(Error::Budget(over));
            }
            let (files, name) = (self.files_of(&info), info.digest.clone());
            let path = patch_path(job, digest)?;
            let fetched = self.fetch_patch(client, job, pair, (digest, info.len, &files), &path, &mut |_| true).await?;
            effort.content_bytes += fetched.wire_bytes;
            if fetched.whole {
                crew.begin(job, (&self.assembly, &self.seeds), Patch { path, scope, files, name, front: None }).await?;
            }
        }
        Ok(())
    }

    /// Fetches one patch into the file `path`, as far as `arrived` wants it; that it cannot be had is no error.
    pub(super) async fn fetch_patch(
        &self,
        client: &Client,
        job: &Job,
        (base, target): Pair,
        (digest, len, files): (FileDigest, u64, &str),
        path: &Path,
        arrived: &mut (dyn FnMut(u64) -> bool + Send),
    ) -> Result<FetchedPatch> {
        let Fetched { wire_bytes, end } = fetch_patch(client, base, target, (digest, len), path, arrived).await;
        match end.map_err(Error::from) {
            Ok(()) => Ok(FetchedPatch { wire_bytes, whole: true }),
            Err(error) if super::is_ours(&error) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "a patch cannot be had; fetching records instead");
                job.note(&format!("the patch for {files} could not be had, so they come as records: {error}"));
                Ok(FetchedPatch { wire_bytes, whole: false })
            }
        }
    }

    fn way(&self, info: &PatchInfo, scope: &delta::Scope, choice: Choice<'_>, at_once: u64) -> Way {
        let raw_len = scope.raw_bytes(self.assembly.manifest());
        let (patch_len, records_len) = (info.len, info.records_len);
        let (decisions, folded_bytes) = (info.decisions, info.folded_bytes);
        let fold_threads = delta::fold_threads() as u64;
        let offered = Offered { patch_len, records_len, raw_len, decisions, folded_bytes, at_once, fold_threads };
        way(choice.terms.prefer(choice.prefer), &offered, choice.rate.bytes_per_sec())
    }

    /// Names the files that a patch makes.
    pub(super) fn files_of(&self, info: &PatchInfo) -> String {
        let manifest = self.assembly.manifest();
        let first = info.targets.iter().find(|entry| manifest.file_of(**entry).is_some());
        let first = first.map_or("no file", |entry| manifest.path_of(*entry));
        match info.targets.len() {
            0 | 1 => first.to_owned(),
            files => format!("{first} and {} more", files - 1),
        }
    }
}

/// What came of a patch that was asked for.
pub(super) struct FetchedPatch {
    pub(super) wire_bytes: u64,
    /// It could be had, as far as it was wanted.
    pub(super) whole: bool,
}

/// Where patches lie until they are applied.
pub(super) fn patches_folder(job: &Job) -> PathBuf {
    job.folder.path().join("patches")
}

/// Where the patch `digest` lies; its folder is there.
pub(super) fn patch_path(job: &Job, digest: FileDigest) -> Result<PathBuf> {
    let folder = patches_folder(job);
    fsx::create_dir_durable(&folder)?;
    Ok(folder.join(digest.to_hex()))
}

fn show_wait(job: &Job, client: &Client, until: Millis) {
    job.show(|view| {
        view.reason = Some(format!("{} is building patches, which cost fewer bytes than records", client.server()));
        view.changes_when = Some("they are built, or take too long; --urgent does not wait".to_owned());
        view.next_attempt = Some(until);
    });
}
