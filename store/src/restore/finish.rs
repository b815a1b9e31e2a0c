//! The end of an assembly: the tree is completed, made durable and put in place.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::error::{At, Error, Result};
use crate::fsx;

use super::assembly::Assembly;
use super::staging::{self, Way};
use super::stat_record::{Reach, StatRecord};
use super::switch::Switch;
use super::target::{self, Found};
use super::{Tally, Target};

impl Assembly {
    /// Completes the tree: checks that nothing is missing, folders, links, modes; makes it durable; renames or switches it into place; removes
    /// the staging folder.
    ///
    /// # Errors
    /// Something is still missing, or I/O; the destination is then as before, or the switch is finished by the next [`Assembly::open`].
    pub fn finish(self) -> Result<Tally> {
        self.finish_watched(&mut |_| Ok(()))
    }

    /// Finishes; `after` sees each step of a switch and may stop there, as a crash would.
    pub(super) fn finish_watched(mut self, after: &mut dyn FnMut(u64) -> Result<()>) -> Result<Tally> {
        self.check_complete()?;
        self.complete_files()?;
        match self.staging.way() {
            Way::Install => self.install()?,
            Way::Update => self.switch(after)?,
        }
        self.clear_work();
        Ok(self.tally())
    }

    fn check_complete(&self) -> Result<()> {
        let what = || format!("the assembly of {}", self.dest.display());
        let content = self.content.as_ref().ok_or_else(|| Error::damaged(what(), "its local content was never taken"))?;
        let Some(ordinal) = content.first_missing() else { return Ok(()) };
        let path = self.layout.file_at(ordinal).map_or("", |placed| self.manifest.path_of(placed.entry));
        Err(Error::damaged(
            what(),
            format!("{} bytes are still missing, first in {path}; fetch them first", content.missing_bytes()),
        ))
    }

    /// Creates the files without bytes and gives those of several chunks their permission bits.
    pub(super) fn complete_files(&self) -> Result<()> {
        let Some(content) = &self.content else { return Ok(()) };
        for placed in self.layout.files().filter(|placed| placed.chunks != 1 && !content.kept.has(placed.entry)) {
            let name = self.staging.name(placed.entry, self.manifest.path_of(placed.entry));
            let mode = self.manifest.mode_of(placed.entry);
            if placed.chunks == 0 {
                self.staging.write_whole(&name, mode, &[])?;
            } else {
                self.staging.set_mode(&name, mode)?;
            }
        }
        Ok(())
    }

    /// Puts a complete tree in place by one rename.
    fn install(&self) -> Result<()> {
        self.manifest.links().try_for_each(|(path, target)| self.staging.make_link(path, target))?;
        let resumed = self.resumed.load(Ordering::Relaxed);
        // From the inside out: a folder that its owner cannot write to is closed when all in it is done.
        for (path, mode) in self.manifest.folders().rev().filter(|(_, mode)| resumed || !self.staging.makes_final(*mode)) {
            self.staging.set_mode(path, mode)?;
        }
        let tree = staging::tree_in(self.staging.dir());
        if self.found == Found::EmptyFolder {
            let mode = fs::metadata(&self.dest).at("look at", &self.dest)?.permissions();
            fs::set_permissions(&tree, mode).at("change the mode of", &tree)?;
        }
        self.staging.sync()?;
        // Before others can reach them: what changes after this is seen, what is here is what was verified.
        self.record(&tree, Reach::Hidden)?;
        fsx::rename_durable(&tree, &self.dest)?;
        target::note_installed(&self.work, Some(self.id()))?;
        staging::remove(self.staging.dir())
    }

    /// Switches the staged entries into the tree that is there.
    fn switch(&mut self, after: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let Some(switch) = self.switch.take() else { return Ok(()) };
        self.staging.sync()?;
        switch.commit()?;
        let Some(switch) = Switch::open(&self.work)? else { return Ok(()) };
        target::complete(switch, &self.work, after)?;
        self.record(&self.dest, Reach::InPlace)
    }

    fn record(&self, tree: &Path, reach: Reach) -> Result<()> {
        if self.record_stats {
            let carried = |number| self.carried.as_ref()?.line(number);
            let looks = StatRecord::write(&self.work, (tree, reach), &self.manifest, &carried)?;
            self.looks.fetch_add(looks, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Removes working files that nobody needs any more; what cannot be removed does no harm.
    fn clear_work(&self) {
        let table = Target::table_path(&self.work, self.id());
        for file in fs::read_dir(&self.work).into_iter().flatten().flatten() {
            let path = file.path();
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("pages-") || (name.starts_with("table-") && path != table) || fsx::is_temp(&path) {
                let _ = fs::remove_file(&path);
            }
        }
    }
}
