//! The terms of one install: what whoever asked for it wants spared, and what it may cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::prefer::{Changed, PATIENCE_MAX, Prefer, patience};

/// What was asked for with an install; holds until a version is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Terms {
    /// What to spare; the machine's own choice if none.
    #[serde(default)]
    pub prefer: Option<Prefer>,
    /// Patches under construction are never waited for.
    #[serde(default)]
    pub urgent: bool,
    /// Most bytes on the wire, over all attempts.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// What becomes of an install whose plan is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The plan keeps the budget.
    Go,
    /// It does not, but patches under construction may.
    AwaitPatches,
    /// It does not.
    Refuse,
}

impl Terms {
    /// What to spare, on a machine that spares `own`.
    #[must_use]
    pub fn prefer(&self, own: Prefer) -> Prefer {
        self.prefer.unwrap_or(own)
    }

    /// How long patches under construction are worth waiting for; see [`patience`].
    #[must_use]
    pub fn patience(&self, own: Prefer, changed: Changed, bytes_per_sec: u64) -> Duration {
        if self.urgent { Duration::ZERO } else { patience(self.prefer(own), changed, bytes_per_sec) }
    }

    /// How long patches are waited for that alone can keep the budget.
    #[must_use]
    pub const fn patience_for_budget(&self) -> Duration {
        if self.urgent { Duration::ZERO } else { PATIENCE_MAX }
    }

    /// Says whether `more_bytes` may come after `spent_bytes`.
    #[must_use]
    pub fn allows(&self, spent_bytes: u64, more_bytes: u64) -> bool {
        self.max_bytes.is_none_or(|max| spent_bytes.saturating_add(more_bytes) <= max)
    }

    /// Judges a plan of `planned_bytes` after `spent_bytes`; `building` says that patches are under construction which it does not count with.
    #[must_use]
    pub fn judge(&self, spent_bytes: u64, planned_bytes: u64, building: bool) -> Verdict {
        match self.allows(spent_bytes, planned_bytes) {
            true => Verdict::Go,
            false if building && !self.urgent => Verdict::AwaitPatches,
            false => Verdict::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Terms = Terms { prefer: None, urgent: false, max_bytes: Some(1000) };

    #[test]
    fn a_budget_counts_what_was_spent_before() {
        assert!(BUDGET.allows(400, 600) && !BUDGET.allows(401, 600));
        assert!(!BUDGET.allows(u64::MAX, 1), "no overflow");
        assert!(Terms::default().allows(u64::MAX, u64::MAX), "no budget, no limit");
    }

    #[test]
    fn a_plan_over_the_budget_waits_for_patches_and_is_refused_where_there_are_none_or_it_is_urgent() {
        assert_eq!(BUDGET.judge(0, 1000, true), Verdict::Go);
        assert_eq!(BUDGET.judge(0, 1001, true), Verdict::AwaitPatches);
        assert_eq!(BUDGET.judge(0, 1001, false), Verdict::Refuse);
        assert_eq!(Terms { urgent: true, ..BUDGET }.judge(0, 1001, true), Verdict::Refuse);
    }

    #[test]
    fn what_is_urgent_waits_for_nothing_whatever_is_to_be_spared() {
        let urgent = Terms { urgent: true, ..Terms::default() };
        assert_eq!(urgent.patience(Prefer::Bytes, Changed { raw_bytes: 0, records_bytes: u64::MAX }, 1), Duration::ZERO);
        assert_eq!(urgent.patience_for_budget(), Duration::ZERO);
        assert_eq!(Terms::default().patience(Prefer::Bytes, Changed::default(), 1), PATIENCE_MAX);
        let asked = Terms { prefer: Some(Prefer::Time), ..Terms::default() };
        assert_eq!(
            asked.patience(Prefer::Bytes, Changed::default(), 1),
            Duration::ZERO,
            "what was asked for stands before the machine's choice"
        );
    }
}
