//! Runs independent work on all cores, within one call.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::Result;

/// How many numbers a thread takes at a time: neighbours share folders and records.
const TAKE: usize = 16;

/// Calls `work` for each number below `count`, on at most `threads` threads, and returns the first error; after one, no more is begun.
pub(super) fn for_each(count: usize, threads: usize, take: Take, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let step = match take {
        Take::One => 1,
        Take::Several => TAKE,
    };
    let run = || -> Result<()> {
        while !failed.load(Ordering::Relaxed) {
            let start = next.fetch_add(step, Ordering::Relaxed);
            if start >= count {
                break;
            }
            for number in start..count.min(start + step) {
                work(number).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            }
        }
        Ok(())
    };
    let threads = threads.clamp(1, count.div_ceil(step).max(1));
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mine = run();
        others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .fold(mine, Result::and)
    })
}

/// How much a thread takes at a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Take {
    /// One piece of work, for large pieces.
    One,
    /// A few neighbours, for small pieces.
    Several,
}
