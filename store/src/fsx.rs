//! The few things done to files and folders that must be done one way: durable writes and renames, folder syncs, locks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{At, Error, Result};

/// Name of the file in a folder that a [`FolderLock`] holds.
pub const LOCK_FILE: &str = "lock";

const TEMP_PREFIX: &str = ".tmp-";
/// How often, and after what waits, a folder is removed in which something is written still.
const REMOVALS_MAX: u32 = 400;
const REMOVAL_WAIT: Duration = Duration::from_millis(5);
/// How often a folder is listed before a file that vanished is an error.
const LISTINGS_MAX: usize = 8;

/// Returns the folder that holds `path`.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns a new name for a temporary file in the folder of `path`, never the same twice in a process.
#[must_use]
pub fn temp_beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    folder_of(path).join(format!("{TEMP_PREFIX}{}-{number}", std::process::id()))
}

/// Says whether `path` has a name that [`temp_beside`] gives: what is left of a write that was cut short.
#[must_use]
pub fn is_temp(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes()))
}

/// Creates a file in the folder `dir` that has no name and is gone when it is closed, to be read and written.
///
/// # Errors
/// I/O.
pub fn unnamed(dir: &Path) -> Result<File> {
    let path = temp_beside(&dir.join("unnamed"));
    let _ = fs::remove_file(&path); // as in `write_replacing`
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).at("create", &path)?;
    fs::remove_file(&path).at("remove", &path)?;
    Ok(file)
}

/// Removes the folder `dir` and all in it; one that is not there is as good. A process that was killed as it wrote there may do so once more, so that the
/// folder is not empty in the end: that is tried again for two seconds.
///
/// # Errors
/// I/O.
pub fn remove_folder(dir: &Path) -> Result<()> {
    let mut tries = 0..REMOVALS_MAX;
    loop {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                if tries.next().is_none() {
                    return Err(error).at("remove", dir);
                }
                std::thread::sleep(REMOVAL_WAIT);
            }
            _ => return Ok(()),
        }
    }
}

/// Returns the bytes that this user can still write to the file system of `path`; `None` where the system does not tell.
///
/// # Errors
/// I/O.
pub fn free_bytes(path: &Path) -> Result<Option<u64>> {
    let stat = rustix::fs::statvfs(path).at("ask for the free space of", path)?;
    Ok((stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Removes what writes that were cut short left in the folder `dir`; only for who alone writes there.
///
/// # Errors
/// I/O.
pub fn remove_temps(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).at("list", dir)? {
        let path = entry.at("list", dir)?.path();
        if is_temp(&path) {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

/// Writes `bytes` to `path` so that after any crash the file holds the old content or the new, whole; durable when it returns.
///
/// # Errors
/// I/O; the old file is then as it was.
pub fn write_durable(path: &Path, bytes: &[u8]) -> Result<()> {
    write_durable_with(path, |file| file.write_all(bytes))
}

/// Writes as [`write_durable`] what `fill` puts into the file.
///
/// # Errors
/// As [`write_durable`]; what `fill` returns.
pub(crate) fn write_durable_with(path: &Path, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    write_replacing(path, fill, OpenOptions::new().write(true).create_new(true))
}

/// Writes as [`write_durable`] a file that only its owner may read: keys and secrets.
///
/// # Errors
/// As [`write_durable`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write_replacing(path, |file| file.write_all(bytes), &options)
}

fn write_replacing(path: &Path, fill: impl FnOnce(&mut File) -> std::io::Result<()>, options: &OpenOptions) -> Result<()> {
    let temp = temp_beside(path);
    // A killed process may have left one of this name: it had the same process id, as happens in a container.
    let _ = fs::remove_file(&temp); // there is none, as a rule; a real obstacle shows in the next line
    let written = options.open(&temp).at("create", &temp).and_then(|mut file| {
        fill(&mut file).at("write", path)?;
        file.sync_all().at("sync", path)
    });
    let placed = written.and_then(|()| rename_durable(&temp, path));
    if placed.is_err() {
        let _ = fs::remove_file(&temp); // already failing: the first error is the one to tell
    }
    placed
}

/// Renames `from` to `to` (same file system, replacing a file there) and syncs both folders; syncing the file itself is up to the caller.
///
/// # Errors
/// I/O.
pub fn rename_durable(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).at("rename to", to)?;
    sync_dir(folder_of(to))?;
    if folder_of(from) != folder_of(to) {
        sync_dir(folder_of(from))?;
    }
    Ok(())
}

/// Makes the names in the folder `dir` durable.
///
/// # Errors
/// I/O.
pub fn sync_dir(dir: &Path) -> Result<()> {
    // Windows has no sync of a folder; its renames are journaled by the file system.
    if cfg!(unix) { File::open(dir).and_then(|folder| folder.sync_all()).at("sync folder", dir) } else { Ok(()) }
}

/// Creates the folder `dir` where it is absent, and those above it, each durable in the one above.
///
/// # Errors
/// I/O, or something that is no folder is in the way.
pub fn create_dir_durable(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = folder_of(dir);
    if above != dir {
        create_dir_durable(above)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other.at("create folder", dir),
    }?;
    sync_dir(above)
}

/// Fills `bytes` from `offset` of `file`, leaving its position alone.
///
/// # Errors
/// I/O; `UnexpectedEof` when the file ends before.
pub fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset);
    #[cfg(windows)]
    return windows::read_exact_at(file, bytes, offset);
}

/// Writes all of `bytes` at `offset` of `file`; after an error some of them may be there.
///
/// # Errors
/// I/O.
pub fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, offset);
    #[cfg(windows)]
    return windows::write_all_at(file, bytes, offset);
}

#[cfg(windows)]
mod windows {
    use std::fs::File;
    use std::io::{Error, ErrorKind, Result};
    use std::os::windows::fs::FileExt;

    pub(super) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            match file.seek_read(bytes, offset)? {
                0 => return Err(Error::from(ErrorKind::UnexpectedEof)),
                read => (bytes, offset) = (&mut std::mem::take(&mut bytes)[read..], offset + read as u64),
            }
        }
        Ok(())
    }

    pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        while !bytes.is_empty() {
            match file.seek_write(bytes, offset)? {
                0 => return Err(Error::from(ErrorKind::WriteZero)),
                written => (bytes, offset) = (&bytes[written..], offset + written as u64),
            }
        }
        Ok(())
    }
}

/// Calls `load`, which lists a folder and opens what it finds, again when a file vanished or was renamed in between.
///
/// # Errors
/// What `load` returns.
pub(crate) fn retry_vanished<T>(mut load: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..LISTINGS_MAX {
        match load() {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    load()
}

/// A folder held by this process; dropped, it is free again, also when the process is killed.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl Drop for FolderLock {
    /// Unlocks by name, not by closing: a child that another thread is just starting holds a copy of every open file until it runs its
    /// program, and with the copy the lock.
    fn drop(&mut self) {
        // Where it fails, closing the file frees the folder a moment later.
        let _ = self.file.unlock();
    }
}

/// Takes the existing folder `dir` for this process, by a lock on its file [`LOCK_FILE`].
///
/// # Errors
/// [`Error::Locked`] when anybody holds it (another handle in this process too), or I/O.
pub fn lock(dir: &Path) -> Result<FolderLock> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).at("create", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock { file }),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.to_path_buf())),
        Err(TryLockError::Error(source)) => Err(source).at("lock", &path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_write_replaces_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_durable(&path, b"old").unwrap();
        write_durable(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn failed_write_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        create_dir_durable(&path.join("inner")).unwrap();
        assert!(matches!(write_durable(&path, b"x"), Err(Error::Io { operation: "rename to", .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn private_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_private(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(Error::Locked(path)) if path == dir.path()));
        drop(first);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn a_copy_of_the_file_that_outlives_the_lock_does_not_hold_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let _copy = first.file.try_clone().unwrap();
        drop(first);
        lock(dir.path()).unwrap();
    }
}
