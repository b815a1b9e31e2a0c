//! Folders compared, counted and brought to equal one another.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli::error::CliError;

/// Bytes compared at a time.
const COMPARE_BYTES: usize = 1 << 20;
/// Deepest folder that is followed.
const DEPTH_MAX: usize = 256;

/// Counts the regular files under `root` and their bytes.
///
/// # Errors
/// Something cannot be read.
pub fn measure(root: &Path) -> Result<(u64, u64), CliError> {
    let (mut files, mut bytes) = (0, 0);
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for name in names(&folder)? {
            let path = folder.join(name);
            let meta = meta(&path)?;
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_file() {
                files += 1;
                bytes += meta.len();
            }
        }
    }
    Ok((files, bytes))
}

/// Returns the first path at which two folders differ in kind, content, link target or permission; `None` if they are equal.
///
/// # Errors
/// Something cannot be read.
pub fn difference(a: &Path, b: &Path) -> Result<Option<PathBuf>, CliError> {
    let mut folders = vec![(a.to_path_buf(), b.to_path_buf())];
    while let Some((a, b)) = folders.pop() {
        let (in_a, in_b) = (names(&a)?, names(&b)?);
        if let Some(lone) = in_a.symmetric_difference(&in_b).next() {
            return Ok(Some(a.join(lone)));
        }
        for name in in_a {
            let (a, b) = (a.join(&name), b.join(&name));
            let (meta_a, meta_b) = (meta(&a)?, meta(&b)?);
            if !alike(&a, &meta_a, &b, &meta_b)? {
                return Ok(Some(a));
            }
            if meta_a.is_dir() {
                folders.push((a, b));
            }
        }
    }
    Ok(None)
}

/// Makes the folder `to` equal `from`; touches only what differs.
///
/// # Errors
/// Something cannot be read or written, or a folder is over 256 deep.
pub fn mirror(from: &Path, to: &Path) -> Result<(), CliError> {
    mirror_folder(from, to, DEPTH_MAX)
}

fn mirror_folder(from: &Path, to: &Path, depth: usize) -> Result<(), CliError> {
    if depth == 0 {
        return Err(CliError::failed(format!("{} is over {DEPTH_MAX} folders deep", from.display())));
    }
    if !to.is_dir() {
        fs::create_dir(to).map_err(|e| CliError::io("create", to, &e))?;
    }
    let wanted = names(from)?;
    for extra in names(to)?.difference(&wanted) {
        remove(&to.join(extra))?;
    }
    for name in wanted {
        let (from, to) = (from.join(&name), to.join(&name));
        let meta_from = meta(&from)?;
        let present = to.symlink_metadata().ok();
        if meta_from.is_dir() {
            if present.is_some_and(|present| !present.is_dir()) {
                remove(&to)?;
            }
            mirror_folder(&from, &to, depth - 1)?;
            continue;
        }
        if let Some(present) = &present {
            if alike(&from, &meta_from, &to, present)? {
                continue;
            }
            remove(&to)?;
        }
        if meta_from.is_symlink() {
            let target = fs::read_link(&from).map_err(|e| CliError::io("read", &from, &e))?;
            std::os::unix::fs::symlink(target, &to).map_err(|e| CliError::io("link", &to, &e))?;
        } else if meta_from.is_file() {
            fs::copy(&from, &to).map_err(|e| CliError::io("copy", &from, &e))?;
        } else {
            return Err(
                CliError::failed(format!("{} is no file, folder or link", from.display())).hint("remove it from the folder")
            );
        }
    }
    let mode = meta(from)?.permissions();
    fs::set_permissions(to, mode).map_err(|e| CliError::io("change the mode of", to, &e))
}

fn remove(path: &Path) -> Result<(), CliError> {
    let gone = if meta(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    gone.map_err(|e| CliError::io("remove", path, &e))
}

/// Says whether two entries are equal; of folders only the kind and the mode.
fn alike(a: &Path, meta_a: &Metadata, b: &Path, meta_b: &Metadata) -> Result<bool, CliError> {
    if meta_a.file_type() != meta_b.file_type() {
        return Ok(false);
    }
    if meta_a.is_symlink() {
        let target = |path: &Path| fs::read_link(path).map_err(|e| CliError::io("read", path, &e));
        return Ok(target(a)? == target(b)?);
    }
    if meta_a.permissions().mode() & 0o777 != meta_b.permissions().mode() & 0o777 {
        return Ok(false);
    }
    Ok(!meta_a.is_file() || meta_a.len() == meta_b.len() && same_bytes(a, b)?)
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool, CliError> {
    let open = |path: &Path| fs::File::open(path).map_err(|e| CliError::io("open", path, &e));
    let (mut file_a, mut file_b) = (open(a)?, open(b)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        part(&mut file_a, &mut left).map_err(|e| CliError::io("read", a, &e))?;
        part(&mut file_b, &mut right).map_err(|e| CliError::io("read", b, &e))?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

fn part(file: &mut fs::File, into: &mut Vec<u8>) -> std::io::Result<usize> {
    into.clear();
    file.take(COMPARE_BYTES as u64).read_to_end(into)
}

fn meta(path: &Path) -> Result<Metadata, CliError> {
    path.symlink_metadata().map_err(|e| CliError::io("look at", path, &e))
}

fn names(folder: &Path) -> Result<BTreeSet<OsString>, CliError> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect())
        .map_err(|e| CliError::io("list", folder, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn a_mirror_equals_its_source_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        tree(&from, &[("a/b", "1"), ("c", "2"), ("x", "file")]);
        std::os::unix::fs::symlink("c", from.join("link")).unwrap();
        tree(&to, &[("a", "a file where a folder comes"), ("c", "9"), ("x/y", "a folder where a file comes"), ("z/z", "gone")]);
        assert!(difference(&from, &to).unwrap().is_some());
        mirror(&from, &to).unwrap();
        assert_eq!(difference(&from, &to).unwrap(), None);
        assert_eq!(measure(&to).unwrap(), (3, 6));
    }

    #[test]
    fn a_byte_a_mode_or_a_target_is_a_difference() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        tree(&a, &[("f", "1")]);
        mirror(&a, &b).unwrap();
        fs::write(b.join("f"), "2").unwrap();
        assert_eq!(difference(&a, &b).unwrap(), Some(a.join("f")));
        mirror(&a, &b).unwrap();
        fs::set_permissions(b.join("f"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(difference(&a, &b).unwrap().is_some());
        mirror(&a, &b).unwrap();
        std::os::unix::fs::symlink("f", a.join("l")).unwrap();
        std::os::unix::fs::symlink("g", b.join("l")).unwrap();
        assert_eq!(difference(&a, &b).unwrap(), Some(a.join("l")));
    }
}
