//! The wall clock: the one place where the fleet reads it.

use crate::domain::Millis;

/// Returns this machine's clock.
#[must_use]
pub fn now() -> Millis {
    Millis(jiff::Timestamp::now().as_millisecond())
}
