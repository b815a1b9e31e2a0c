//! `consign store plan` and `consign store patch`: what an update costs, and the worker that builds patches.

use std::path::{Path, PathBuf};

use clap::Args;
use consign_store::delta::{self, Part, UpdatePlan};
use consign_store::error::At as _;
use consign_store::manifest::ManifestFile;
use consign_store::{ManifestId, Store};
use serde::Serialize;

use crate::cli::error::CliError;
use crate::cli::human;
use crate::cli::output::{Cell, Output};
use crate::protocol::patches::PatchInfo;

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
}

/// What `store plan` answers: a contract.
#[derive(Debug, Serialize)]
struct PlanAnswer {
    full_wire_bytes: u64,
    chunk_wire_bytes: u64,
    planned_wire_bytes: u64,
    parts: Vec<PartAnswer>,
}

/// One kind of what an update consists of.
#[derive(Debug, Serialize)]
struct PartAnswer {
    kind: &'static str,
    files: u64,
    raw_bytes: u64,
    wire_bytes: u64,
}

/// Runs `store plan`.
pub fn plan(plan: &Plan, output: &Output) -> Result<(), CliError> {
    let store = Store::open_read_only(&plan.store)?;
    let scratch = tempfile::tempdir().map_err(|e| CliError::io("create a folder in", &std::env::temp_dir(), &e))?;
    let target = manifest(&store, plan.target, scratch.path())?;
    let base = plan.base.map(|base| manifest(&store, base, scratch.path())).transpose()?;
    let found = delta::plan(&store, base.as_ref(), &target, scratch.path())?;
    let answer = answer(&found);
    output.answer(&answer, |output| {
        let rows = answer.parts.iter().map(|part| {
            let (files, raw, wire) = (human::count(part.files), human::size(part.raw_bytes), human::size(part.wire_bytes));
            vec![Cell::from(part.kind.to_owned()), Cell::number(files), Cell::number(raw), Cell::number(wire)]
        });
        output.table(0, &["KIND", "FILES", "RAW", "ON THE WIRE"], rows.collect())?;
        output.line(&format!(
            "{} over the wire; by records alone {}, in full {}",
            human::size(answer.planned_wire_bytes),
            human::size(answer.chunk_wire_bytes),
            human::size(answer.full_wire_bytes)
        ))
    })
}

fn answer(found: &UpdatePlan) -> PlanAnswer {
    let part = |kind, part: Part| PartAnswer { kind, files: part.files, raw_bytes: part.raw_bytes, wire_bytes: part.wire_bytes };
    PlanAnswer {
        full_wire_bytes: found.full_wire_bytes,
        chunk_wire_bytes: found.chunk_wire_bytes,
        planned_wire_bytes: found.planned_wire_bytes(),
        parts: vec![part("kept", found.kept), part("patch", found.patched), part("records", found.records)],
    }
}

fn manifest(store: &Store, id: ManifestId, scratch: &Path) -> Result<ManifestFile, CliError> {
    Ok(ManifestFile::extract(store, id, &scratch.join(format!("{}.manifest", id.to_hex())))?)
}

/// Runs `store patch`: patches into files named by their digests, and their list, `set.json`, last.
pub fn patch(patch: &Patch, output: &Output) -> Result<(), CliError> {
    let store = Store::open_read_only(&patch.store)?;
    let scratch = tempfile::tempdir().map_err(|e| CliError::io("create a folder in", &std::env::temp_dir(), &e))?;
    let (base, target) = (manifest(&store, patch.base, scratch.path())?, manifest(&store, patch.target, scratch.path())?);
    let built = delta::build_set(&store, &base, &target, &patch.out)?;
    let set: Vec<PatchInfo> = built
        .into_iter()
        .map(|patch| PatchInfo {
            digest: patch.digest.to_string(),
            len: patch.len,
            records_len: patch.records_len,
            folded_bytes: patch.folded_bytes,
            targets: patch.targets,
            bases: patch.bases,
        })
        .collect();
    let list = patch.out.join("set.json");
    let text = serde_json::to_vec(&set).map_err(|e| CliError::failed(format!("cannot write {}: {e}", list.display())))?;
    std::fs::write(&list, text).at("write", &list)?;
    output.answer(&set, |output| {
        let bytes = set.iter().map(|patch| patch.len).sum();
        output.line(&format!("{} of {}", human::things(set.len() as u64, "patch"), human::size(bytes)))
    })
}
