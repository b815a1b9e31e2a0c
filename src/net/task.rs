//! Tasks that end with their owner.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// A task that is aborted when this is dropped.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Starts `work` in the caller's tracing span.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work.in_current_span()))
    }

    /// Says whether the work has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
