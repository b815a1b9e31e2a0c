//! How a server's store is looked after, as its status shows it.

use serde::{Deserialize, Serialize};

use crate::domain::{Millis, Name};

/// Upkeep of a store at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpkeepView {
    /// Garbage collection.
    pub gc: GcView,
    /// Reading everything again.
    pub scrub: ScrubView,
    /// It holds back now, because somebody waits for other work.
    pub holding_back: bool,
    /// Versions in doubt that are read again, or wait for that.
    #[serde(default)]
    pub doubts: u64,
    /// Chunks that are damaged and have not been stored anew.
    pub damaged_chunks: u64,
    /// Versions that cannot be served whole.
    #[serde(default)]
    pub damaged: Vec<DamagedVersion>,
}

/// Garbage collection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GcView {
    /// It runs.
    pub running: bool,
    /// The run that ended last.
    pub last: Option<GcRun>,
    /// Bytes freed by all runs so far.
    #[serde(default)]
    pub freed_bytes: u64,
    /// When it runs next.
    pub next: Millis,
}

/// A run of garbage collection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GcRun {
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub ended: Millis,
    /// Bytes freed in packs.
    pub freed_bytes: u64,
    /// Raw bytes that are dead and wait: for their grace period, a download, or for their pack to be mostly dead.
    pub waiting_bytes: u64,
    /// Why it did not end well.
    #[serde(default)]
    pub problem: Option<String>,
}

/// Reading everything again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScrubView {
    /// It runs.
    pub running: bool,
    /// Bytes read by the one that runs, since the process started.
    pub read_bytes: u64,
    /// Bytes of the store.
    pub total_bytes: u64,
    /// The one that ended last.
    pub last: Option<ScrubRun>,
    /// When the next begins.
    pub next: Millis,
}

/// A scrub.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScrubRun {
    /// When it began, or went on after a start of the process.
    pub started: Millis,
    /// When it ended.
    pub ended: Millis,
    /// Bytes read since then.
    pub read_bytes: u64,
    /// Chunks newly found damaged.
    pub damaged_chunks: u64,
    /// Packs of which a part that is no content was damaged.
    pub damaged_packs: u64,
    /// Why it did not end well.
    #[serde(default)]
    pub problem: Option<String>,
}

/// A version that cannot be served whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedVersion {
    /// The package's name.
    pub package: Name,
    /// The version.
    pub version: u32,
    /// What is wrong.
    pub reason: String,
    /// What mends it.
    pub next_step: String,
}
