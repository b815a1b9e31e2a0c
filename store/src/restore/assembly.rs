//! A target tree being assembled: what is missing, and how it arrives.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use crate::chunk::ChunkKind;
use crate::chunk::record::VerifiedRecord;
use crate::error::{At, Error, Result};
use crate::fsx::{self, FolderLock};
use crate::id::{ChunkId, ManifestId};
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::Layout;
use crate::manifest::recipe;
use crate::manifest::table::ChunkTable;

use super::bits::Bits;
use super::content::{Content, Tree};
use super::in_place::{Carried, InPlace};
use super::look::Look;
use super::needed::ranges_of;
use super::pages::Pages;
use super::staging::{self, Staging, Way};
use super::switch::SwitchWriter;
use super::target::{self, Found};
use super::{Seed, Tally, Target, seeds};

/// Most bytes of recipe pages a chunk of the files with recipes, and a file: lines are 44 bytes, pages have a short header, and a file that
/// patches make in parts has the pages of those, too.
const PAGE_BYTES_A_CHUNK_MAX: u64 = 128;
const PAGE_BYTES_A_FILE_MAX: u64 = 256;

/// A target tree being assembled in a hidden folder beside its destination.
#[derive(Debug)]
pub struct Assembly {
    pub(super) dest: PathBuf,
    pub(super) work: PathBuf,
    pub(super) found: Found,
    pub(super) manifest: ManifestFile,
    pub(super) layout: Layout,
    pub(super) staging: Staging,
    pub(super) record_stats: bool,
    /// Content of an interrupted run is staged.
    pub(super) resumed: AtomicBool,
    pages: Pages,
    page_bytes: AtomicU64,
    page_bytes_max: u64,
    /// Entries whose recipe is complete.
    complete: Bits,
    pub(super) table: Option<ChunkTable>,
    /// Set by `take_local`.
    pub(super) content: Option<Content>,
    /// A look at the installed files that was taken already.
    look: Option<Look>,
    /// What is known of the files that an update leaves alone, set by `take_local`.
    pub(super) carried: Option<Carried>,
    /// How often something in the destination was looked at.
    pub(super) looks: AtomicU64,
    /// The steps of the switch, set by `take_local` for an update.
    pub(super) switch: Option<SwitchWriter>,
    kept_bytes: u64,
    seed_bytes: u64,
    resumed_bytes: u64,
    pub(super) patch_bytes: AtomicU64,
    record_bytes: AtomicU64,
    _lock: FolderLock,
}

impl Assembly {
    /// Opens or resumes the assembly of `manifest` for `target`.
    ///
    /// Finishes an interrupted switch first. Without `target.update` the destination must be absent or an empty folder (or hold this very
    /// version, put there by a run that was killed before it could say so).
    ///
    /// # Errors
    /// A destination that is in the way (with what to do), somebody else at work there, I/O.
    pub fn open(target: &Target, manifest: ManifestFile) -> Result<Self> {
        let layout = Layout::of(&manifest)?;
        Self::open_laid_out(target, (manifest, layout))
    }

    /// Does as [`Assembly::open`] with the manifest's layout, which is known already.
    ///
    /// # Errors
    /// As [`Assembly::open`].
    pub fn open_laid_out(target: &Target, (manifest, layout): (ManifestFile, Layout)) -> Result<Self> {
        target::look(&target.dest)?;
        let work = std::path::absolute(&target.work).at("resolve", &target.work)?;
        std::fs::create_dir_all(&work).at("create folder", &work)?;
        let lock = fsx::lock(&work)?;
        let absolute = std::path::absolute(&target.dest).at("resolve", &target.dest)?;
        let recovered = target::recover_held(&absolute, &work)?;
        let (dest, found) = target::look(&target.dest)?;
        let way = if found != Found::Folder {
            Way::Install
        } else if target.update || recovered == Some(manifest.id()) {
            Way::Update
        } else {
            let why = "it is not empty; choose another --dest, or empty it".to_owned();
            return Err(Error::Refused { path: dest.display().to_string(), why });
        };
        if way == Way::Install {
            std::fs::create_dir_all(fsx::folder_of(&dest)).at("create folder", fsx::folder_of(&dest))?;
            target::note_installed(&work, None)?;
        }
        let (staging, resumed) = Staging::open(&dest, manifest.id(), way)?;
        let pages = Pages::open(&Target::pages_path(&work, manifest.id()))?;
        let table = ChunkTable::open(&Target::table_path(&work, manifest.id()), &manifest).ok();
        let page_bytes_max = page_bytes_max(&layout);
        let complete = Bits::new(entries(&manifest));
        Ok(Self {
            dest,
            work,
            found,
            layout,
            staging,
            record_stats: true,
            resumed: AtomicBool::new(resumed),
            page_bytes: AtomicU64::new(pages.bytes()),
            pages,
            page_bytes_max,
            complete,
            table,
            content: None,
            look: None,
            carried: None,
            looks: AtomicU64::new(0),
            switch: None,
            kept_bytes: 0,
            seed_bytes: 0,
            resumed_bytes: 0,
            patch_bytes: AtomicU64::new(0),
            record_bytes: AtomicU64::new(0),
            _lock: lock,
            manifest,
        })
    }

    /// Returns the manifest being assembled.
    #[must_use]
    pub fn manifest(&self) -> &ManifestFile {
        &self.manifest
    }

    /// Returns the manifest's layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Takes the recipes of files that a seed holds unchanged, so that their pages need not be fetched.
    ///
    /// # Errors
    /// I/O on the work folder.
    pub fn learn_recipes(&self, seeds: &[Seed]) -> Result<()> {
        if self.table.is_some() {
            return Ok(());
        }
        for seed in seeds {
            let wanted = |entry| !self.complete.has(entry);
            seeds::learn(&self.manifest, &self.layout, &wanted, seed, &mut |page| self.add_page(page.id(), page.bytes()))?;
        }
        Ok(())
    }

    /// Returns the entry numbers (ascending ranges) whose recipes are needed before content can be placed: files with several chunks
    /// whose pages have not all been added.
    #[must_use]
    pub fn missing_recipes(&self) -> Vec<Range<u32>> {
        if self.table.is_some() || self.content.is_some() {
            return Vec::new();
        }
        let lacks = |entry: &u32| {
            let Some((size, digest, chunks)) = self.manifest.file_of(*entry) else { return false };
            let walked = recipe::walk(digest, size, chunks, &mut |id| self.pages.read(&id), &mut |_| Ok(()));
            // Any other error is told when the table is built: more pages would not help.
            let missing = matches!(walked, Err(Error::NoChunk(_)));
            if !missing {
                self.complete.add(*entry);
            }
            missing
        };
        let long = self.layout.files().filter(|placed| placed.chunks > 1).map(|placed| placed.entry);
        let mut lacking: Vec<u32> = long.filter(|entry| !self.complete.has(*entry)).filter(lacks).collect();
        lacking.sort_unstable();
        ranges_of(lacking)
    }

    /// Adds a verified recipe page received or read (kept in the work folder for a restart).
    ///
    /// # Errors
    /// The bytes are not that page, more pages than the version can have, I/O.
    pub fn add_page(&self, id: ChunkId, bytes: &Bytes) -> Result<()> {
        if ChunkKind::RecipePage.id_of(bytes) != id {
            return Err(Error::damaged(format!("recipe page {id}"), "its bytes are not what its id names"));
        }
        if self.pages.has(&id) {
            return Ok(());
        }
        let len = bytes.len() as u64;
        if self.page_bytes.fetch_add(len, Ordering::Relaxed) + len > self.page_bytes_max {
            let what = format!("the recipe pages for {}", self.manifest.id());
            return Err(Error::Limit { what, limit: format!("{} bytes", self.page_bytes_max) });
        }
        self.pages.add(&id, bytes)
    }

    /// Says whether content of an interrupted run is staged.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.resumed.load(Ordering::Relaxed) && self.staging.holds_something()
    }

    /// Removes the staging folder: for an assembly that is given up before anything was staged.
    ///
    /// # Errors
    /// I/O.
    pub fn discard(self) -> Result<()> {
        staging::remove(self.staging.dir())
    }

    pub(super) fn page(&self, id: &ChunkId) -> Result<Bytes> {
        self.pages.read(id)
    }

    /// Builds the chunk table from pages that `page` returns, instead of added ones.
    pub(super) fn build_table(&mut self, page: &mut dyn FnMut(ChunkId) -> Result<Bytes>) -> Result<()> {
        if self.table.is_none() {
            let path = Target::table_path(&self.work, self.manifest.id());
            self.table = Some(ChunkTable::build(&path, &self.manifest, &self.layout, &|_| true, page)?);
        }
        Ok(())
    }

    /// Uses a look at the files of the installed version that was taken before it was known which version comes.
    pub fn looked(&mut self, look: Look) {
        self.look = Some(look);
    }

    /// Takes everything that is already here: files in place (update), staged chunks of an interrupted run, chunks and whole files from
    /// `seeds`; each verified by its bytes. Call once, after the recipes are complete.
    ///
    /// # Errors
    /// A recipe page is missing or damaged, too little space, something of others in the way, I/O on the target; a bad seed is not an
    /// error, its content is simply not used.
    pub fn take_local(&mut self, seeds: &[Seed]) -> Result<()> {
        let table = if let Some(table) = self.table.take() {
            table
        } else {
            let path = Target::table_path(&self.work, self.manifest.id());
            ChunkTable::build(&path, &self.manifest, &self.layout, &|_| true, &mut |id| self.pages.read(&id))?
        };
        let mut content = Content::new(table, entries(&self.manifest), &self.work);
        match self.staging.way() {
            Way::Install => self.make_folders()?,
            Way::Update => self.look_in_place(&content, seeds)?,
        }
        if *self.resumed.get_mut() {
            // What patches have made is staged like what an interrupted run left; what of it is right counts for them first.
            let staged = content.verify_staged(self.tree())?;
            let patch_bytes = self.patch_bytes.get_mut();
            *patch_bytes = staged.min(*patch_bytes);
            self.resumed_bytes = staged - *patch_bytes;
        }
        for seed in seeds {
            self.seed_bytes += seeds::clone_whole(&content, self.tree(), seed)?;
        }
        self.staging.check_space(content.fix_needed()?)?;
        if !content.needs_nothing() {
            self.seed_bytes += seeds::draw_own(&content, self.tree(), &self.dest)?;
            for seed in seeds {
                self.seed_bytes += seeds::draw(&content, self.tree(), seed)?;
            }
        }
        self.content = Some(content);
        Ok(())
    }

    fn make_folders(&self) -> Result<()> {
        self.manifest.folders().try_for_each(|(path, mode)| self.staging.make_folder(path, mode))
    }

    fn look_in_place(&mut self, content: &Content, seeds: &[Seed]) -> Result<()> {
        let at_dest = |seed: &&Seed| std::path::absolute(&seed.root).is_ok_and(|root| root == self.dest);
        let installed = seeds.iter().find(at_dest).map(|seed| &*seed.manifest);
        let look = self.look.take();
        let place = InPlace::open((&self.dest, &self.work), (&self.manifest, &self.layout), installed, look)?;
        self.kept_bytes = place.keep(&self.layout, content)?;
        let mut switch = SwitchWriter::create(&self.work, &self.dest, self.manifest.id())?;
        place.write_steps(&self.staging, &content.kept, &mut switch)?;
        self.looks.fetch_add(place.looks(), Ordering::Relaxed);
        (self.switch, self.carried) = (Some(switch), Some(place.carried()));
        Ok(())
    }

    /// Returns the ordinals still missing, ascending, each distinct chunk once; all before [`Assembly::take_local`].
    #[must_use]
    pub fn missing(&self) -> Vec<Range<u32>> {
        let all = 0..self.layout.chunks();
        self.content.as_ref().map_or_else(|| Vec::from([all]), Content::missing)
    }

    /// Raw bytes still missing (distinct chunks); all of the version's before [`Assembly::take_local`].
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        self.content.as_ref().map_or(self.manifest.totals().bytes, Content::missing_bytes)
    }

    /// Writes the chunks of a verified record to every place that lacks them; chunks that nobody lacks are ignored. Returns the raw
    /// bytes that were new, each distinct chunk once.
    ///
    /// # Errors
    /// Called before [`Assembly::take_local`]; I/O on the target (a full disk leaves what is staged for the next try).
    pub fn accept(&self, record: &VerifiedRecord) -> Result<u64> {
        let early = || Error::damaged("this assembly", "content came before the local content was taken");
        let content = self.content.as_ref().ok_or_else(early)?;
        if record.header().kind != ChunkKind::Content {
            return Ok(0);
        }
        let mut new = 0;
        for chunk in record.chunks() {
            let filled = content.fill(self.tree(), &chunk.id(), chunk.bytes())?;
            new += filled.new;
            self.record_bytes.fetch_add(filled.written, Ordering::Relaxed);
        }
        Ok(new)
    }

    /// Returns the tally so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let totals = self.manifest.totals();
        Tally {
            files: totals.files,
            bytes: totals.bytes,
            kept_bytes: self.kept_bytes,
            seed_bytes: self.seed_bytes,
            resumed_bytes: self.resumed_bytes,
            patch_bytes: self.patch_bytes.load(Ordering::Relaxed),
            record_bytes: self.record_bytes.load(Ordering::Relaxed),
            looks: self.looks.load(Ordering::Relaxed),
        }
    }

    pub(super) fn tree(&self) -> Tree<'_> {
        Tree { manifest: &self.manifest, layout: &self.layout, staging: &self.staging }
    }

    /// Returns the manifest's id.
    pub(super) fn id(&self) -> ManifestId {
        self.manifest.id()
    }
}

/// The number of entries; a manifest has at most 2³¹.
pub(super) fn entries(manifest: &ManifestFile) -> u32 {
    u32::try_from(manifest.totals().entries).unwrap_or(u32::MAX)
}

/// Bounds what the pages of all recipes can be long.
fn page_bytes_max(layout: &Layout) -> u64 {
    let chunks = layout.files().map(|placed| placed.chunks).filter(|chunks| *chunks > 1);
    chunks.map(|chunks| u64::from(chunks) * PAGE_BYTES_A_CHUNK_MAX + PAGE_BYTES_A_FILE_MAX).sum()
}
