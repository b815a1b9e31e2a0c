//! Decisions: pure functions over domain types; no I/O, no clock.

mod back_off;
mod offer;
mod prefer;
mod rights;
mod sites;
mod terms;
mod upkeep;

pub use back_off::back_off_millis;
pub use offer::{Ask, Offer, Source, codebases_for};
pub use prefer::{Changed, Offered, Prefer, Way, patience, way};
pub use rights::may_read;
pub use sites::{Overlap, overlaps, site_of};
pub use terms::{Terms, Verdict};
pub use upkeep::{Collection, collection_due, scrub_due};
