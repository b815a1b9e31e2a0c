//! An update's view of the installed tree: what is right already, what stands in the way, and the steps that make it new.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Dir, FileType};

use crate::cores;
use crate::error::{At, Error, Result};
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::{Layout, Placed};
use crate::manifest::pairs::Pairs;
use crate::parallel::{self, Take};

use super::assembly::entries;
use super::bits::Bits;
use super::content::Content;
use super::look::{Look, TreeView, is, mode_in};
use super::staging::Staging;
use super::stat_record::Line;
use super::steps::Step;
use super::switch::SwitchWriter;
use super::verify;

/// Owner's rights that a folder needs while entries in it are renamed or removed.
const WRITABLE: u16 = 0o300;

/// The destination of an update.
pub(super) struct InPlace<'a> {
    dest: &'a Path,
    tree: TreeView,
    manifest: &'a ManifestFile,
    /// The version that the destination should hold now; the new one if the caller knows of none.
    installed: &'a ManifestFile,
    pairs: Pairs,
    look: Option<Look>,
    /// Folders of the new version with the permission bits that they have now, those that are not there as real folders without.
    folders: Vec<(u32, Option<u16>)>,
    /// Files that the record vouches for: not read, not changed.
    vouched: Bits,
    /// Files whose content is right and whose permission bits are not.
    modes: Mutex<Vec<u32>>,
}

/// What is known of the files that an update leaves alone.
#[derive(Debug)]
pub(super) struct Carried {
    pairs: Pairs,
    look: Option<Look>,
    vouched: Bits,
}

impl Carried {
    /// The line of entry `number` in the record of the version before, if it still holds.
    pub(super) fn line(&self, number: u32) -> Option<Line> {
        let look = self.look.as_ref().filter(|_| self.vouched.has(number))?;
        Some(look.line(self.pairs.twin(number)?.number))
    }
}

impl<'a> InPlace<'a> {
    /// Looks at the folders, and at the files of the installed version unless `look` has.
    pub(super) fn open(
        (dest, work): (&'a Path, &Path),
        (manifest, layout): (&'a ManifestFile, &Layout),
        installed: Option<&'a ManifestFile>,
        look: Option<Look>,
    ) -> Result<Self> {
        let installed = installed.unwrap_or(manifest);
        let look = look.filter(|look| look.is_of(installed)).or_else(|| Look::at(dest, work, installed));
        let pairs = Pairs::of(installed, manifest);
        let mut tree = TreeView::of(super::steps::open_root(dest).at("open", dest)?);
        let mut folders = Vec::new();
        for number in layout.others().filter(|number| manifest.is_folder(*number)) {
            let known = pairs.twin(number).zip(look.as_ref()).and_then(|(twin, look)| look.folder(twin.number));
            let path = manifest.path_of(number);
            let mode = match known {
                Some(folder) => tree.know_folder(path, folder.mode),
                None => tree.add_folder(path),
            };
            folders.push((number, mode));
        }
        let vouched = Bits::new(entries(manifest));
        Ok(Self { dest, tree, manifest, installed, pairs, look, folders, vouched, modes: Mutex::default() })
    }

    /// Marks the files and links that are right in place: those that look as they did when they were verified, and those whose bytes are right.
    /// Returns the files' raw bytes.
    ///
    /// # Errors
    /// A folder with content of others stands where a file or link must go.
    pub(super) fn keep(&self, layout: &Layout, content: &Content) -> Result<u64> {
        let lacking = Mutex::new(0);
        parallel::for_each(layout.len(), cores(), Take::Several, &|position| {
            let Some(placed) = layout.at(position) else { return Ok(()) };
            if self.is_unchanged(placed.entry) || self.is_right(placed, content)? {
                content.kept.add(placed.entry);
                content.believe(placed);
            } else {
                let size = self.manifest.file_of(placed.entry).map_or(0, |(size, ..)| size);
                *lacking.lock().unwrap_or_else(PoisonError::into_inner) += size;
            }
            Ok(())
        })?;
        for number in layout.others() {
            let Some(target) = self.manifest.link_of(number) else { continue };
            let path = self.manifest.path_of(number);
            if self.link_is(path, target) {
                content.kept.add(number);
            } else if self.tree.stat(path).is_some_and(|stat| is(&stat, FileType::Directory)) {
                self.refuse_foreign(path)?;
            }
        }
        Ok(self.manifest.totals().bytes.saturating_sub(lacking.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Says whether the record vouches for the file's content: same in the installed version, and not touched since.
    fn is_unchanged(&self, entry: u32) -> bool {
        let Some((twin, look)) = self.pairs.twin(entry).zip(self.look.as_ref()) else { return false };
        let same = twin.same || self.installed.file_of(twin.number) == self.manifest.file_of(entry);
        if !same || !look.agrees(twin.number) {
            return false;
        }
        if twin.same || self.installed.mode_of(twin.number) == self.manifest.mode_of(entry) {
            self.vouched.add(entry);
        } else {
            self.note_mode(entry);
        }
        true
    }

    fn note_mode(&self, entry: u32) {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Says whether the file's bytes are those of the entry.
    ///
    /// # Errors
    /// As [`InPlace::keep`].
    fn is_right(&self, placed: Placed, content: &Content) -> Result<bool> {
        let path = self.manifest.path_of(placed.entry);
        let Some(stat) = self.tree.stat(path) else { return Ok(false) };
        if is(&stat, FileType::Directory) {
            return self.refuse_foreign(path).map(|()| false);
        }
        let Some((size, ..)) = self.manifest.file_of(placed.entry) else { return Ok(false) };
        let right = u64::try_from(stat.st_size) == Ok(size)
            && verify::open_regular(self.tree.root().as_fd(), path)
                .is_some_and(|file| verify::is_whole(&file, size, &content.table, placed.ordinals(), &mut Vec::new()));
        if right && mode_in(&stat) != Some(self.manifest.mode_of(placed.entry)) {
            self.note_mode(placed.entry);
        }
        Ok(right)
    }

    /// Refuses to go on when the folder at `path`, which must give way to a file or link, holds anything that the installed version did not.
    fn refuse_foreign(&self, path: &str) -> Result<()> {
        let folder = self.dest.join(path);
        let opened = super::steps::open_folder(self.tree.root(), path).at("open", &folder)?;
        for found in Dir::read_from(opened).at("read", &folder)? {
            let found = found.at("read", &folder)?;
            let name = found.file_name().to_string_lossy();
            if name == "." || name == ".." {
                continue;
            }
            let below = format!("{path}/{name}");
            if self.installed.find(&below).is_none() {
                return Err(Error::Refused {
                    path: self.dest.join(&below).display().to_string(),
                    why: format!(
                        "it is not part of the package, but {path} must become a file or link; move it away and try again"
                    ),
                });
            }
            if self.tree.stat(&below).is_some_and(|stat| is(&stat, FileType::Directory)) {
                self.refuse_foreign(&below)?;
            }
        }
        Ok(())
    }

    /// Writes the removals and all other steps of the switch, in an order in which each finds what it needs; stages the links.
    pub(super) fn write_steps(&self, staging: &Staging, kept: &Bits, switch: &mut SwitchWriter) -> Result<()> {
        self.open_folders(switch)?;
        self.remove_old(switch)?;
        for (number, _) in self.folders.iter().filter(|(_, mode)| mode.is_none()) {
            switch.push(Step::MakeFolder, self.manifest.path_of(*number))?;
        }
        for number in self.manifest.numbers().filter(|number| !kept.has(*number) && !self.manifest.is_folder(*number)) {
            let path = self.manifest.path_of(number);
            if let Some(target) = self.manifest.link_of(number) {
                staging.make_link(&staging.name(number, path), target)?;
            }
            if self.tree.stat(path).is_some_and(|stat| is(&stat, FileType::Directory)) {
                switch.push(Step::RemoveFolder, path)?;
            }
            switch.push(Step::Replace(number), path)?;
        }
        for number in self.modes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            switch.push(Step::Mode(self.manifest.mode_of(*number)), self.manifest.path_of(*number))?;
        }
        self.close_folders(switch)
    }

    fn link_is(&self, path: &str, target: &str) -> bool {
        !self.tree.is_below_absent(path)
            && rustix::fs::readlinkat(self.tree.root(), path, Vec::new()).is_ok_and(|found| found.as_bytes() == target.as_bytes())
    }

    /// Lets the owner write to the folders that are there, new and old, where the packages say otherwise.
    fn open_folders(&self, switch: &mut SwitchWriter) -> Result<()> {
        let mut open = |mode: Option<u16>, path: &str| match mode.filter(|mode| mode & WRITABLE != WRITABLE) {
            Some(mode) => switch.push(Step::Mode((mode & 0o777) | WRITABLE | 0o400), path),
            None => Ok(()),
        };
        self.folders.iter().try_for_each(|(number, mode)| open(*mode, self.manifest.path_of(*number)))?;
        let other = |number: u32| self.pairs.twin(number).filter(|twin| !twin.same && !self.manifest.is_folder(number));
        let replaced = self.pairs.changed().filter_map(other).map(|twin| twin.number);
        let mut old: Vec<u32> = self.pairs.gone().iter().copied().chain(replaced).collect();
        old.retain(|number| self.installed.is_folder(*number));
        old.sort_unstable();
        for path in old.into_iter().map(|number| self.installed.path_of(number)) {
            let stat = self.tree.stat(path).filter(|stat| is(stat, FileType::Directory));
            open(stat.as_ref().and_then(mode_in), path)?;
        }
        Ok(())
    }

    /// Removes what the installed version had and the new one has not.
    fn remove_old(&self, switch: &mut SwitchWriter) -> Result<()> {
        // Backwards in path order, so that a folder's content goes before it.
        self.pairs.gone().iter().rev().try_for_each(|number| {
            let step = if self.installed.is_folder(*number) { Step::RemoveFolder } else { Step::Remove };
            switch.push(step, self.installed.path_of(*number))
        })
    }

    /// Gives the folders their final permission bits, those inside first.
    fn close_folders(&self, switch: &mut SwitchWriter) -> Result<()> {
        for (number, found) in self.folders.iter().rev() {
            let mode = self.manifest.mode_of(*number);
            // Bits above the nine (a folder that hands down its group) are the machine's affair.
            let as_found = mode & WRITABLE == WRITABLE && found.map(|found| found & 0o777) == Some(mode);
            if !as_found {
                switch.push(Step::Mode(mode), self.manifest.path_of(*number))?;
            }
        }
        Ok(())
    }

    /// How often it looked at something by its path.
    pub(super) fn looks(&self) -> u64 {
        self.tree.looks() + self.look.as_ref().map_or(0, Look::looks)
    }

    /// What the next record takes over.
    pub(super) fn carried(self) -> Carried {
        Carried { pairs: self.pairs, look: self.look, vouched: self.vouched }
    }
}
