//! The content of a chosen version: opened once an attempt, filled from one source after the other.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consign_store::chunk::record::VerifiedRecord;
use consign_store::error::At as _;
use consign_store::manifest::Layout;
use consign_store::manifest::file::ManifestFile;
use consign_store::restore::{Assembly, Look, Seed, Tally, Target, build_table};
use consign_store::{ManifestId, fsx};
use tempfile::TempDir;

use super::Aim;
use crate::agent::error::{Error, Result};
use crate::agent::folder::InstallFolder;
use crate::agent::job::{Effort, Job};
use crate::agent::record::{Record, manifest_of};
use crate::net::blocking::Work;
use crate::net::fetch::{Fetched, Sink, fetch_chunks, fetch_manifest, fetch_recipes};
use crate::net::rate::Rate;
use crate::net::{Client, blocking};
use crate::trust::tuf::TargetInfo;

/// How old a look may be that an update goes by; after a longer wait it looks again.
pub(in crate::agent) const LOOK_AGE_MAX: Duration = Duration::from_secs(10);

/// A look that is under way, and since when.
type LookWork = (Instant, Work<Option<Look>>);

/// The target tree and what it takes content from.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) assembly: Arc<Assembly>,
    pub(super) seeds: Arc<Vec<Seed>>,
    pub(super) local_taken: bool,
    /// A look at what is installed, under way.
    look: Option<LookWork>,
    /// The work folder of what is installed.
    pub(super) work: PathBuf,
    /// Where a plan does its work; gone with it.
    _scratch: Option<TempDir>,
}

/// Where the files of an attempt are.
struct Site {
    manifest: PathBuf,
    target: Target,
    scratch: Option<TempDir>,
}

impl Site {
    /// The package's own folder, for an install.
    fn own(job: &Job, record: &Record, id: ManifestId) -> consign_store::Result<Self> {
        fsx::create_dir_durable(job.folder.path())?;
        let target = Target { dest: record.dest.clone(), work: job.folder.work(), update: record.installed.is_some() };
        Ok(Self { manifest: job.folder.manifest(id), target, scratch: None })
    }

    /// A temporary folder, for a plan: it changes nothing.
    fn scratch(id: ManifestId) -> consign_store::Result<Self> {
        let dir = tempfile::Builder::new().prefix("consign-plan-").tempdir().at("create a folder in", std::env::temp_dir())?;
        let target = Target { dest: dir.path().join("dest"), work: dir.path().join("work"), update: false };
        Ok(Self { manifest: dir.path().join(format!("{}.manifest", id.to_hex())), target, scratch: Some(dir) })
    }
}

impl Content {
    /// Opens the assembly of the version `target`, fetching its manifest from `client` unless it is here; in a temporary folder for a plan.
    ///
    /// # Errors
    /// The source failed or lied, the manifest is not the signed one, the destination is in the way, or I/O.
    pub(super) async fn open(
        job: &Job,
        (target, aim): (&TargetInfo, Aim),
        mut prepared: Prepared,
        record: &Record,
        client: &Client,
    ) -> Result<Self> {
        let id = target.manifest;
        let site = if aim == Aim::Planned { Site::scratch(id)? } else { Site::own(job, record, id)? };
        let installed = prepared.opened().await.take();
        let (seeds, look) = installed.map_or_else(Default::default, |installed| (installed.seeds, installed.look));
        let (manifest, layout) = match prepared.coming.filter(|coming| coming.manifest.id() == id) {
            Some(coming) => (coming.manifest, Some(coming.layout)),
            None => (bring_manifest(job, &site.manifest, &seeds, target, client).await?, None),
        };
        let (sha256, work) = (target.sha256, job.folder.work());
        let opened = blocking::run("opening an assembly", move || {
            if manifest.sha256() != sha256 {
                return Ok(None);
            }
            let layout = layout.map_or_else(|| Layout::of(&manifest), Ok)?;
            let assembly = Assembly::open_laid_out(&site.target, (manifest, layout))?;
            assembly.learn_recipes(&seeds)?;
            let assembly = Arc::new(assembly);
            Ok::<_, consign_store::Error>(Some(Self { assembly, seeds, local_taken: false, look, work, _scratch: site.scratch }))
        });
        opened.await??.ok_or_else(|| Error::Unsigned {
            server: client.server().to_owned(),
            package: record.name.clone(),
            version: target.version,
            why: "the manifest's SHA-256 is another one".to_owned(),
        })
    }

    /// Fetches the recipes that are missing, but for the files `patched`: what patches make needs none.
    ///
    /// # Errors
    /// The source failed, lied, or left some out; or I/O.
    pub(super) async fn fetch_recipes(&self, client: &Client, patched: &HashSet<u32>, effort: &mut Effort) -> Result<()> {
        if self.local_taken {
            return Ok(());
        }
        let missing = self.missing_recipes(patched).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let assembly = Arc::clone(&self.assembly);
        let sink: Sink = Arc::new(move |record: VerifiedRecord| {
            record.chunks().try_for_each(|page| assembly.add_page(page.id(), page.bytes()))
        });
        let fetched = fetch_recipes(client, self.assembly.manifest(), &missing, sink, &AtomicU64::new(0)).await;
        counted(fetched, effort)?;
        self.all_came(self.missing_recipes(patched).await?.is_empty(), client, "recipes")
    }

    async fn missing_recipes(&self, patched: &HashSet<u32>) -> Result<Vec<Range<u32>>> {
        let assembly = Arc::clone(&self.assembly);
        let missing = blocking::run("looking for recipes", move || assembly.missing_recipes()).await?;
        if patched.is_empty() {
            return Ok(missing);
        }
        let wanted = missing.into_iter().flatten().filter(|entry| !patched.contains(entry));
        Ok(wanted.map(|entry| entry..entry + 1).collect())
    }

    /// Takes what this machine has: files in place, what an interrupted run staged, content of the installed version.
    ///
    /// # Errors
    /// I/O on the target, too little space.
    pub(super) async fn take_local(self, job: &Job) -> Result<Self> {
        if self.local_taken {
            return Ok(self);
        }
        let (mut assembly, seeds) = (sole(self.assembly)?, self.seeds);
        if let Some((begun, look)) = self.look
            && let Some(look) = look.join().await?
            && begun.elapsed() < LOOK_AGE_MAX
        {
            assembly.looked(look);
        }
        let drawn = Arc::clone(&seeds);
        let taken = blocking::run("taking what is here", move || assembly.take_local(&drawn).map(|()| assembly)).await??;
        job.show_total(taken.missing_bytes());
        job.show_taken(&taken.tally());
        Ok(Self { assembly: Arc::new(taken), seeds, local_taken: true, look: None, work: self.work, _scratch: None })
    }

    /// Gives up what was begun and holds nothing yet.
    ///
    /// # Errors
    /// I/O.
    pub(super) async fn discard(self) -> Result<()> {
        let assembly = sole(self.assembly)?;
        Ok(blocking::run("clearing a staging folder", move || assembly.discard()).await??)
    }

    /// Fetches the chunks that are missing, verified and written as they arrive.
    ///
    /// # Errors
    /// The source failed, lied, or left some out; or I/O.
    pub(super) async fn fetch_chunks(&self, client: &Client, job: &Job, rate: &Rate, effort: &mut Effort) -> Result<()> {
        let missing = self.missing().await?;
        if missing.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let fetched = self.fetch_ranges(client, job, &missing).await;
        rate.saw(fetched.wire_bytes, begun.elapsed());
        counted(fetched, effort)?;
        self.all_came(self.missing().await?.is_empty(), client, "chunks")
    }

    /// Fetches the chunks at ordinals `ranges`.
    pub(super) async fn fetch_ranges(&self, client: &Client, job: &Job, ranges: &[Range<u32>]) -> Fetched {
        let (assembly, arrived) = (Arc::clone(&self.assembly), Arc::clone(&job.arrived));
        let sink: Sink = Arc::new(move |record: VerifiedRecord| {
            arrived.fetch_add(assembly.accept(&record)?, Ordering::Relaxed);
            Ok(())
        });
        fetch_chunks(client, self.assembly.manifest().id(), ranges, sink, &AtomicU64::new(0)).await
    }

    pub(super) async fn missing(&self) -> Result<Vec<Range<u32>>> {
        let assembly = Arc::clone(&self.assembly);
        Ok(blocking::run("looking for chunks", move || assembly.missing()).await?)
    }

    pub(super) fn all_came(&self, all: bool, client: &Client, what: &str) -> Result<()> {
        let why = || format!("left out some {what} of {}", self.assembly.manifest().id());
        if all { Ok(()) } else { Err(Error::Useless { server: client.server().to_owned(), why: why() }) }
    }

    /// What came from where so far.
    pub(super) fn tally(&self) -> Tally {
        self.assembly.tally()
    }

    /// Puts the complete tree in place.
    ///
    /// # Errors
    /// Something is missing, or I/O.
    pub(super) async fn finish(self) -> Result<Tally> {
        let assembly = sole(self.assembly)?;
        Ok(blocking::run("putting a version in place", move || assembly.finish()).await??)
    }
}

/// Longest manifest that is fetched before its version is ready, bytes: what comes then is not asked whether it is worth it.
const COMING_BYTES_MAX: u64 = 16 << 20;

/// The manifest of a version that is about to be ready, as signed.
#[derive(Debug)]
struct Coming {
    manifest: ManifestFile,
    layout: Layout,
}

impl Coming {
    /// Takes the manifest of `target` from here or from `client`; none where it is not the signed one.
    async fn fetch(job: &Job, seeds: Arc<Vec<Seed>>, target: &TargetInfo, client: &Client) -> Result<Option<Self>> {
        let manifest = bring_manifest(job, &job.folder.manifest(target.manifest), &seeds, target, client).await?;
        let (sha256, work) = (target.sha256, job.folder.work());
        let lay_out = move || {
            if manifest.sha256() != sha256 {
                return Ok(None);
            }
            let layout = Layout::of(&manifest)?;
            seeds.first().map_or(Ok(()), |seed| build_table(&work, (&manifest, &layout), seed))?;
            Ok::<_, consign_store::Error>(Some(Self { manifest, layout }))
        };
        Ok(blocking::run("laying out a version", lay_out).await??)
    }
}

/// What is known of the installed version before the next one is.
#[derive(Debug)]
pub(super) struct Installed {
    /// It alone.
    seeds: Arc<Vec<Seed>>,
    look: Option<LookWork>,
}

/// The installed version, being opened and looked at while servers are asked, or before; nothing if there is none.
#[derive(Debug)]
pub(in crate::agent) struct Prepared {
    /// Which version, and where.
    of: Option<(ManifestId, PathBuf)>,
    begun: Instant,
    /// It is being opened.
    work: Option<Work<Option<Installed>>>,
    /// When that has ended, and if it can be used.
    installed: Option<Installed>,
    /// Of the next version, if it came before that was ready.
    coming: Option<Box<Coming>>,
}

impl Prepared {
    /// Begins to open what `record` says, and to look at its files unless it is only for a plan.
    pub(super) fn begin(folder: &InstallFolder, record: &Record, aim: Aim) -> Self {
        let id = record.installed.as_ref().and_then(|installed| manifest_of(installed).ok());
        let work = id.map(|id| {
            let (root, work, path) = (record.dest.clone(), folder.work(), folder.manifest(id));
            blocking::start("opening what is installed", move || {
                // If it cannot be used its content is fetched like any other.
                let manifest = Arc::new(ManifestFile::open(&path, id).ok()?);
                let installed = Arc::clone(&manifest);
                let seed = Seed::of(&root, manifest, &Target::table_path(&work, id)).ok()?;
                let look = (aim != Aim::Planned)
                    .then(|| (Instant::now(), blocking::start("looking at it", move || Look::at(&root, &work, &installed))));
                Some(Installed { seeds: Arc::new(vec![seed]), look })
            })
        });
        let of = id.map(|id| (id, record.dest.clone()));
        Self { of, begun: Instant::now(), work, installed: None, coming: None }
    }

    /// Waits until the installed version is opened; whoever gives up waiting may wait again.
    async fn opened(&mut self) -> &mut Option<Installed> {
        if let Some(work) = &mut self.work {
            // What could not be opened is as good as none.
            self.installed = work.ended().await.ok().flatten();
            self.work = None;
        }
        &mut self.installed
    }

    /// Fetches the manifest of `target`, which is about to be ready, if that is little and no budget counts it; that it cannot be had yet is no error.
    pub(in crate::agent) async fn fetch_coming(&mut self, job: &Job, target: &TargetInfo, client: &Client) {
        let installed = self.of.as_ref().is_some_and(|(id, _)| *id == target.manifest);
        if installed || target.length > COMING_BYTES_MAX || job.account.terms().max_bytes.is_some() {
            return;
        }
        let Some(seeds) = self.opened().await.as_ref().map(|installed| Arc::clone(&installed.seeds)) else { return };
        match Coming::fetch(job, seeds, target, client).await {
            Ok(coming) => self.coming = coming.map(Box::new),
            Err(error) => tracing::debug!(package = %job.name(), %error, "its manifest cannot be had before it is ready"),
        }
    }

    /// Begins it before it is asked for: a newer version is about to be ready. Nothing where there is no installed version.
    pub(in crate::agent) fn ahead(folder: &InstallFolder, record: &Record) -> Option<Self> {
        Some(Self::begin(folder, record, Aim::Current)).filter(|prepared| prepared.of.is_some())
    }

    /// Says whether it was begun not too long ago, and for what `record` says is installed now.
    pub(super) fn serves(&self, record: &Record) -> bool {
        let installed = record.installed.as_ref().and_then(|installed| manifest_of(installed).ok());
        let same = self.of.as_ref().is_some_and(|(id, dest)| Some(*id) == installed && *dest == record.dest);
        same && self.begun.elapsed() < LOOK_AGE_MAX
    }
}

/// Opens the manifest of `target` if it was fetched before and is whole, and fetches it from `client` into the file `into` otherwise.
async fn bring_manifest(job: &Job, into: &Path, seeds: &[Seed], target: &TargetInfo, client: &Client) -> Result<ManifestFile> {
    let (id, path) = (target.manifest, job.folder.manifest(target.manifest));
    let here = blocking::run("opening a manifest", move || ManifestFile::open(&path, id).ok()).await?;
    if let Some(manifest) = here {
        return Ok(manifest);
    }
    let base = seeds.first().map(|seed| Arc::clone(&seed.manifest));
    Ok(fetch_manifest(client, id, target.length, base, into).await?.0)
}

/// Counts what arrived, whether or not the fetch succeeded.
pub(super) fn counted(fetched: Fetched, effort: &mut Effort) -> Result<()> {
    effort.content_bytes += fetched.wire_bytes;
    Ok(fetched.end?)
}

/// Takes the assembly for one owner: whoever was given a handle has ended by then.
pub(super) fn sole(assembly: Arc<Assembly>) -> Result<Assembly> {
    Arc::into_inner(assembly).ok_or_else(|| crate::net::Error::Stopped("the last fetch").into())
}
