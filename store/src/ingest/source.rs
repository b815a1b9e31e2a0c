//! The source folder as the operating system shows it: walked and opened without ever following a link.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::error::{At, Result};
use crate::manifest::path::{self, refused};

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

/// One thing found by a walk.
pub(super) struct Found<'a> {
    pub path: &'a str,
    pub mode: u16,
    pub kind: FoundKind<'a>,
}

/// What was found.
pub(super) enum FoundKind<'a> {
    File(FileStat),
    Folder,
    /// With its target, unchecked.
    Symlink(&'a [u8]),
}

/// Sees a walk's names: all names of a folder first, then each thing in path order.
pub(super) trait Visitor {
    /// Takes the names in the folder at path `folder` (empty: the root).
    fn names(&mut self, folder: &str, names: &Names) -> Result<()>;
    /// Takes the next thing.
    fn found(&mut self, found: Found<'_>) -> Result<()>;
}

/// The names in one folder, sorted bytewise; lean, because one folder may hold a million.
#[derive(Default)]
pub(super) struct Names {
    text: String,
    spans: Vec<(u32, u8)>,
}

impl Names {
    /// How many there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.spans.len()).expect("refused above 2^32 bytes of names")
    }

    /// The name at `at`.
    pub fn get(&self, at: u32) -> &str {
        let (start, len) = self.spans[at as usize];
        &self.text[start as usize..start as usize + usize::from(len)]
    }
}

/// A folder of the walk that is open.
struct Level {
    folder: OwnedFd,
    names: Names,
    at: u32,
    /// Length of the folder's own path.
    path_len: usize,
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

    /// Opens the regular file at `path` and says what it is like; `None` if there is none now.
    pub fn file(&self, path: &str) -> Result<Option<(File, FileStat)>> {
        // Non-blocking, because a FIFO may have taken the file's place since it was found.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = openat_long(&self.folder, path, flags);
        let Some(file) = unless_gone(opened).at("open", self.full(path))? else { return Ok(None) };
        let file = File::from(file);
        let stat = fstat(&file).at("read the attributes of", self.full(path))?;
        Ok(is(&stat, FileType::RegularFile).then_some((file, FileStat::of(&stat))))
    }

    /// Says what the open `file` is like now.
    pub fn restat(&self, file: &File, path: &str) -> Result<FileStat> {
        fstat(file).map(|stat| FileStat::of(&stat)).at("read the attributes of", self.full(path))
    }

    /// Walks the whole tree in path order. What vanishes during the walk is left out.
    pub fn walk(&self, visitor: &mut dyn Visitor) -> Result<()> {
        let mut path = String::new();
        let again = openat(&self.folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let mut open = vec![self.level(again.at("open folder", &self.path)?, "")?];
        visitor.names("", &open[0].names)?;
        while let Some(level) = open.last_mut() {
            if level.at == level.names.len() {
                open.pop();
                continue;
            }
            path.truncate(level.path_len);
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(level.names.get(level.at));
            level.at += 1;
            path::check(path.as_bytes())?;
            let below = self.look(level, &path, visitor)?;
            if let Some(folder) = below {
                let level = self.level(folder, &path)?;
                visitor.names(&path, &level.names)?;
                open.push(level);
            }
        }
        Ok(())
    }

    /// Shows the visitor the thing at `path`, the last name taken from `level`, and opens it if it is a folder.
    fn look(&self, level: &Level, path: &str, visitor: &mut dyn Visitor) -> Result<Option<OwnedFd>> {
        let name = level.names.get(level.at - 1);
        let stat = unless_gone(statat(&level.folder, name, AtFlags::SYMLINK_NOFOLLOW));
        let Some(stat) = stat.at("read the attributes of", self.full(path))? else { return Ok(None) };
        let mode = u16::try_from(stat.st_mode & 0o777).unwrap_or(0);
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FoundKind::File(FileStat::of(&stat)),
            FileType::Directory => FoundKind::Folder,
            FileType::Symlink => {
                let target = unless_gone(readlinkat(&level.folder, name, Vec::new()));
                let Some(target) = target.at("read the link", self.full(path))? else { return Ok(None) };
                visitor.found(Found { path, mode, kind: FoundKind::Symlink(target.as_bytes()) })?;
                return Ok(None);
            }
            other => {
                let what = match other {
                    FileType::Fifo => "a FIFO",
                    FileType::Socket => "a socket",
                    FileType::CharacterDevice | FileType::BlockDevice => "a device",
                    _ => "of an unknown kind",
                };
                let why =
                    format!("it is {what}; a package holds files, folders and symbolic links only: remove it from the source");
                return Err(refused(path.as_bytes(), why));
            }
        };
        let folder = matches!(kind, FoundKind::Folder);
        visitor.found(Found { path, mode, kind })?;
        if !folder {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        unless_gone(openat(&level.folder, name, flags, Mode::empty())).at("open folder", self.full(path))
    }

    fn level(&self, folder: OwnedFd, path: &str) -> Result<Level> {
        let mut names = Names::default();
        for entry in Dir::read_from(&folder).at("read folder", self.full(path))? {
            let entry = entry.at("read folder", self.full(path))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let joined = || [path.as_bytes(), name].join(&b"/"[..usize::from(!path.is_empty())]);
            let text = std::str::from_utf8(name).map_err(|_| refused(&joined(), "the name is not UTF-8; rename it"))?;
            let too_long = |_| refused(&joined(), "the name or its folder is too long");
            let start = u32::try_from(names.text.len()).map_err(too_long)?;
            let len = u8::try_from(text.len()).map_err(too_long)?;
            names.text.push_str(text);
            names.spans.push((start, len));
        }
        let Names { text, spans } = &mut names;
        let of = |&(start, len): &(u32, u8)| &text.as_bytes()[start as usize..start as usize + usize::from(len)];
        spans.sort_unstable_by(|a, b| of(a).cmp(of(b)));
        Ok(Level { folder, names, at: 0, path_len: path.len() })
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
