//! The one door to blocking work: everything that reads files, compresses or hashes leaves the reactor here.

use tokio::task::JoinHandle;
use tracing::Span;

use crate::net::error::{Error, Result};

/// Blocking work that has been started; it runs to its end even if this is dropped.
#[derive(Debug)]
pub struct Work<T> {
    what: &'static str,
    handle: JoinHandle<T>,
}

/// Starts `work` on a blocking thread, in the caller's tracing span; `what` names it in errors.
pub fn start<T: Send + 'static>(what: &'static str, work: impl FnOnce() -> T + Send + 'static) -> Work<T> {
    let span = Span::current();
    Work { what, handle: tokio::task::spawn_blocking(move || span.in_scope(work)) }
}

/// Runs `work` on a blocking thread and waits for it.
///
/// # Errors
/// [`Error::Stopped`] when the process is stopping or `work` panicked.
pub async fn run<T: Send + 'static>(what: &'static str, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    start(what, work).join().await
}

impl<T> Work<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn join(mut self) -> Result<T> {
        self.ended().await
    }

    /// Waits for the result; who gives up waiting may wait again. Whoever has it does not ask again.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn ended(&mut self) -> Result<T> {
        (&mut self.handle).await.map_err(|_| Error::Stopped(self.what))
    }
}
