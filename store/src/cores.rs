//! How many threads this process may use at once.

use std::num::NonZero;
use std::sync::LazyLock;
use std::thread::available_parallelism;

/// Asking the system takes several reads of its files.
static CORES: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, NonZero::get));

/// Returns how many threads of this process run at once at most; 1 where the system does not tell. Asked once a process.
#[must_use]
pub fn cores() -> usize {
    *CORES
}
