//! The hub's database, one aggregate a file.
//!
//! A [`Catalog`] is a handle to one SQLite file. Every method is one whole transaction; when a writing one returns `Ok`, its
//! change has survived a power cut. One thread writes; reads run beside it on a snapshot each. Ids and times come from the
//! caller. The fleet's revision rises with every change that site servers or agents must learn of; [`Catalog::revisions`] tells
//! of it after the commit.

mod admin_write;
mod audit;
mod backup;
mod codebases;
mod collections;
mod connection;
mod enrolment;
mod error;
mod installs;
mod invites;
mod machines;
mod packages;
mod policies;
mod readers;
mod refreshes;
mod releases;
mod rights;
mod schema;
mod settings;
mod sites;
mod sql;
mod status;
#[cfg(test)]
mod tests;
mod traffic;
mod tuf;
mod tx;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::watch;

pub use admin_write::{AdminWrite, IdempotencyKey};
pub use audit::AuditEntry;
pub use codebases::CodebasesReported;
pub use enrolment::{Enrol, Enrolled};
pub use error::{Error, Result, TokenProblem};
pub use machines::Machine;
pub use refreshes::{RefreshJob, RefreshQueue};
pub use releases::{KeptVersion, NewVersion};
pub use rights::SiteFacts;
pub use status::Counts;
pub use tuf::{TufChange, TufFiles};
pub use writer::WriterQueue;

use error::{Fail, Step};
use tx::Tx;
use writer::{Fate, Refused};

/// A handle to the hub's database; clones share it.
#[derive(Clone)]
pub struct Catalog {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    writer: writer::Writer,
    readers: readers::Readers,
    revisions: watch::Sender<u64>,
}

impl Catalog {
    /// Makes a new database at `path` and opens it; an empty file left by an attempt that was cut short is taken over.
    ///
    /// Blocks; meant for the start of a program.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is a database already; I/O.
    pub fn create(path: &Path) -> Result<Self> {
        let mut connection = connection::writer(path, true)?;
        schema::create(&mut connection, path)?;
        Self::start(connection, path)
    }

    /// Opens the database at `path` and brings it to the newest version.
    ///
    /// Blocks; meant for the start of a program.
    ///
    /// # Errors
    /// [`Error::TooNew`] if a newer program wrote it, [`Error::NotACatalog`]; I/O.
    pub fn open(path: &Path) -> Result<Self> {
        let mut connection = connection::writer(path, false)?;
        schema::upgrade(&mut connection, path)?;
        Self::start(connection, path)
    }

    fn start(connection: Connection, path: &Path) -> Result<Self> {
        connection::log_ahead(&connection, path)?;
        let revision = tx::revision(&connection).map_err(|fail| fail.at("opening", path))?;
        let source = |source| Error::File { operation: "starting the writer of", path: path.to_owned(), source };
        let shared = Shared {
            path: path.to_owned(),
            writer: writer::Writer::start(connection).map_err(source)?,
            readers: readers::Readers::new(path),
            revisions: watch::Sender::new(revision),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns where the database is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Follows the fleet's revision: the receiver changes after each commit that raised it.
    #[must_use]
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.shared.revisions.subscribe()
    }

    /// Waits until no more writes are taken, because a sync failed, and says so: the database must be opened again.
    pub async fn broken(&self) -> Error {
        self.shared.writer.ended().await;
        Error::Stopped { operation: "writing", path: self.shared.path.clone() }
    }

    /// Tells how many writes wait and for how long.
    #[must_use]
    pub fn writer_queue(&self) -> WriterQueue {
        self.shared.writer.queue()
    }

    /// Runs `work` as one write transaction; `operation` names it in errors.
    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Step<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::downgrade(&self.shared);
        let done = self.shared.writer.run(move |connection| {
            let done = tx::transact(connection, work);
            let fate = if done.as_ref().is_err_and(sync_failed) { Fate::Stop } else { Fate::GoOn };
            // On the writer's thread, so that revisions are told in the order of their commits.
            if let (Ok(tx::Committed { revision: Some(revision), .. }), Some(shared)) = (&done, shared.upgrade()) {
                shared.revisions.send_replace(*revision);
            }
            (done.map(|committed| committed.value), fate)
        });
        let done = done.await.map_err(|refused| self.refused(operation, refused))?;
        done.map_err(|fail| fail.at(operation, &self.shared.path))
    }

    /// Runs `work` as one read transaction; `operation` names it in errors.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Step<T> + Send + 'static,
    ) -> Result<T> {
        self.shared.readers.run(operation, work).await.map_err(|refused| self.refused(operation, refused))?
    }

    fn refused(&self, operation: &'static str, refused: Refused) -> Error {
        let path = self.shared.path.clone();
        match refused {
            Refused::Busy => Error::Busy { operation, path },
            Refused::Stopped => Error::Stopped { operation, path },
        }
    }
}

/// A failed sync says nothing about what is on disk and must not be retried: the file is to be opened anew.
fn sync_failed(fail: &Fail) -> bool {
    let Fail::Sql(rusqlite::Error::SqliteFailure(error, _)) = fail else { return false };
    matches!(error.extended_code, rusqlite::ffi::SQLITE_IOERR_FSYNC | rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC)
}
