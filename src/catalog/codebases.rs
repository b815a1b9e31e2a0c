//! Codebases: how far each site server is with each version it shall hold.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::error::{Result, Step};
use super::releases::VERSIONS_HELD_MAX;
use super::sql::{Json, rows, run};
use super::{Catalog, machines};
use crate::domain::{CodebaseState, MachineId, Millis, PackageId};
use crate::protocol::admin::CodebaseView;
use crate::protocol::fleet::CodebaseReport;

/// What a site server's report changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CodebasesReported {
    /// Versions whose state at that server is another now.
    pub changed: BTreeSet<(PackageId, u32)>,
    /// The fleet's new revision, if the server's address is another now.
    pub revision: Option<u64>,
}

impl Catalog {
    /// Replaces what is known of a site server's codebases. A version that it shall hold and does not report is `assigned`; a
    /// manifest that it need not hold is ignored.
    ///
    /// # Errors
    /// [`super::Error::NotFound`], [`super::Error::Invalid`] if it is no site server; the database.
    pub async fn report_codebases(&self, server: MachineId, report: CodebaseReport, now: Millis) -> Result<CodebasesReported> {
        self.write("storing a site server's report", move |tx| {
            let machine = machines::server(tx, server)?;
            let changed = replace(tx, server, &report.codebases)?;
            run(
                tx,
                "UPDATE machine SET reported = ?2, seen = max(seen, ?2), address = ?3 WHERE id = ?1",
                (server, now, &report.address),
            )?;
            let moved = machine.address.as_deref() != Some(report.address.as_str());
            Ok(CodebasesReported { changed, revision: if moved { Some(tx.bump()?) } else { None } })
        })
        .await
    }
}

type States = BTreeMap<String, CodebaseState>;

fn replace(db: &Connection, server: MachineId, reported: &States) -> Step<BTreeSet<(PackageId, u32)>> {
    let known: States = rows(db, "SELECT manifest, state FROM codebase WHERE server = ?1", [server], |row| {
        let Json(state) = row.get(1)?;
        Ok((row.get(0)?, state))
    })?;
    let held = held(db)?;
    let manifests: BTreeSet<&str> = held.iter().map(|(_, _, manifest)| manifest.as_str()).collect();
    for gone in known.keys().filter(|manifest| !manifests.contains(manifest.as_str())) {
        run(db, "DELETE FROM codebase WHERE server = ?1 AND manifest = ?2", (server, gone))?;
    }
    let mut changed = BTreeSet::new();
    for (package, version, manifest) in &held {
        let state = reported.get(manifest).unwrap_or(&CodebaseState::Assigned);
        if known.get(manifest) != Some(state) {
            put(db, server, manifest, state)?;
            changed.insert((*package, *version));
        }
    }
    Ok(changed)
}

fn put(db: &Connection, server: MachineId, manifest: &str, state: &CodebaseState) -> Step<()> {
    let sql = "INSERT INTO codebase (server, manifest, state) VALUES (?1, ?2, ?3)
        ON CONFLICT (server, manifest) DO UPDATE SET state = excluded.state";
    run(db, sql, (server, manifest, Json(state)))?;
    Ok(())
}

/// Returns every version that site servers hold.
fn held(db: &Connection) -> Step<Vec<(PackageId, u32, String)>> {
    let sql = "SELECT package, number, manifest FROM version JOIN package ON package.id = version.package
        WHERE number > current - ?1 ORDER BY package, number";
    Ok(rows(db, sql, [VERSIONS_HELD_MAX], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
}

/// Assigns a new version to every site server; one that has the same content already keeps its state.
pub(super) fn assign(db: &Connection, manifest: &str) -> Step<()> {
    let sql = "INSERT INTO codebase (server, manifest, state) SELECT id, ?1, ?2 FROM machine WHERE role = 'site-server'
        ON CONFLICT (server, manifest) DO NOTHING";
    run(db, sql, (manifest, Json(CodebaseState::Assigned)))?;
    Ok(())
}

/// Assigns every version that is held to a new site server.
pub(super) fn assign_all(db: &Connection, server: MachineId) -> Step<()> {
    held(db)?.iter().try_for_each(|(_, _, manifest)| put(db, server, manifest, &CodebaseState::Assigned))
}

/// Returns one codebase a site server for a version.
pub(super) fn of_version(db: &Connection, package: PackageId, version: u32) -> Step<Vec<CodebaseView>> {
    let sql = "SELECT machine.id, machine.name, site.name, number, state, machine.reported
        FROM version JOIN codebase ON codebase.manifest = version.manifest
        JOIN machine ON machine.id = codebase.server JOIN site ON site.id = machine.site
        WHERE package = ?1 AND number = ?2 ORDER BY site.name, machine.name, machine.id";
    Ok(rows(db, sql, (package, version), |row| {
        let Json(state) = row.get(4)?;
        Ok(CodebaseView {
            server: row.get(0)?,
            server_name: row.get(1)?,
            site: row.get(2)?,
            version: row.get(3)?,
            state,
            reported: row.get(5)?,
        })
    })?)
}
