//! The site server's clock: the one place where it is read.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::Millis;

/// The wall clock.
pub(super) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
