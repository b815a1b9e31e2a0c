//! The pace of upkeep: a rate is held, and while somebody waits for other work it goes on only now and then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use consign_store::{Error, Result};

use super::Holder;

/// Longest pause between two pieces of work, whoever else is at work: upkeep that never ended would be none.
const HOLD_BACK_MAX: Duration = Duration::from_secs(10);
/// How often a pause looks up.
const LOOK: Duration = Duration::from_millis(50);

/// Holds back one blocking piece of upkeep.
pub(super) struct Pace<'a> {
    pub bytes_per_sec: u64,
    /// When what was read would have been read at the rate.
    pub due: Instant,
    pub holder: &'a dyn Holder,
    /// Somebody waits for this very work: no pause.
    pub urgent: &'a AtomicBool,
    pub stopping: &'a AtomicBool,
    pub holding_back: &'a AtomicBool,
}

impl Pace<'_> {
    /// Waits after `bytes` were read.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the process stops.
    pub fn take(&mut self, bytes: u64) -> Result<()> {
        let now = Instant::now();
        self.due = due(self.due, now, bytes, self.bytes_per_sec);
        while Instant::now() < self.due && !self.urgent.load(Ordering::Relaxed) {
            self.check()?;
            sleep(self.due.saturating_duration_since(Instant::now()).min(LOOK));
        }
        let until = Instant::now() + HOLD_BACK_MAX;
        while self.holder.is_busy() && !self.urgent.load(Ordering::Relaxed) && Instant::now() < until {
            self.holding_back.store(true, Ordering::Relaxed);
            self.check()?;
            sleep(LOOK);
        }
        self.holding_back.store(false, Ordering::Relaxed);
        self.check()
    }

    fn check(&self) -> Result<()> {
        if self.stopping.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Returns when `bytes` more have been read at the rate, if all before was due at `before`: time that passed unused is not made up for.
fn due(before: Instant, now: Instant, bytes: u64, bytes_per_sec: u64) -> Instant {
    let micros = u128::from(bytes) * 1_000_000 / u128::from(bytes_per_sec.max(1));
    before.max(now) + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX).min(3_600_000_000))
}

#[cfg(test)]
mod tests {
    use consign_store::upkeep::Live;

    use super::*;
    use crate::net::data_plane::BoxFuture;

    /// A role at which somebody waits for other work while it is set.
    struct Busy(AtomicBool);

    impl Holder for Busy {
        fn live(&self) -> BoxFuture<'_, Result<Live, String>> {
            Box::pin(async { Ok(Live::default()) })
        }

        fn is_busy(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        fn damage_found(&self) -> BoxFuture<'_, bool> {
            Box::pin(async { false })
        }
    }

    #[test]
    fn it_holds_back_while_somebody_waits_unless_it_is_urgent_and_ends_when_the_process_does() {
        let holder = Busy(AtomicBool::new(true));
        let [urgent, stopping, holding_back] = [const { AtomicBool::new(false) }; 3];
        let take = || {
            let flags = (&urgent, &stopping, &holding_back);
            let (urgent, stopping, holding_back) = flags;
            Pace { bytes_per_sec: 1 << 40, due: Instant::now(), holder: &holder, urgent, stopping, holding_back }.take(1)
        };
        std::thread::scope(|scope| {
            let taking = scope.spawn(take);
            while !holding_back.load(Ordering::Relaxed) {
                assert!(!taking.is_finished(), "it did not hold back");
                std::thread::yield_now();
            }
            holder.0.store(false, Ordering::Relaxed);
            taking.join().unwrap().unwrap();
        });
        holder.0.store(true, Ordering::Relaxed);
        urgent.store(true, Ordering::Relaxed);
        take().unwrap();
        assert!(!holding_back.load(Ordering::Relaxed));
        stopping.store(true, Ordering::Relaxed);
        assert!(matches!(take(), Err(Error::Cancelled)));
    }

    #[test]
    fn a_rate_is_held_and_idle_time_is_not_made_up_for() {
        let start = Instant::now();
        let first = due(start, start, 3_000_000, 1_000_000);
        assert_eq!(first - start, Duration::from_secs(3));
        assert_eq!(due(first, start, 1_000_000, 1_000_000) - start, Duration::from_secs(4));
        let later = first + Duration::from_mins(1);
        assert_eq!(due(first, later, 1_000_000, 1_000_000) - later, Duration::from_secs(1));
        assert_eq!(due(start, start, u64::MAX, 0) - start, Duration::from_hours(1));
    }
}
