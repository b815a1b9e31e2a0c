//! What an update consists of, by kind, as people read it.

use super::error::CliError;
use super::human;
use super::output::{Cell, Output, Paint};
use crate::agent::view::PlanPart;

/// Prints the parts under each other, with their sum.
pub fn table(output: &Output, parts: &[PlanPart]) -> Result<(), CliError> {
    let row = |name: &str, paint: Paint, files: u64, raw: u64, wire: u64| {
        // Metadata is no files.
        let files = if files == 0 && raw > 0 { "-".to_owned() } else { human::count(files) };
        vec![Cell::painted(name, paint), Cell::number(files), Cell::number(human::size(raw)), Cell::number(human::size(wire))]
    };
    let mut rows: Vec<_> =
        parts.iter().map(|part| row(words(&part.kind), Paint::Plain, part.files, part.raw_bytes, part.wire_bytes)).collect();
    let content = || parts.iter().filter(|part| part.kind != "metadata");
    rows.push(row(
        "in all",
        Paint::Bold,
        content().map(|part| part.files).sum(),
        content().map(|part| part.raw_bytes).sum(),
        parts.iter().map(|part| part.wire_bytes).sum(),
    ));
    output.table(2, &["", "FILES", "SIZE", "OVER THE WIRE"], rows)
}

fn words(kind: &str) -> &str {
    match kind {
        "kept" => "nothing to do",
        "local" => "chunks that are here",
        "patch" => "patches",
        "records" => "records",
        "metadata" => "metadata, manifest",
        other => other,
    }
}

/// Says how the ways compare.
pub fn comparison(planned: u64, by_records: u64, full: u64) -> String {
    let (planned, by_records, full) = (human::size(planned), human::size(by_records), human::size(full));
    format!("  {planned} would travel; without patches {by_records}, for a machine that has nothing {full}")
}
