//! Upkeep: leases, garbage collection, scrub and repair, also while others work and when the process is killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod collect;
mod kill;
mod race;
mod scrub;
mod support;
