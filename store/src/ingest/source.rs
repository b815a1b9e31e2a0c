//! The source folder as the operating system shows it: looked at and opened without ever following a link.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, statat};
use rustix::io::Errno;

use super::walk::Seen;
use crate::error::{At, Error, Result};
use crate::manifest::path::refused;

/// What changes when a file is written: compared before and after each read, and kept in the stat cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStat {
    /// Length, bytes.
    pub size: u64,
    /// Time of the last change of the content, nanoseconds since 1970.
    pub mtime: i64,
    /// Time of the last change of content or inode, nanoseconds since 1970.
    pub ctime: i64,
    /// Inode number.
    pub ino: u64,
}

impl FileStat {
    fn of(stat: &Stat) -> Self {
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanos(stat.st_ctime, stat.st_ctime_nsec),
            ino: stat.st_ino,
        }
    }

    /// Says what differs from `other`, in words for an error.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        if self.ino != other.ino {
            Some("it was replaced")
        } else if self.size != other.size {
            Some("its size changed")
        } else {
            (self != other).then_some("its times changed")
        }
    }
}

fn nanos(seconds: i64, nanos: impl TryInto<i64>) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos.try_into().unwrap_or(0))
}

/// The source folder, held open: a rename of it or of what lies above changes nothing.
#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the folder `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).at("open folder", path)?;
        Ok(Self { folder, path: path.to_path_buf() })
    }

    /// Where `path` lies, for messages.
    pub fn full(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// Names what failed. Nothing is put together while all goes well, as it does once a file or more.
    pub fn named<T>(&self, result: Result<T, impl Into<io::Error>>, operation: &'static str, path: &str) -> Result<T> {
        result.map_err(|source| Error::Io { operation, path: self.full(path), source: source.into() })
    }

    /// Opens what is at `path` for reading, a file or not; `None` if there is nothing now.
    pub fn open_any(&self, path: &str) -> Result<Option<File>> {
        // Non-blocking, because a FIFO may have taken the file's place since it was found.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = openat_long(&self.folder, path, flags);
        Ok(self.named(unless_gone(opened), "open", path)?.map(File::from))
    }

    /// Says what the regular file at `path` is like; `None` if there is none now.
    pub fn stat(&self, path: &str) -> Result<Option<FileStat>> {
        let Some(file) = self.open_any(path)? else { return Ok(None) };
        let stat = self.named(fstat(&file), "read the attributes of", path)?;
        Ok(is(&stat, FileType::RegularFile).then(|| FileStat::of(&stat)))
    }

    /// Says what the open `file` is like now.
    pub fn restat(&self, file: &File, path: &str) -> Result<FileStat> {
        self.named(fstat(file).map(|stat| FileStat::of(&stat)), "read the attributes of", path)
    }

    /// Opens the folder once more, with a position of its own in its list.
    pub fn again(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.folder, ".", flags, Mode::empty()).at("open folder", &self.path)
    }

    /// Opens the folder `name` in `above`, at `path`; `None` if it is gone or no folder any more.
    pub fn open_folder(&self, above: &OwnedFd, name: &str, path: &str) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.named(unless_gone(openat(above, name, flags, Mode::empty())), "open folder", path)
    }

    /// Looks at what is called `name` in `folder`, at `path`.
    pub fn look(&self, folder: &OwnedFd, name: &str, path: &str) -> Result<Seen> {
        let stat = unless_gone(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW));
        let Some(stat) = self.named(stat, "read the attributes of", path)? else { return Ok(Seen::Nothing) };
        let mode = u16::try_from(stat.st_mode & 0o777).unwrap_or(0);
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return Ok(Seen::File(mode, FileStat::of(&stat))),
            FileType::Directory => return Ok(Seen::Folder(mode)),
            FileType::Symlink => {
                let target = self.named(unless_gone(readlinkat(folder, name, Vec::new())), "read the link", path)?;
                return Ok(target.map_or(Seen::Nothing, |target| Seen::Symlink(mode, target.into_bytes().into())));
            }
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            FileType::CharacterDevice | FileType::BlockDevice => "a device",
            FileType::Unknown => "of an unknown kind",
        };
        let why = format!("it is {what}; a package holds files, folders and symbolic links only: remove it from the source");
        Err(refused(path.as_bytes(), why))
    }
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// Opens `path` below `folder`; a path of the full length of the format is longer than one call takes.
fn openat_long(folder: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    match openat(folder, path, flags, Mode::empty()) {
        Err(Errno::NAMETOOLONG) => {
            let slash = path[..path.floor_char_boundary(path.len() / 2)].rfind('/').ok_or(Errno::NAMETOOLONG)?;
            let above = openat(
                folder,
                &path[..slash],
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            openat(above, &path[slash + 1..], flags, Mode::empty())
        }
        other => other,
    }
}

/// Turns the errors of a thing that was there a moment ago, and is gone or something else now, into `None`.
fn unless_gone<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::INVAL | Errno::STALE) => Ok(None),
        Err(other) => Err(other),
    }
}
