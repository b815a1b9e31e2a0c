//! Patches between two versions of a package: what a server has built, and how far it is.
//!
//! `GET /v1/versions/{target}/patches/{base}` answers a [`PatchAnswer`]; `?wait_millis=` lets the server hold the answer back until the
//! patches are built, at most [`WAIT_MILLIS_MAX`]. `GET /v1/versions/{target}/patches/{base}/{digest}?from=` answers the patch's bytes
//! from an offset: a patch is named by its digest and never changes, so a receiver goes on where it was. Both need the right to both
//! versions.

use serde::{Deserialize, Serialize};

use crate::domain::Millis;

/// Longest time a server holds an answer back, milliseconds.
pub const WAIT_MILLIS_MAX: u64 = 20_000;
/// Most patches from one version to another.
pub const PATCHES_MAX: usize = 65_536;

/// How far a server is with the patches from one version to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "patches", rename_all = "snake_case")]
pub enum PatchAnswer {
    /// Built: what is listed can be had; files that no patch covers are cheaper as records.
    Ready {
        /// The patches.
        set: Vec<PatchInfo>,
    },
    /// Being built, or in line for it.
    Building {
        /// When it should be done.
        until: Millis,
    },
    /// There are none, and there will be none.
    None {
        /// Why.
        reason: String,
    },
    /// A state that a newer Consign knows.
    #[serde(other)]
    Unknown,
}

/// A patch: from the joined files `bases` of the base version to the joined files `targets` of the target version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchInfo {
    /// Digest of the patch's bytes, `b3:…`.
    pub digest: String,
    /// Its length, bytes.
    pub len: u64,
    /// About how many bytes the same files cost as records for a receiver that has the base version.
    pub records_len: u64,
    /// Plain bytes that the receiver has to compress to apply it.
    #[serde(default)]
    pub folded_bytes: u64,
    /// Entry numbers in the target's manifest, in the order in which they are joined.
    pub targets: Vec<u32>,
    /// Entry numbers in the base's manifest, in the order in which they are joined.
    pub bases: Vec<u32>,
}
