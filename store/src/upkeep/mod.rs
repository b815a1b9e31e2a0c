//! Upkeep of a store: leases, garbage collection, scrub, repair.
//!
//! Nothing here reads a clock: times and pauses are the caller's.

mod condemned;
mod damaged;
mod file;
mod gc;
mod lease;
mod mark;
mod repair;
mod scrub;
mod survey;
mod sweep;

pub(crate) use condemned::Condemned;
pub(crate) use damaged::Damaged;
pub use damaged::DamagedChunk;
pub(crate) use file::UPKEEP_DIR;
pub use gc::{GcOptions, GcReport, Live, REWRITE_BYTES_MAX, gc, gc_paced};
pub use lease::Lease;
pub(crate) use lease::Leases;
pub use mark::is_whole;
pub use repair::{RepairReport, from_store, repair};
pub use scrub::{DamagedPack, ScrubReport, examine, scrub};
