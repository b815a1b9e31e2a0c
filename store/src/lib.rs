//! The bytes of Consign on one machine: chunks, records, packs, the index, manifests, ingest and restore.
//!
//! No network, no async runtime, no catalog, no clock: whoever calls passes in what it knows. The straight walk of the data is
//! source folder → [`ingest`] → records in a [`pack`] → [`manifest`] → [`restore`] → folder.

pub mod chunk;
mod cores;
pub mod delta;
pub mod error;
pub mod fsx;
#[cfg(test)]
mod golden;
pub mod id;
pub mod index;
pub mod ingest;
mod lines;
pub mod manifest;
mod map;
pub mod pack;
mod parallel;
pub mod restore;
mod spill;
pub mod store;
mod unnamed;
pub mod upkeep;

pub use cores::cores;
pub use error::{Error, Result};
pub use id::{ChunkId, FileDigest, ManifestId};
pub use map::map_large_buffers;
pub use store::Store;
