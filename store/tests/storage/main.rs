//! Records, packs, the index and the store: golden bytes, damage, crashes, concurrency.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod damage;
mod formats;
mod full_disk;
mod record;
mod store;
mod support;
