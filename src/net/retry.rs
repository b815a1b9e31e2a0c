//! Trying again: every wait has a reason, is told to its owner, and ends.

use std::future::Future;
use std::time::Duration;

use crate::net::error::{Error, Result};

/// A wait before another try, as shown in `status`.
#[derive(Debug)]
pub struct Wait<'a> {
    /// Which try failed, from 1.
    pub attempt: u32,
    /// Why.
    pub reason: &'a Error,
    /// How long until the next.
    pub wait: Duration,
}

/// Calls `operation` (with the number of the try, from 1) until it succeeds, fails for good, or has failed `attempts_max` times.
///
/// `back_off` gives the wait after a failed try; a server's `Retry-After` lengthens it. `tell` learns of each wait before it begins.
///
/// # Errors
/// The last failure.
pub async fn with_back_off<T, F: Future<Output = Result<T>>>(
    attempts_max: u32,
    back_off: impl Fn(u32) -> Duration,
    mut tell: impl FnMut(&Wait<'_>),
    mut operation: impl FnMut(u32) -> F,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        let error = match operation(attempt).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if attempt >= attempts_max || !error.is_temporary() {
            return Err(error);
        }
        let asked = match &error {
            Error::Problem { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let wait = back_off(attempt).max(asked);
        tell(&Wait { attempt, reason: &error, wait });
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}
