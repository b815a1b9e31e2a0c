//! An update's look at the installed tree: what is right already, what stands in the way, and the steps that make it new.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::error::{At, Error, Result};
use crate::manifest::entry::EntryKind;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::{Layout, Placed};

use super::bits::Bits;
use super::content::Content;
use super::parallel::{self, Take};
use super::staging::Staging;
use super::stat_record::{STAT_FILE, StatRecord};
use super::steps::{Step, split};
use super::switch::SwitchWriter;
use super::verify;

/// Owner's rights that a folder needs while entries in it are renamed or removed.
const WRITABLE: u16 = 0o300;

/// The destination of an update.
pub(super) struct InPlace<'a> {
    dest: &'a Path,
    root: OwnedFd,
    manifest: &'a ManifestFile,
    /// The version that the destination should hold now, if the caller knows it.
    installed: Option<&'a ManifestFile>,
    record: Option<StatRecord>,
    /// Folders of the new version that are not there as real folders.
    absent: HashSet<Box<str>>,
}

impl<'a> InPlace<'a> {
    /// Looks at the folders.
    pub(super) fn open(
        dest: &'a Path,
        work: &Path,
        manifest: &'a ManifestFile,
        installed: Option<&'a ManifestFile>,
    ) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(dest, flags, Mode::empty()).at("open", dest)?;
        let record = StatRecord::open(&work.join(STAT_FILE));
        let mut place = Self { dest, root, manifest, installed, record, absent: HashSet::new() };
        for entry in manifest.entries().filter(|entry| entry.kind == EntryKind::Folder) {
            let path = entry.path.as_str();
            if !place.stat(path).is_some_and(|stat| is(&stat, FileType::Directory)) {
                place.absent.insert(path.into());
            }
        }
        Ok(place)
    }

    /// Reads what stands at `path`; `None` if nothing does, or a folder above it is not really there.
    fn stat(&self, path: &str) -> Option<Stat> {
        if self.absent.contains(split(path).0) {
            return None;
        }
        rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Marks the files that are right in place: those that look as they did when they were installed, and those whose bytes are right.
    /// Returns their raw bytes.
    ///
    /// # Errors
    /// A folder with content of others stands where a file or link must go.
    pub(super) fn keep(&self, layout: &Layout, content: &Content) -> Result<u64> {
        let kept = Mutex::new(0);
        parallel::for_each(layout.len(), parallel::cores(), Take::Several, &|position| {
            let Some(placed) = layout.at(position) else { return Ok(()) };
            let path = self.manifest.path_of(placed.entry);
            let Some(stat) = self.stat(path) else { return Ok(()) };
            if is(&stat, FileType::Directory) {
                return self.refuse_foreign(path);
            }
            if self.is_unchanged(placed.entry, path, &stat) || self.is_right(placed, path, content) {
                content.kept.add(placed.entry);
                content.believe(placed);
                *kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += u64::try_from(stat.st_size).unwrap_or(0);
            }
            Ok(())
        })?;
        for entry in self.manifest.entries().filter(|entry| matches!(entry.kind, EntryKind::Symlink { .. })) {
            if self.stat(entry.path.as_str()).is_some_and(|stat| is(&stat, FileType::Directory)) {
                self.refuse_foreign(entry.path.as_str())?;
            }
        }
        kept.into_inner().map_or_else(|poisoned| Ok(poisoned.into_inner()), Ok)
    }

    /// Says whether the record vouches for the file: same content in the recorded version, and not touched since.
    fn is_unchanged(&self, entry: u32, path: &str, stat: &Stat) -> bool {
        let Some(record) = &self.record else { return false };
        if record.manifest() == self.manifest.id() {
            return record.agrees(entry, stat);
        }
        let Some(installed) = self.installed.filter(|installed| installed.id() == record.manifest()) else { return false };
        installed.find(path).is_some_and(|old| installed.file_of(old) == self.manifest.file_of(entry) && record.agrees(old, stat))
    }

    /// Says whether the file's bytes are those of the entry.
    fn is_right(&self, placed: Placed, path: &str, content: &Content) -> bool {
        let Some((size, ..)) = self.manifest.file_of(placed.entry) else { return false };
        verify::open_regular(self.root.as_fd(), path)
            .is_some_and(|file| verify::is_whole(&file, size, &content.table, placed.ordinals(), &mut Vec::new()))
    }

    /// Refuses to go on when the folder at `path`, which must give way to a file or link, holds anything that the installed version did not.
    fn refuse_foreign(&self, path: &str) -> Result<()> {
        let folder = self.dest.join(path);
        for found in Dir::read_from(super::steps::open_folder(&self.root, path).at("open", &folder)?).at("read", &folder)? {
            let found = found.at("read", &folder)?;
            let name = found.file_name().to_string_lossy();
            if name == "." || name == ".." {
                continue;
            }
            let below = format!("{path}/{name}");
            if self.installed.and_then(|installed| installed.find(&below)).is_none() {
                return Err(Error::Refused {
                    path: self.dest.join(&below).display().to_string(),
                    why: format!(
                        "it is not part of the package, but {path} must become a file or link; move it away and try again"
                    ),
                });
            }
            if self.stat(&below).is_some_and(|stat| is(&stat, FileType::Directory)) {
                self.refuse_foreign(&below)?;
            }
        }
        Ok(())
    }

    /// Writes the removals and all other steps of the switch, in an order in which each finds what it needs; stages the links.
    pub(super) fn write_steps(&self, staging: &Staging, kept: &Bits, switch: &mut SwitchWriter) -> Result<()> {
        self.open_folders(switch)?;
        self.remove_old(switch)?;
        for folder in self.manifest.entries().filter(|entry| entry.kind == EntryKind::Folder) {
            if self.absent.contains(folder.path.as_str()) {
                switch.push(Step::MakeFolder, folder.path.as_str())?;
            }
        }
        for (number, entry) in (0_u32..).zip(self.manifest.entries()) {
            let path = entry.path.as_str();
            let stat = self.stat(path);
            let current = match &entry.kind {
                EntryKind::Folder => true,
                EntryKind::File { .. } => kept.has(number),
                EntryKind::Symlink { target } => {
                    let right = self.link_is(path, target.as_str());
                    if !right {
                        staging.make_link(&staging.name(number, path), target.as_str())?;
                    }
                    right
                }
            };
            if !current {
                if stat.as_ref().is_some_and(|stat| is(stat, FileType::Directory)) {
                    switch.push(Step::RemoveFolder, path)?;
                }
                switch.push(Step::Replace(number), path)?;
            } else if matches!(entry.kind, EntryKind::File { .. }) && mode_in(stat.as_ref()) != Some(entry.attributes.mode) {
                switch.push(Step::Mode(entry.attributes.mode), path)?;
            }
        }
        self.close_folders(switch)
    }

    fn link_is(&self, path: &str, target: &str) -> bool {
        self.stat(path).is_some_and(|stat| is(&stat, FileType::Symlink))
            && rustix::fs::readlinkat(&self.root, path, Vec::new()).is_ok_and(|found| found.as_bytes() == target.as_bytes())
    }

    /// Lets the owner write to the folders that are there, old and new, where the packages say otherwise.
    fn open_folders(&self, switch: &mut SwitchWriter) -> Result<()> {
        for version in self.installed.into_iter().chain([self.manifest]) {
            for folder in version.entries().filter(|entry| entry.kind == EntryKind::Folder) {
                let path = folder.path.as_str();
                let stat = self.stat(path).filter(|stat| is(stat, FileType::Directory));
                if let Some(mode) = mode_in(stat.as_ref()).filter(|mode| mode & WRITABLE != WRITABLE) {
                    switch.push(Step::Mode((mode & 0o777) | WRITABLE | 0o400), path)?;
                }
            }
        }
        Ok(())
    }

    /// Removes what the installed version had and the new one has not, or has as a file or link where there was a folder.
    fn remove_old(&self, switch: &mut SwitchWriter) -> Result<()> {
        let Some(installed) = self.installed else { return Ok(()) };
        // Backwards in path order, so that a folder's content goes before it.
        for number in (0..u32::try_from(installed.totals().entries).unwrap_or(u32::MAX)).rev() {
            let path = installed.path_of(number);
            if self.manifest.find(path).is_none() {
                let is_folder = installed.entry(number).kind == EntryKind::Folder;
                switch.push(if is_folder { Step::RemoveFolder } else { Step::Remove }, path)?;
            }
        }
        Ok(())
    }

    /// Gives the folders their final permission bits, those inside first.
    fn close_folders(&self, switch: &mut SwitchWriter) -> Result<()> {
        for number in (0..u32::try_from(self.manifest.totals().entries).unwrap_or(u32::MAX)).rev() {
            if self.manifest.file_of(number).is_some() {
                continue;
            }
            let folder = self.manifest.entry(number);
            let path = folder.path.as_str();
            if folder.kind != EntryKind::Folder {
                continue;
            }
            let mode = folder.attributes.mode;
            let as_found = !self.absent.contains(path) && mode & WRITABLE == WRITABLE;
            // Bits above the nine (a folder that hands down its group) are the machine's affair.
            if !as_found || mode_in(self.stat(path).as_ref()).map(|found| found & 0o777) != Some(mode) {
                switch.push(Step::Mode(mode), path)?;
            }
        }
        Ok(())
    }
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

fn mode_in(stat: Option<&Stat>) -> Option<u16> {
    stat.and_then(|stat| u16::try_from(stat.st_mode & 0o7777).ok())
}
