//! When a server looks after its store.

use crate::domain::Millis;

/// Earliest repetition of a collection that failed or could not free everything, milliseconds.
const AGAIN_MILLIS_MIN: i64 = 600_000;

/// What decides when garbage is collected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection {
    /// When the last run ended.
    pub last: Option<Millis>,
    /// It left something that waits.
    pub unfinished: bool,
    /// It failed.
    pub failed: bool,
    /// A version went away since it began.
    pub asked: bool,
    /// Milliseconds between runs.
    pub every_millis: i64,
    /// How long what is dead waits, milliseconds.
    pub grace_millis: i64,
}

/// Says when garbage is to be collected: at once after a version went away, when the grace of what it found dead is over, and from time to time.
#[must_use]
pub fn collection_due(now: Millis, of: &Collection) -> Millis {
    let Some(last) = of.last.filter(|_| !of.asked) else { return now };
    let regular = last.plus_millis(of.every_millis);
    let again = last.plus_millis(of.grace_millis.max(AGAIN_MILLIS_MIN));
    match (of.failed, of.unfinished) {
        (true, _) => regular.min(last.plus_millis(AGAIN_MILLIS_MIN)),
        (false, true) => regular.min(again),
        (false, false) => regular,
    }
}

/// Says when everything is to be read again, where that ended last at `last`.
#[must_use]
pub fn scrub_due(now: Millis, last: Option<Millis>, every_millis: i64) -> Millis {
    last.map_or(now, |last| last.plus_millis(every_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);
    const DAY: i64 = 24 * 3600 * 1000;

    #[test]
    fn a_collection_comes_daily_and_at_once_when_a_version_goes() {
        let quiet = Collection {
            last: Some(NOW.plus_millis(-5)),
            unfinished: false,
            failed: false,
            asked: false,
            every_millis: 7 * DAY,
            grace_millis: DAY,
        };
        let due = |of: Collection| collection_due(NOW, &of).0 - NOW.0 + 5;
        assert_eq!(due(quiet), 7 * DAY);
        assert_eq!(due(Collection { unfinished: true, ..quiet }), DAY);
        assert_eq!(due(Collection { failed: true, ..quiet }), AGAIN_MILLIS_MIN);
        assert_eq!(due(Collection { unfinished: true, grace_millis: 0, ..quiet }), AGAIN_MILLIS_MIN);
        assert_eq!(due(Collection { unfinished: true, grace_millis: 0, every_millis: 9, ..quiet }), 9);
        assert_eq!(due(Collection { asked: true, ..quiet }), 5);
        assert_eq!(due(Collection { last: None, ..quiet }), 5);
    }

    #[test]
    fn what_was_never_read_is_read_now() {
        assert_eq!(scrub_due(NOW, None, DAY), NOW);
        assert_eq!(scrub_due(NOW, Some(NOW), DAY), NOW.plus_millis(DAY));
    }
}
