//! Runs independent work on all cores, within one call.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::cores;
use crate::error::Result;

/// How many numbers a thread takes at a time: neighbours share folders and records.
const TAKE: usize = 16;
/// Bytes of content from which work on them is worth a thread of its own.
pub(crate) const BESIDE_BYTES_MIN: usize = 1 << 20;

/// Calls `work` for each number below `count`, on at most `threads` threads, and returns the first error; after one, no more is begun.
pub(crate) fn for_each(count: usize, threads: usize, take: Take, work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
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

/// Does `first` in a thread beside `second`, where that is worth a thread: `bytes` says how much there is to work on. Returns what both return.
pub(crate) fn both<A: Send, B>(bytes: usize, first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    if bytes < BESIDE_BYTES_MIN || cores() == 1 {
        return (first(), second());
    }
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
    })
}

/// How much a thread takes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Take {
    /// One piece of work, for large pieces.
    One,
    /// A few neighbours, for small pieces.
    Several,
}
