//! Packages as people read them.

use super::error::CliError;
use super::human;
use super::output::{Cell, Output, Paint};
use super::wait::{codebase_words, share};
use crate::domain::CodebaseState;
use crate::protocol::admin::{CodebaseView, MachineInstall, PackageView, RefreshState};
use crate::protocol::fleet::VersionInfo;
use crate::protocol::report::InstallState;

/// Says in one line where a package stands.
pub fn sentence(view: &PackageView) -> String {
    let version = view.versions.last().map_or_else(
        || "no version yet".to_owned(),
        |v| {
            let label = v.label.as_ref().map(|l| format!(" ({l})")).unwrap_or_default();
            format!("version {}{label}, {} files, {}", v.version, human::count(v.files), human::size(v.bytes))
        },
    );
    let ready = view.codebases.iter().filter(|codebase| codebase.state == CodebaseState::Ready).count();
    let servers = match view.codebases.len() {
        0 => String::new(),
        1 if ready == 1 => ", ready at the site server".to_owned(),
        all => format!(", ready at {ready} of {all} site servers"),
    };
    format!("{}: {}; {version}{servers}", view.name, refresh_words(view))
}

/// Says what the hub is doing with a package's source, or how the last refresh ended.
fn refresh_words(view: &PackageView) -> String {
    match &view.refresh {
        RefreshState::Idle => view.last_refresh.as_ref().map_or_else(
            || "idle".to_owned(),
            |last| {
                let found = last.released.map_or_else(|| "unchanged".to_owned(), |version| format!("released version {version}"));
                let took = human::between(last.started, last.ended);
                format!(
                    "{found} in {took} ({} read, {} new)",
                    human::things(last.files_read, "file"),
                    human::size(last.new_stored_bytes)
                )
            },
        ),
        RefreshState::Queued { since, position } => format!("queued since {}, {position} before it", human::time(*since)),
        RefreshState::Hashing { done_bytes, total_bytes, done_files, total_files } => format!(
            "hashing {}: {} of {}, {} of {} files",
            share(*done_bytes, *total_bytes),
            human::size(*done_bytes),
            human::size(*total_bytes),
            human::count(*done_files),
            human::count(*total_files)
        ),
        RefreshState::Failed { reason, at } => format!("failed at {}: {reason}", human::time(*at)),
        RefreshState::Unknown => "in a state that a newer Consign knows".to_owned(),
    }
}

fn refresh_paint(state: &RefreshState) -> Paint {
    match state {
        RefreshState::Idle => Paint::Plain,
        RefreshState::Failed { .. } => Paint::Bad,
        _ => Paint::Busy,
    }
}

fn codebase_paint(state: &CodebaseState) -> Paint {
    match state {
        CodebaseState::Ready => Paint::Good,
        CodebaseState::Failed { .. } => Paint::Bad,
        _ => Paint::Busy,
    }
}

/// Prints a list of packages.
pub fn list(output: &Output, views: &[PackageView]) -> Result<(), CliError> {
    if views.is_empty() {
        return output.line("no packages; add one with `consign package add NAME --source DIR`");
    }
    let rows = views.iter().map(|view| {
        let current = view.versions.last();
        let ready = view.codebases.iter().filter(|codebase| codebase.state == CodebaseState::Ready).count();
        vec![
            Cell::painted(view.name.to_string(), Paint::Bold),
            Cell::number(current.map(|v| v.version.to_string()).unwrap_or_default()),
            Cell::from(current.and_then(|v| v.label.clone()).unwrap_or_default()),
            Cell::number(current.map(|v| human::count(v.files)).unwrap_or_default()),
            Cell::number(current.map(|v| human::size(v.bytes)).unwrap_or_default()),
            Cell::number(format!("{ready}/{}", view.codebases.len())),
            Cell::painted(refresh_words(view), refresh_paint(&view.refresh)),
        ]
    });
    output.table(0, &["NAME", "VERSION", "LABEL", "FILES", "SIZE", "READY", "LAST REFRESH"], rows.collect())
}

/// Prints everything about a package.
pub fn show(output: &Output, view: &PackageView) -> Result<(), CliError> {
    output.line(&format!(
        "{}  {}",
        output.paint(Paint::Bold, view.name.as_str()),
        output.paint(Paint::Dim, &view.id.to_string())
    ))?;
    output.line(&format!("  source    {}", view.source))?;
    output.line(&format!("  readers   {}", if view.open { "every machine of the fleet" } else { "as policies say" }))?;
    let platforms = if view.platforms.is_empty() { "all".to_owned() } else { view.platforms.join(", ") };
    output.line(&format!("  platforms {platforms}"))?;
    output.line(&format!("  refresh   {}", output.paint(refresh_paint(&view.refresh), &refresh_words(view))))?;
    for warning in &view.warnings {
        output.line(&format!("  {} {warning}", output.paint(Paint::Busy, "warning:")))?;
    }
    section(output, "versions", view.versions.is_empty(), "none released yet")?;
    if !view.versions.is_empty() {
        versions(output, 2, &view.versions)?;
    }
    section(output, "codebases", view.codebases.is_empty(), "no site server has it to fetch")?;
    if !view.codebases.is_empty() {
        let rows = view.codebases.iter().map(codebase_row).collect();
        output.table(2, &["SITE SERVER", "SITE", "VERSION", "SINCE", "STATE"], rows)?;
    }
    section(output, "installs", view.installs.is_empty(), "no machine has reported it")?;
    if !view.installs.is_empty() {
        let rows = view.installs.iter().map(install_row).collect();
        output.table(2, &["MACHINE", "VERSION", "STATE", "SINCE", "WIRE", "SAVED", "TOOK", "REASON"], rows)?;
    }
    Ok(())
}

fn section(output: &Output, title: &str, empty: bool, nothing: &str) -> Result<(), CliError> {
    output.line("")?;
    let remark = if empty { format!(": {nothing}") } else { String::new() };
    output.line(&format!("{}{remark}", output.paint(Paint::Bold, title)))
}

/// Prints a table of versions, the newest first.
pub fn versions(output: &Output, indent: usize, versions: &[VersionInfo]) -> Result<(), CliError> {
    let rows = versions.iter().rev().map(|version| {
        vec![
            Cell::number(version.version.to_string()),
            Cell::from(version.label.clone().unwrap_or_default()),
            Cell::number(human::count(version.files)),
            Cell::number(human::size(version.bytes)),
            Cell::from(human::time(version.released)),
            Cell::painted(version.manifest.clone(), Paint::Dim),
        ]
    });
    output.table(indent, &["VERSION", "LABEL", "FILES", "SIZE", "RELEASED", "MANIFEST"], rows.collect())
}

fn codebase_row(codebase: &CodebaseView) -> Vec<Cell> {
    vec![
        Cell::from(codebase.server_name.to_string()),
        Cell::from(codebase.site.to_string()),
        Cell::number(codebase.version.to_string()),
        Cell::from(human::time(codebase.reported)),
        Cell::painted(codebase_words(&codebase.state), codebase_paint(&codebase.state)),
    ]
}

fn install_row(machine: &MachineInstall) -> Vec<Cell> {
    let install = &machine.install;
    let (word, paint) = match install.state {
        InstallState::Waiting => ("waiting", Paint::Busy),
        InstallState::Fetching => ("fetching", Paint::Busy),
        InstallState::Switching => ("switching", Paint::Busy),
        InstallState::Installed => ("installed", Paint::Good),
        InstallState::Failed => ("failed", Paint::Bad),
        InstallState::Unknown => ("unknown", Paint::Dim),
    };
    let next = install.next_attempt.map(|at| format!("; next attempt {}", human::time(at))).unwrap_or_default();
    vec![
        Cell::from(machine.machine_name.to_string()),
        Cell::number(install.version.to_string()),
        Cell::painted(word, paint),
        Cell::from(human::time(install.since)),
        Cell::number(install.cost.map(|cost| human::size(cost.wire_bytes)).unwrap_or_default()),
        Cell::number(install.cost.map(|cost| human::size(cost.saved_bytes())).unwrap_or_default()),
        Cell::number(install.cost.map(|cost| human::millis(cost.millis)).unwrap_or_default()),
        Cell::from(install.reason.as_ref().map_or_else(|| install.notes.join("; "), |reason| format!("{reason}{next}"))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::wait::tests::view;

    #[test]
    fn the_sentence_counts_the_ready_site_servers() {
        assert_eq!(
            sentence(&view(CodebaseState::Ready)),
            "cmake: idle; version 2 (3.30.2), 12 files, 5.00 MiB, ready at the site server"
        );
        assert!(sentence(&view(CodebaseState::Verifying)).ends_with("ready at 0 of 1 site servers"));
    }
}
