//! `consign store plan` and `consign store patch`: what an update costs, and the worker that builds patches.

use std::path::{Path, PathBuf};

use clap::Args;
use consign_store::delta::{self, PlanPart as Part, UpdatePlan};
use consign_store::manifest::ManifestFile;
use consign_store::{ManifestId, Store};
use serde::Serialize;

use crate::agent::view::PlanPart;
use crate::cli::error::CliError;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::{parts, process};
use crate::net::data_plane::{manifest_wire_bytes, write_set};

/// Tells what an update costs.
#[derive(Debug, Args)]
pub struct Plan {
    /// The store's folder
    store: PathBuf,
    /// The manifest of the version to bring, b3:…
    target: ManifestId,
    /// The manifest of the version that is there already (default: nothing is)
    #[arg(long, value_name = "MANIFEST")]
    base: Option<ManifestId>,
}

/// Builds patches.
#[derive(Debug, Args)]
pub struct Patch {
    /// The store's folder
    store: PathBuf,
    /// The manifest of the version to make patches from
    #[arg(long)]
    base: ManifestId,
    /// The manifest of the version to make patches to
    #[arg(long)]
    target: ManifestId,
    /// An existing empty folder for the patches
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Let everything else on this machine go first
    #[arg(long)]
    background: bool,
    /// End as soon as standard input ends: whoever started this and held it is gone
    #[arg(long, hide = true)]
    owned: bool,
}

/// What `store plan` answers: a contract.
#[derive(Debug, Serialize)]
struct PlanAnswer {
    full_wire_bytes: u64,
    chunk_wire_bytes: u64,
    planned_wire_bytes: u64,
    parts: Vec<PlanPart>,
}

/// Runs `store plan`.
pub fn plan(plan: &Plan, output: &Output) -> Result<(), CliError> {
    let store = Store::open_read_only(&plan.store)?;
    let scratch = tempfile::tempdir().map_err(|e| CliError::io("create a folder in", &std::env::temp_dir(), &e))?;
    let target = manifest(&store, plan.target, scratch.path())?;
    let base = plan.base.map(|base| manifest(&store, base, scratch.path())).transpose()?;
    let found = delta::plan(&store, base.as_ref(), &target, scratch.path())?;
    let manifests = Manifests {
        raw: target.bytes().len() as u64,
        full: manifest_wire_bytes(&target, None)?,
        update: manifest_wire_bytes(&target, base.as_ref())?,
    };
    let answer = answer(&found, &manifests);
    output.answer(&answer, |output| {
        parts::table(output, &answer.parts)?;
        output.line(&parts::comparison(answer.planned_wire_bytes, answer.chunk_wire_bytes, answer.full_wire_bytes))
    })
}

/// What the manifest costs, bytes.
struct Manifests {
    raw: u64,
    full: u64,
    update: u64,
}

fn answer(found: &UpdatePlan, manifests: &Manifests) -> PlanAnswer {
    let part = |kind: &str, part: Part| PlanPart {
        kind: kind.to_owned(),
        files: part.files,
        raw_bytes: part.raw_bytes,
        wire_bytes: part.wire_bytes,
    };
    let metadata = Part { files: 0, raw_bytes: manifests.raw, wire_bytes: manifests.update };
    PlanAnswer {
        full_wire_bytes: found.full_wire_bytes + manifests.full,
        chunk_wire_bytes: found.chunk_wire_bytes + manifests.update,
        planned_wire_bytes: found.planned_wire_bytes() + manifests.update,
        parts: vec![
            part("kept", found.kept),
            part("local", found.local),
            part("patch", found.patched),
            part("records", found.records),
            part("metadata", metadata),
        ],
    }
}

fn manifest(store: &Store, id: ManifestId, scratch: &Path) -> Result<ManifestFile, CliError> {
    Ok(ManifestFile::extract(store, id, &scratch.join(format!("{}.manifest", id.to_hex())))?)
}

/// Runs `store patch`: patches into files named by their digests, and their list, `set.json`, last.
pub fn patch(patch: &Patch, output: &Output) -> Result<(), CliError> {
    if patch.background {
        process::let_others_first();
    }
    if patch.owned {
        process::end_with_input()?;
    }
    let store = Store::open_read_only(&patch.store)?;
    // With what is built: whoever removes that after a kill removes this too.
    let scratch = tempfile::tempdir_in(&patch.out).map_err(|e| CliError::io("create a folder in", &patch.out, &e))?;
    let (base, target) = (manifest(&store, patch.base, scratch.path())?, manifest(&store, patch.target, scratch.path())?);
    let built = delta::build_set(&store, &base, &target, &patch.out)?;
    drop((base, target));
    scratch.close().map_err(|e| CliError::io("remove the folder for manifests in", &patch.out, &e))?;
    let set = write_set(&patch.out, &built)?;
    output.answer(&set, |output| {
        let bytes = set.iter().map(|patch| patch.len).sum();
        output.line(&format!("{} of {}", human::things(set.len() as u64, "patch"), human::size(bytes)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_fields_are_the_contract_and_the_parts_add_up() {
        let part = |files, wire_bytes| Part { files, raw_bytes: 1, wire_bytes };
        let found = UpdatePlan {
            full_wire_bytes: 1000,
            chunk_wire_bytes: 100,
            kept: part(1, 0),
            local: part(2, 0),
            patched: part(3, 10),
            records: part(4, 20),
        };
        let answer = answer(&found, &Manifests { raw: 50, full: 5, update: 2 });
        let sum: u64 = answer.parts.iter().map(|part| part.wire_bytes).sum();
        assert_eq!((answer.full_wire_bytes, answer.chunk_wire_bytes, answer.planned_wire_bytes, sum), (1005, 102, 32, 32));
        let json = serde_json::to_value(&answer).unwrap();
        let kinds: Vec<_> = json["parts"].as_array().unwrap().iter().map(|part| part["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["kept", "local", "patch", "records", "metadata"]);
        for field in ["full_wire_bytes", "chunk_wire_bytes", "planned_wire_bytes"] {
            assert!(json[field].is_u64(), "{field}");
        }
        for field in ["files", "raw_bytes", "wire_bytes"] {
            assert!(json["parts"][0][field].is_u64(), "{field}");
        }
    }
}
