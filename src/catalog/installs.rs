//! What agents reported: their full state, the newest report only.

use rusqlite::Connection;

use super::Catalog;
use super::error::{Result, Step, invalid};
use super::machines;
use super::sql::{Count, Json, row, rows, run};
use super::traffic;
use crate::domain::{Millis, PackageId};
use crate::protocol::admin::MachineInstall;
use crate::protocol::report::AgentReport;

/// Most packages in one report.
const INSTALLS_MAX: usize = 10_000;

impl Catalog {
    /// Replaces what is known of an agent's installs. Returns whether it did: a report whose sequence is not above the last one's
    /// is ignored. Packages that the hub does not know are left out. What is new in the totals adds to those of the machine's site.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] if the machine is unknown, [`super::Error::Invalid`] for too many installs; the database.
    pub async fn report_installs(&self, report: AgentReport, sequence: u64, now: Millis) -> Result<bool> {
        self.write("storing an agent's report", move |tx| {
            if report.installs.len() > INSTALLS_MAX {
                return Err(invalid("installs in a report", format!("there may be at most {INSTALLS_MAX}")));
            }
            let machine = machines::by_id(tx, report.machine)?;
            let sql = "UPDATE machine SET report_sequence = ?2, reported = ?3, seen = max(seen, ?3)
                WHERE id = ?1 AND (report_sequence IS NULL OR report_sequence < ?2) RETURNING 1";
            if row(tx, sql, (report.machine, Count(sequence), now), |_| Ok(()))?.is_none() {
                return Ok(false);
            }
            run(tx, "DELETE FROM install WHERE machine = ?1", [report.machine])?;
            for install in &report.installs {
                let sql = "INSERT INTO install (machine, package, report) SELECT ?1, id, ?3 FROM package WHERE id = ?2
                    ON CONFLICT (machine, package) DO UPDATE SET report = excluded.report";
                run(tx, sql, (report.machine, install.package, Json(install)))?;
                if let Some(totals) = &install.totals {
                    traffic::count(tx, (machine.id, machine.site), install.package, totals)?;
                }
            }
            Ok(true)
        })
        .await
    }
}

/// Returns what all machines reported of a package, by their names.
pub(super) fn of_package(db: &Connection, package: PackageId) -> Step<Vec<MachineInstall>> {
    let sql =
        "SELECT machine.id, machine.name, report, machine.reported FROM install JOIN machine ON machine.id = install.machine
        WHERE package = ?1 ORDER BY machine.name, machine.id";
    Ok(rows(db, sql, [package], |row| {
        let Json(install) = row.get(2)?;
        Ok(MachineInstall { machine: row.get(0)?, machine_name: row.get(1)?, install, reported: row.get(3)? })
    })?)
}
