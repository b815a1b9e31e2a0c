//! The one place where the agent reads the time of day.

use crate::domain::Millis;

/// Returns this machine's clock.
pub(super) fn now() -> Millis {
    Millis(jiff::Timestamp::now().as_millisecond())
}
