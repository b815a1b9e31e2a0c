//! Ingest of real folders into real stores.

mod bad_source;
mod changing;
mod content;
mod stat_cache;
mod support;
