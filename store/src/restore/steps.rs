//! The steps of a switch and the hands that take them: every path is opened part by part, no link is followed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{At, Error, Result};

use super::staging::{folder_beside, mode_of, tree_in};

/// One step of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Removes a file or link; a folder there is left alone.
    Remove,
    /// Removes a folder if it is empty: what else lies in it is the user's.
    RemoveFolder,
    /// Makes a folder, replacing a file or link.
    MakeFolder,
    /// Renames the staged file or link of this entry number to the path.
    Replace(u32),
    /// Sets the permission bits of a file or folder.
    Mode(u16),
}

impl Step {
    /// Returns kind and argument as they stand in the journal.
    pub(super) fn to_wire(self) -> (u8, u32) {
        match self {
            Self::Remove => (1, 0),
            Self::RemoveFolder => (2, 0),
            Self::MakeFolder => (3, 0),
            Self::Replace(entry) => (4, entry),
            Self::Mode(mode) => (5, mode.into()),
        }
    }

    /// Reads what [`Step::to_wire`] returned.
    pub(super) fn from_wire(kind: u8, argument: u32) -> Option<Self> {
        match (kind, argument) {
            (1, 0) => Some(Self::Remove),
            (2, 0) => Some(Self::RemoveFolder),
            (3, 0) => Some(Self::MakeFolder),
            (4, entry) => Some(Self::Replace(entry)),
            (5, mode) => u16::try_from(mode).ok().filter(|mode| *mode <= 0o777).map(Self::Mode),
            _ => None,
        }
    }
}

/// Opens the folder `path` below `root` part by part without following links; the root itself for an empty path.
pub(super) fn open_folder(root: &OwnedFd, path: &str) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = rustix::io::dup(root)?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part == ".." {
            return Err(Errno::INVAL);
        }
        folder = rustix::fs::openat(&folder, part, flags, Mode::empty())?;
    }
    Ok(folder)
}

/// Opens the folder `dest` that a version is put in, which must be no link.
pub(super) fn open_root(dest: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(dest, flags, Mode::empty())
}

/// Splits a path into its folder (empty at the top) and its name.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Takes steps in a destination.
pub(super) struct Hands {
    dest: PathBuf,
    root: OwnedFd,
    /// The staged entries; gone when everything had been switched and cleared away already.
    staged: Option<OwnedFd>,
    /// The folder of the last step: neighbours share it.
    last: Option<(String, OwnedFd)>,
}

impl Hands {
    /// Opens the destination and its staging folder.
    pub(super) fn open(dest: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = open_root(dest).at("open", dest)?;
        let tree = tree_in(&folder_beside(dest));
        let staged = match rustix::fs::open(&tree, flags, Mode::empty()) {
            Err(Errno::NOENT) => None,
            other => Some(other.at("open", &tree)?),
        };
        Ok(Self { dest: dest.to_path_buf(), root, staged, last: None })
    }

    /// Takes one step.
    pub(super) fn take(&mut self, step: Step, path: &str) -> Result<()> {
        let (folder, name) = split(path);
        if self.last.as_ref().is_none_or(|(last, _)| last != folder) {
            self.last = match open_folder(&self.root, folder) {
                Ok(opened) => Some((folder.to_owned(), opened)),
                // Nothing can be left to remove where there is no such folder (any more).
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if matches!(step, Step::Remove | Step::RemoveFolder) => {
                    return Ok(());
                }
                Err(error) => return Err(error).at("open the folder of", self.dest.join(path)),
            };
        }
        let Some((_, folder)) = &self.last else { return Ok(()) };
        let done = match step {
            Step::Remove => {
                satisfied(rustix::fs::unlinkat(folder, name, AtFlags::empty()), &[Errno::NOENT, Errno::ISDIR, Errno::PERM])
            }
            Step::RemoveFolder => satisfied(
                rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR),
                &[Errno::NOENT, Errno::NOTDIR, Errno::NOTEMPTY, Errno::EXIST],
            ),
            Step::MakeFolder => make_folder(folder, name),
            Step::Replace(entry) => self.replace(folder, name, entry, path)?,
            Step::Mode(mode) => set_mode(folder, name, mode),
        };
        done.at(verb(step), self.dest.join(path))
    }

    fn replace(&self, folder: &OwnedFd, name: &str, entry: u32, path: &str) -> Result<Result<(), Errno>> {
        let renamed = match &self.staged {
            Some(staged) => rustix::fs::renameat(staged, entry.to_string(), folder, name),
            None => Err(Errno::NOENT),
        };
        if renamed != Err(Errno::NOENT) {
            return Ok(renamed);
        }
        // Not staged any more: it was renamed before the crash.
        match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                let what = self.dest.join(path).display().to_string();
                Err(Error::damaged(
                    what,
                    "its new content is neither staged nor in place; remove the switch journal and install again",
                ))
            }
            other => Ok(other.map(|_| ())),
        }
    }

    /// Makes everything that was done durable.
    pub(super) fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root).at("sync", &self.dest)
    }
}

/// Treats the errors that say "done already" as done.
fn satisfied(done: Result<(), Errno>, already: &[Errno]) -> Result<(), Errno> {
    done.or_else(|error| if already.contains(&error) { Ok(()) } else { Err(error) })
}

fn make_folder(folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    match rustix::fs::mkdirat(folder, name, mode_of(0o700)) {
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                return Ok(());
            }
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
            rustix::fs::mkdirat(folder, name, mode_of(0o700))
        }
        other => other,
    }
}

fn set_mode(folder: &OwnedFd, name: &str, mode: u16) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(folder.as_fd(), name, flags, Mode::empty()) {
        Ok(file) => rustix::fs::fchmod(&file, mode_of(mode)),
        // Not readable, even for its owner.
        Err(Errno::ACCESS) => rustix::fs::chmodat(folder, name, mode_of(mode), AtFlags::empty()),
        Err(error) => Err(error),
    }
}

fn verb(step: Step) -> &'static str {
    match step {
        Step::Remove => "remove",
        Step::RemoveFolder => "remove folder",
        Step::MakeFolder => "create folder",
        Step::Replace(_) => "replace",
        Step::Mode(_) => "change the mode of",
    }
}
