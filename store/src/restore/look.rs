//! One look at an installed tree: which of its files are as the stat record says, without reading any.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Stat};

use crate::cores;
use crate::manifest::file::ManifestFile;
use crate::parallel::{self, Take};

use super::assembly::entries;
use super::bits::Bits;
use super::stat_record::{Line, STAT_FILE, StatRecord};
use super::steps::{open_root, split};

/// What a look at the files of the installed version found; it may be taken before it is known which version comes next.
#[derive(Debug)]
pub struct Look {
    record: StatRecord,
    /// Files that are as they were when they were verified, permission bits included.
    agrees: Bits,
    folders: Vec<FolderFound>,
    looks: u64,
}

/// What stands where a version has a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct FolderFound {
    /// Its entry number.
    pub(super) number: u32,
    /// Its permission bits; `None` if it is not there as a real folder.
    pub(super) mode: Option<u16>,
}

impl Look {
    /// Looks once at each file and folder of `installed`, the version that was put in `dest` by an assembly with the work folder `work`; `None` if
    /// nothing was recorded of that version: then its files have to be read.
    #[must_use]
    pub fn at(dest: &Path, work: &Path, installed: &ManifestFile) -> Option<Self> {
        let record = StatRecord::open(&work.join(STAT_FILE)).filter(|record| record.manifest() == installed.id())?;
        let mut tree = TreeView::open(dest)?;
        let mut folders = Vec::new();
        for number in installed.numbers().filter(|number| record.is_blank(*number) && installed.is_folder(*number)) {
            folders.push(FolderFound { number, mode: tree.add_folder(installed.path_of(number)) });
        }
        let agrees = Bits::new(entries(installed));
        let look = |number: usize| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if !record.is_blank(number) {
                let stat = tree.stat(installed.path_of(number));
                let right = |stat: &Stat| record.agrees(number, stat) && mode_in(stat) == Some(installed.mode_of(number));
                if stat.as_ref().is_some_and(right) {
                    agrees.add(number);
                }
            }
            Ok(())
        };
        parallel::for_each(entries(installed) as usize, cores(), Take::Several, &look).ok()?;
        let looks = tree.looks();
        Some(Self { record, agrees, folders, looks })
    }

    /// Says whether entry `number` of the installed version is a file as it was when it was verified.
    pub(super) fn agrees(&self, number: u32) -> bool {
        self.agrees.has(number)
    }

    /// What was recorded of entry `number` of the installed version.
    pub(super) fn line(&self, number: u32) -> Line {
        self.record.line(number)
    }

    /// What was found of the folder with entry number `number`.
    pub(super) fn folder(&self, number: u32) -> Option<FolderFound> {
        let place = self.folders.binary_search_by_key(&number, |folder| folder.number).ok()?;
        Some(self.folders[place])
    }

    /// Whose files were looked at.
    pub(super) fn is_of(&self, manifest: &ManifestFile) -> bool {
        self.record.manifest() == manifest.id()
    }

    /// How many looks it took.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }
}

/// A tree looked at by paths, none of which leads through a link.
#[derive(Debug)]
pub(super) struct TreeView {
    root: OwnedFd,
    /// Folders that are not there as real folders.
    absent: HashSet<Box<str>>,
    looks: AtomicU64,
}

impl TreeView {
    pub(super) fn open(dest: &Path) -> Option<Self> {
        open_root(dest).ok().map(Self::of)
    }

    pub(super) fn of(root: OwnedFd) -> Self {
        Self { root, absent: HashSet::new(), looks: AtomicU64::new(0) }
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Reads what stands at `path`; `None` if nothing does, or a folder above it, which was added before, is not really there.
    pub(super) fn stat(&self, path: &str) -> Option<Stat> {
        if self.is_below_absent(path) {
            return None;
        }
        self.looks.fetch_add(1, Ordering::Relaxed);
        rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Says whether `path` lies in a folder that is not really there.
    pub(super) fn is_below_absent(&self, path: &str) -> bool {
        !self.absent.is_empty() && self.absent.contains(split(path).0)
    }

    /// Looks at a folder before its content is looked at; returns its permission bits if it is a real one.
    pub(super) fn add_folder(&mut self, path: &str) -> Option<u16> {
        let mode = self.stat(path).filter(|stat| is(stat, FileType::Directory)).as_ref().and_then(mode_in);
        self.know_folder(path, mode)
    }

    /// Notes what is known of a folder.
    pub(super) fn know_folder(&mut self, path: &str, mode: Option<u16>) -> Option<u16> {
        if mode.is_none() {
            self.absent.insert(path.into());
        }
        mode
    }

    /// How many looks it took so far.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }
}

pub(super) fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// The permission bits, set-user-id and the like included.
pub(super) fn mode_in(stat: &Stat) -> Option<u16> {
    u16::try_from(stat.st_mode & 0o7777).ok()
}
