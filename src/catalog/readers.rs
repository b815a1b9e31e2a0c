//! The readers: a few connections, used on blocking threads, each read a snapshot of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::connection;
use super::error::{Fail, Result, Step};
use super::writer::Refused;

/// Most reads at a time.
const READERS_MAX: usize = 4;
/// Longest wait for a connection.
const READER_WAIT_SECS_MAX: u64 = 30;

pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Arc::default(), free: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Runs `work` in one read transaction on a blocking thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Step<T> + Send + 'static,
    ) -> std::result::Result<Result<T>, Refused> {
        let wait = Duration::from_secs(READER_WAIT_SECS_MAX);
        let place = tokio::time::timeout(wait, Arc::clone(&self.free).acquire_owned()).await;
        let place = place.map_err(|_| Refused::Busy)?.map_err(|_| Refused::Stopped)?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let task = tokio::task::spawn_blocking(move || {
            // The place is held until the connection is back, so there are never more than READERS_MAX.
            let _place = place;
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut db = kept.map_or_else(|| connection::reader(&path), Ok)?;
            let value = snapshot(&mut db, work).map_err(|fail| fail.at(operation, &path));
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
            value
        });
        task.await.map_err(|_| Refused::Stopped)
    }
}

fn snapshot<T>(db: &mut Connection, work: impl FnOnce(&Connection) -> Step<T>) -> std::result::Result<T, Fail> {
    let tx = db.transaction()?;
    let value = work(&tx)?;
    tx.commit()?;
    Ok(value)
}
