//! Release metadata after The Update Framework 1.0: the hub's signer ([`Repository`]) and everyone's verifier ([`Client`]).
//!
//! A target is a version of a package: the length and SHA-256 of its manifest, named `packages/<package>/<version>/<manifest>`.
//! Both sides work on texts and times given to them; they neither read nor write anything. The profile is in `docs/formats.md`.

mod canonical;
mod client;
mod document;
mod model;
mod repository;
mod target;

pub use client::{Client, Request, TrustedState, Update};
pub use repository::{OnlineKeys, Release, Repository};
pub use target::{TargetInfo, TrustedTargets, target_path};

/// Longest root metadata, bytes.
pub const ROOT_BYTES_MAX: u64 = 512 * 1024;
/// Longest timestamp metadata, bytes.
pub const TIMESTAMP_BYTES_MAX: u64 = 16 * 1024;
/// Longest snapshot metadata, bytes.
pub const SNAPSHOT_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Longest targets metadata, bytes.
pub const TARGETS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most root versions that one update goes through.
pub const ROOT_ROTATIONS_MAX: u32 = 256;
/// Most signatures that are looked at in one file.
pub const SIGNATURES_MAX: usize = 64;

/// The file that is fetched first and changes with every release.
pub const TIMESTAMP_FILE: &str = "timestamp.json";

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
