//! Points in time as stored and sent: milliseconds since 1970, UTC.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// The point `seconds` later.
    #[must_use]
    pub const fn plus_secs(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// The point `millis` later.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The point `wait` later.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        self.plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
    }

    /// How long it is from here to `later`; nothing if that was before.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC, to the second (`2026-11-20T17:40:00Z`): what signed metadata carries.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0)
            .and_then(|t| t.round(jiff::Unit::Second))
            .map_or_else(|_| format!("{} ms", self.0), |t| t.to_string())
    }

    /// Reads RFC 3339; `None` if `text` is no such time.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }
}
