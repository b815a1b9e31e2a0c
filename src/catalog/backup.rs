//! A copy of the database while it is in use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::error::{Error, Fail, Result, Step};
use super::{Catalog, connection};

impl Catalog {
    /// Copies the database as it is now to the new file `to`; durable when it returns, and there is no `to` when it fails.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Full`]; I/O.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        let (from, to) = (self.path().to_owned(), to.to_owned());
        let copied = tokio::task::spawn_blocking(move || copy(&from, &to)).await;
        copied.map_err(|_| Error::Stopped { operation: OPERATION, path: self.path().to_owned() })?
    }
}

const OPERATION: &str = "backing up";

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Err(Error::Exists { path: to.to_owned() });
    }
    let partial = with_suffix(to, ".partial");
    let file = |operation, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Error::File { operation, path, source }
    };
    match fs::remove_file(&partial) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(file("removing", &partial)(e)),
        _ => {}
    }
    let source = connection::reader(from)?;
    let copied = copy_pages(&source, &partial).map_err(|fail: Fail| fail.at(OPERATION, &partial));
    let placed = copied.and_then(|()| {
        fs::OpenOptions::new().write(true).open(&partial).and_then(|f| f.sync_all()).map_err(file("syncing", &partial))?;
        fs::rename(&partial, to).map_err(file("making", to))?;
        sync_folder_of(to).map_err(file("syncing the folder of", to))
    });
    if placed.is_err() {
        // What went wrong first is what counts; a later backup to the same place removes what is left.
        let _ = fs::remove_file(&partial);
    }
    placed
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Copies all pages in one step, which holds one snapshot and does not hinder the writer.
fn copy_pages(source: &Connection, to: &Path) -> Step<()> {
    let mut target = Connection::open(to)?;
    let step = Backup::new(source, &mut target)?.step(-1)?;
    match step {
        StepResult::Done => {}
        _ => return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None).into()),
    }
    // One plain file: whoever opens it turns the write-ahead log on again.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    target.close().map_err(|(_, e)| e)?;
    Ok(())
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}
