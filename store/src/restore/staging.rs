//! The hidden folder beside the destination: where content is written until it is complete.
//!
//! ```text
//! .NAME.consign-staging/     same file system as the destination, mode 0700
//!   marker                   which manifest is being assembled, and how; nothing in the folder is believed without it
//!   tree/                    the new tree, by path (first install), or its changed entries, by entry number (update)
//! ```

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::ManifestId;

/// Open files of several chunks that are kept for the next chunk.
const OPEN_FILES_MAX: usize = 32;
/// Written bytes after which one thread makes them durable while the others go on.
const UNSYNCED_BYTES_SOFT_MAX: u64 = 32 << 20;
/// Written bytes after which everybody waits for that: what a power cut can cost.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

const MARKER: &str = "marker";
const TREE: &str = "tree";

/// How the staged content gets to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The whole tree is staged by path and renamed to the destination.
    Install,
    /// Changed entries are staged by number and switched into the tree that is there.
    Update,
}

/// The staging folder of one assembly.
#[derive(Debug)]
pub(super) struct Staging {
    dir: PathBuf,
    tree: OwnedFd,
    way: Way,
    /// Permission bits that new files do not get although asked for.
    masked: u16,
    open: Mutex<VecDeque<(u32, Arc<File>)>>,
    unsynced: AtomicU64,
    syncing: Mutex<()>,
}

/// Returns where the staging folder of `dest` is.
pub(super) fn folder_beside(dest: &Path) -> PathBuf {
    hidden_beside(dest, "staging")
}

/// Returns the hidden name beside `dest` for `what`.
pub(super) fn hidden_beside(dest: &Path, what: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(dest.file_name().unwrap_or_default());
    name.push(".consign-");
    name.push(what);
    fsx::folder_of(dest).join(name)
}

/// Returns the staged tree below `staging`.
pub(super) fn tree_in(staging: &Path) -> PathBuf {
    staging.join(TREE)
}

/// Reads which manifest the folder `staging` assembles and how; `None` if it is not there or not ours.
pub(super) fn marked(staging: &Path) -> Option<(ManifestId, Way)> {
    let text = fs::read_to_string(staging.join(MARKER)).ok()?;
    let (way, id) = text.trim_end().split_once(' ')?;
    let way = match way {
        "install" => Way::Install,
        "update" => Way::Update,
        _ => return None,
    };
    Some((ManifestId::from(id.parse::<crate::id::FileDigest>().ok()?), way))
}

/// Removes the folder `staging` and all in it, if it is there.
pub(super) fn remove(staging: &Path) -> Result<()> {
    // Without its marker nothing in it is believed, should the removal be cut short.
    match fs::remove_file(staging.join(MARKER)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", staging)?,
        _ => {}
    }
    match fs::remove_dir_all(staging) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", staging),
        _ => Ok(()),
    }
}

impl Staging {
    /// Opens the staging folder of `dest` for `manifest`; says whether it holds something from before. A folder that was for another
    /// manifest is emptied.
    pub(super) fn open(dest: &Path, manifest: ManifestId, way: Way) -> Result<(Self, bool)> {
        let dir = folder_beside(dest);
        let resumed = marked(&dir) == Some((manifest, way)) && tree_in(&dir).is_dir();
        if !resumed {
            remove(&dir)?;
            fs::DirBuilder::new().mode(0o700).create(&dir).at("create folder", &dir)?;
            fs::create_dir(tree_in(&dir)).at("create folder", tree_in(&dir))?;
            let way = if way == Way::Install { "install" } else { "update" };
            fsx::write_durable(&dir.join(MARKER), format!("{way} {manifest}\n").as_bytes())?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let tree = rustix::fs::open(tree_in(&dir), flags, Mode::empty()).at("open", tree_in(&dir))?;
        let masked = masked_bits(&dir)?;
        let (open, unsynced, syncing) = (Mutex::default(), AtomicU64::new(0), Mutex::new(()));
        Ok((Self { dir, tree, way, masked, open, unsynced, syncing }, resumed))
    }

    /// Says whether anything is in the tree.
    pub(super) fn holds_something(&self) -> bool {
        fs::read_dir(tree_in(&self.dir)).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Returns the staging folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens a new file without a name, for what is not needed later.
    pub(super) fn scratch(&self) -> Result<File> {
        fsx::unnamed(&self.dir)
    }

    /// Returns how the content gets to its destination.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Returns the name under which entry `number` with `path` is staged.
    pub(super) fn name(&self, number: u32, path: &str) -> String {
        match self.way {
            Way::Install => path.to_owned(),
            Way::Update => number.to_string(),
        }
    }

    /// Writes a whole small file with its final permission bits.
    pub(super) fn write_whole(&self, name: &str, mode: u16, bytes: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&self.tree, name, flags, mode_of(mode));
        let file = match create() {
            Err(Errno::EXIST) => {
                // What an interrupted run left there has been found wrong.
                rustix::fs::unlinkat(&self.tree, name, AtFlags::empty()).at("remove", self.path(name))?;
                create()
            }
            other => other,
        };
        let file = file.at("create", self.path(name))?;
        if mode & self.masked != 0 {
            rustix::fs::fchmod(&file, mode_of(mode)).at("change the mode of", self.path(name))?;
        }
        write_all(file.as_fd(), bytes).at("write", self.path(name))?;
        self.wrote(bytes.len() as u64)
    }

    /// Writes a part of the file of entry `number`, which gets its final permission bits later.
    pub(super) fn write_at(&self, number: u32, name: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let file = self.open_for_parts(number, name)?;
        file.write_all_at(bytes, offset).at("write", self.path(name))?;
        self.wrote(bytes.len() as u64)
    }

    fn open_for_parts(&self, number: u32, name: &str) -> Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = open.iter().find(|(n, _)| *n == number) {
            return Ok(Arc::clone(file));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.tree, name, flags, mode_of(0o600)).at("create", self.path(name))?;
        let file = Arc::new(File::from(file));
        if open.len() == OPEN_FILES_MAX {
            open.pop_front();
        }
        open.push_back((number, Arc::clone(&file)));
        Ok(file)
    }

    /// Makes a staged file share the blocks of `source`; the inner error says why the file system did not.
    pub(super) fn clone_from(&self, name: &str, source: &File) -> Result<Result<(), Errno>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.tree, name, flags, mode_of(0o600)).at("create", self.path(name))?;
        Ok(rustix::fs::ioctl_ficlone(&file, source))
    }

    /// Opens a staged file for reading; `None` if there is no readable regular file.
    pub(super) fn read(&self, name: &str) -> Option<File> {
        super::verify::open_regular(self.tree.as_fd(), name)
    }

    /// Creates a staged folder that its owner can write to; one that is there is as good.
    pub(super) fn make_folder(&self, name: &str, mode: u16) -> Result<()> {
        match rustix::fs::mkdirat(&self.tree, name, mode_of(if self.makes_final(mode) { mode } else { 0o700 })) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => self.set_mode(name, 0o700), // a finish that was cut short may have closed it already
            other => other.at("create folder", self.path(name)),
        }
    }

    /// Says whether a new folder gets the permission bits `mode` at once: its owner can write to it, and none is denied.
    pub(super) fn makes_final(&self, mode: u16) -> bool {
        mode & 0o700 == 0o700 && mode & self.masked == 0
    }

    /// Creates a staged symbolic link.
    pub(super) fn make_link(&self, name: &str, target: &str) -> Result<()> {
        match rustix::fs::symlinkat(target, &self.tree, name) {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&self.tree, name, AtFlags::empty()).at("remove", self.path(name))?;
                rustix::fs::symlinkat(target, &self.tree, name)
            }
            other => other,
        }
        .at("create link", self.path(name))
    }

    /// Sets the permission bits of a staged file or folder; no link is ever above it.
    pub(super) fn set_mode(&self, name: &str, mode: u16) -> Result<()> {
        rustix::fs::chmodat(&self.tree, name, mode_of(mode), AtFlags::empty()).at("change the mode of", self.path(name))
    }

    /// Counts written bytes and makes them durable from time to time.
    fn wrote(&self, bytes: u64) -> Result<()> {
        let unsynced = self.unsynced.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unsynced < UNSYNCED_BYTES_SOFT_MAX {
            return Ok(());
        }
        let _guard = match self.syncing.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::WouldBlock) if unsynced < UNSYNCED_BYTES_MAX => return Ok(()),
            Err(_) => self.syncing.lock().unwrap_or_else(PoisonError::into_inner),
        };
        if self.unsynced.load(Ordering::Relaxed) < UNSYNCED_BYTES_SOFT_MAX { Ok(()) } else { self.sync_held() }
    }

    /// Makes everything staged durable.
    pub(super) fn sync(&self) -> Result<()> {
        let _guard = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.sync_held()
    }

    fn sync_held(&self) -> Result<()> {
        let taken = self.unsynced.load(Ordering::Relaxed);
        rustix::fs::syncfs(&self.tree).at("sync", &self.dir).inspect_err(|_| {
            // The kernel may hold good pages that are not on the disk: nothing staged can be believed any more, read or not.
            let _ = fs::remove_file(self.dir.join(MARKER));
        })?;
        self.unsynced.fetch_sub(taken, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the full path of a staged name, for messages.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        tree_in(&self.dir).join(name)
    }

    /// Refuses to begin when the file system has less than `bytes` free.
    pub(super) fn check_space(&self, bytes: u64) -> Result<()> {
        let stat = rustix::fs::fstatvfs(&self.tree).at("ask for the free space of", &self.dir)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if stat.f_blocks == 0 || free >= bytes {
            return Ok(());
        }
        let why = format!("{bytes} bytes are needed and {free} are free; make room and try again");
        let source = std::io::Error::new(std::io::ErrorKind::StorageFull, why);
        Err(Error::Io { operation: "write to", path: self.dir.clone(), source })
    }
}

/// Converts manifest permission bits.
pub(super) fn mode_of(mode: u16) -> Mode {
    Mode::from_raw_mode(mode.into())
}

/// Finds out which permission bits new files in `dir` are denied (umask, default access lists).
fn masked_bits(dir: &Path) -> Result<u16> {
    let probe = fsx::temp_beside(&dir.join(MARKER));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(&probe, flags, mode_of(0o777)).at("create", &probe)?;
    let stat = rustix::fs::fstat(&file).at("read the mode of", &probe)?;
    fs::remove_file(&probe).at("remove", &probe)?;
    Ok(!u16::try_from(stat.st_mode & 0o777).unwrap_or(0) & 0o777)
}

fn write_all(file: std::os::fd::BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
