//! Patches between two versions of a package: what a server has built, and how far it is.
//!
//! `GET /v1/versions/{target}/patches/{base}` answers a [`PatchAnswer`]; `?wait_millis=` lets the server hold the answer back until the
//! patches are built, at most [`WAIT_MILLIS_MAX`]. `GET /v1/versions/{target}/patches/{base}/{digest}?from=` answers the patch's bytes
//! from an offset: a patch is named by its digest and never changes, so a receiver goes on where it was. Both need the right to both
//! versions.

use std::time::Duration;

use consign_store::FileDigest;
use consign_store::delta::{BuiltPatch, Part, Scope, Span, Targets};
use serde::{Deserialize, Serialize};

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
        /// How long it should still take, milliseconds: clocks of two machines may differ.
        millis: u64,
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

impl PatchAnswer {
    /// Says that they are being built for about `left` more.
    #[must_use]
    pub fn building(left: Duration) -> Self {
        Self::Building { millis: u64::try_from(left.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The patches that can be had now; none while they are being built.
    #[must_use]
    pub fn into_set(self) -> Vec<PatchInfo> {
        if let Self::Ready { set } = self { set } else { Vec::new() }
    }
}

/// A patch: from the joined `bases` of the base version to the joined files `targets` of the target version, or to a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchInfo {
    /// Digest of the patch's bytes, `b3:…`.
    pub digest: String,
    /// Its length, bytes.
    pub len: u64,
    /// About how many bytes the same content costs as records and recipes for a receiver that has the base version.
    pub records_len: u64,
    /// Decisions that the receiver has to decode to apply it.
    #[serde(default)]
    pub decisions: u64,
    /// Plain bytes that the receiver has to compress to apply it, and as many as take as long as what else it does with what it has decoded.
    #[serde(default)]
    pub folded_bytes: u64,
    /// Entry numbers in the target's manifest, in the order in which they are joined.
    pub targets: Vec<u32>,
    /// Which part of the only target it makes; all of all targets if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartInfo>,
    /// What it is made of, in the order in which that is joined.
    pub bases: Vec<BaseInfo>,
}

/// A part of a file, from one of its chunks to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartInfo {
    /// Where it begins, bytes.
    pub from: u64,
    /// Its length, bytes.
    pub len: u64,
    /// Its chunks.
    pub chunks: u32,
    /// The digest that a file with these bytes would have, `b3:…`.
    pub digest: String,
}

/// What a patch is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BaseInfo {
    /// A file of the base's manifest, by entry number.
    File(u32),
    /// A stretch of it: entry number, offset and length in bytes.
    Part(u32, u64, u64),
}

impl PatchInfo {
    /// Describes a patch that was built.
    #[must_use]
    pub fn of(patch: &BuiltPatch) -> Self {
        let part = patch.scope.part().map(|part| PartInfo {
            from: part.from,
            len: part.len,
            chunks: part.chunks,
            digest: part.digest.to_string(),
        });
        let base = |span: &Span| match *span {
            Span::File(entry) => BaseInfo::File(entry),
            Span::Part { entry, from, len } => BaseInfo::Part(entry, from, len),
        };
        Self {
            digest: patch.digest.to_string(),
            len: patch.len,
            records_len: patch.records_len,
            decisions: patch.cost.decisions,
            folded_bytes: patch.cost.folded_bytes,
            targets: patch.scope.entries().to_vec(),
            part,
            bases: patch.scope.bases.iter().map(base).collect(),
        }
    }

    /// Reads the patch's name, what it makes and of what; `None` if that is nothing a patch can be.
    #[must_use]
    pub fn read(&self) -> Option<(FileDigest, Scope)> {
        let targets = match (&self.part, &self.targets[..]) {
            (None, files) => Targets::Files(files.to_vec()),
            (Some(part), [entry]) => {
                let digest = part.digest.parse().ok()?;
                Targets::Part(Part { entry: *entry, from: part.from, len: part.len, chunks: part.chunks, digest })
            }
            (Some(_), _) => return None,
        };
        let base = |base: &BaseInfo| match *base {
            BaseInfo::File(entry) => Span::File(entry),
            BaseInfo::Part(entry, from, len) => Span::Part { entry, from, len },
        };
        Some((self.digest.parse().ok()?, Scope { targets, bases: self.bases.iter().map(base).collect() }))
    }
}

#[cfg(test)]
mod tests {
    use consign_store::delta::ApplyCost;

    use super::*;

    #[test]
    fn what_is_told_of_a_patch_is_what_was_built() {
        let digest = FileDigest::empty();
        let file = Scope { targets: Targets::Files(vec![3, 4]), bases: vec![Span::File(7)] };
        let part = Part { entry: 3, from: 1 << 40, len: 32 << 20, chunks: 500, digest };
        let part =
            Scope { targets: Targets::Part(part), bases: vec![Span::Part { entry: 7, from: 1 << 41, len: 9 }, Span::File(8)] };
        for (scope, told) in [
            (file, r#""targets":[3,4],"bases":[7]"#),
            (part, r#""targets":[3],"part":{"from":1099511627776,"len":33554432,"chunks":500,"digest":"b3:"#),
        ] {
            let patch = BuiltPatch { digest, len: 1, records_len: 2, cost: ApplyCost { decisions: 3, folded_bytes: 4 }, scope };
            let text = serde_json::to_string(&PatchInfo::of(&patch)).unwrap();
            assert!(text.contains(told), "{text}");
            let info: PatchInfo = serde_json::from_str(&text).unwrap();
            assert_eq!(info.read(), Some((digest, patch.scope)));
        }
    }

    #[test]
    fn what_no_patch_can_be_is_nothing() {
        let digest = FileDigest::empty().to_string();
        let info = |targets: &str, digest: &str| {
            let part = format!(r#"{{"from":0,"len":1,"chunks":1,"digest":"{digest}"}}"#);
            let text = format!(r#"{{"digest":"{digest}","len":1,"records_len":1,"targets":{targets},"part":{part},"bases":[]}}"#);
            serde_json::from_str::<PatchInfo>(&text).unwrap().read()
        };
        assert!(info("[1]", &digest).is_some());
        assert!(info("[]", &digest).is_none() && info("[1,2]", &digest).is_none() && info("[1]", "b3:").is_none());
    }
}
