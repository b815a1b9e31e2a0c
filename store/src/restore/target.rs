//! The destination before anything is written: what stands there, and what an interrupted run left half done.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::{FileDigest, ManifestId};

use super::Target;
use super::staging::{self, Way};
use super::switch::{SWITCH_FILE, Switch};

/// Names the version that the last finished assembly put in place.
const INSTALLED_FILE: &str = "installed";

/// What stands at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    EmptyFolder,
    Folder,
}

/// Makes `dest` absolute and looks at what stands there.
///
/// # Errors
/// Refused: a link, a file, the root of a file system.
pub(super) fn look(dest: &Path) -> Result<(PathBuf, Found)> {
    let refuse = |why: &str| Err(Error::Refused { path: dest.display().to_string(), why: why.to_owned() });
    let absolute = std::path::absolute(dest).at("resolve", dest)?;
    if absolute.file_name().is_none() {
        return refuse("it is no name of a folder; choose a folder of its own with --dest");
    }
    let stat = match fs::symlink_metadata(&absolute) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((absolute, Found::Nothing)),
        other => other.at("look at", dest)?,
    };
    if stat.is_symlink() {
        return refuse("it is a symbolic link; name the folder itself");
    }
    if !stat.is_dir() {
        return refuse("it is not a folder; choose another --dest, or move it away");
    }
    let empty = fs::read_dir(&absolute).at("read", dest)?.next().is_none();
    Ok((absolute, if empty { Found::EmptyFolder } else { Found::Folder }))
}

/// Returns the version that an assembly has put in place, as noted in the work folder `work`; `None` while a switch is unfinished.
#[must_use]
pub fn installed(work: &Path) -> Option<ManifestId> {
    if work.join(SWITCH_FILE).exists() {
        return None;
    }
    let text = fs::read_to_string(work.join(INSTALLED_FILE)).ok()?;
    text.trim_end().parse::<FileDigest>().ok().map(ManifestId::from)
}

/// Notes durably which version is in place; `None` before the first one is.
pub(super) fn note_installed(work: &Path, manifest: Option<ManifestId>) -> Result<()> {
    let path = work.join(INSTALLED_FILE);
    let Some(manifest) = manifest else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.at("remove", &path).and_then(|()| fsx::sync_dir(work)),
        };
    };
    fsx::write_durable(&path, format!("{manifest}\n").as_bytes())
}

/// Finishes what an interrupted [`super::Assembly::finish`] began, if anything, and returns the version that is in place.
///
/// Whoever runs programs from a destination calls this first after a start; [`super::Assembly::open`] does it too.
///
/// # Errors
/// The journal is damaged, somebody else is at work there, or I/O; the journal is then kept for the next try.
pub fn recover(target: &Target) -> Result<Option<ManifestId>> {
    if !target.work.is_dir() {
        return Ok(None);
    }
    let _lock = fsx::lock(&target.work)?;
    recover_held(&std::path::absolute(&target.dest).at("resolve", &target.dest)?, &target.work)
}

/// Does the work of [`recover`] under the lock.
pub(super) fn recover_held(dest: &Path, work: &Path) -> Result<Option<ManifestId>> {
    if let Some(switch) = Switch::find(work)? {
        complete(switch, work, &mut |_| Ok(()))?;
        return Ok(installed(work));
    }
    let staging = staging::folder_beside(dest);
    if let Some((manifest, Way::Install)) = staging::marked(&staging)
        && !staging::tree_in(&staging).exists()
        && look(dest).is_ok_and(|(_, found)| found == Found::Folder)
    {
        // The rename was the last step before the note. An empty folder may have been there before, and the tree be lost with its marker left.
        note_installed(work, Some(manifest))?;
        staging::remove(&staging)?;
    }
    Ok(installed(work))
}

/// Takes the steps of a journal, notes the version and clears away. `after` sees each step.
pub(super) fn complete(switch: Switch, work: &Path, after: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
    switch.perform(after)?;
    note_installed(work, Some(switch.manifest))?;
    let staging = staging::folder_beside(&switch.dest);
    switch.remove()?;
    staging::remove(&staging)
}
