//! What installs have cost, summed up a site: rises only.

use rusqlite::Connection;

use super::Catalog;
use super::error::{Result, Step};
use super::sql::{Json, row, rows, run};
use super::tx::Tx;
use crate::domain::{MachineId, PackageId, SiteId};
use crate::protocol::admin::SiteTraffic;
use crate::protocol::report::Traffic;

impl Catalog {
    /// Returns what each site's installs have cost, by the sites' names; sites without any are left out.
    ///
    /// # Errors
    /// The database.
    pub async fn traffic(&self) -> Result<Vec<SiteTraffic>> {
        self.read("summing up traffic", |db| {
            let sql = "SELECT site.name, totals FROM site_traffic JOIN site ON site.id = site_traffic.site ORDER BY site.name";
            Ok(rows(db, sql, [], |row| {
                let Json(totals) = row.get(1)?;
                Ok(SiteTraffic { site: row.get(0)?, totals })
            })?)
        })
        .await
    }
}

/// Adds to the site's totals what `totals`, a machine's for a package, say beyond what the machine told before.
pub(super) fn count(tx: &Tx<'_>, (machine, site): (MachineId, SiteId), package: PackageId, totals: &Traffic) -> Step<()> {
    let told = "SELECT totals FROM machine_traffic WHERE machine = ?1 AND package = ?2";
    let before = row(tx, told, (machine, package), |row| row.get(0).map(|Json(totals)| totals))?.unwrap_or_default();
    if *totals == before {
        return Ok(());
    }
    let sql = "INSERT INTO machine_traffic (machine, package, totals) SELECT ?1, id, ?3 FROM package WHERE id = ?2
        ON CONFLICT (machine, package) DO UPDATE SET totals = excluded.totals";
    if run(tx, sql, (machine, package, Json(totals)))? == 0 {
        // A package that the hub does not know.
        return Ok(());
    }
    let sum = of_site(tx, site)?.plus(&totals.since(&before));
    let sql = "INSERT INTO site_traffic (site, totals) VALUES (?1, ?2) ON CONFLICT (site) DO UPDATE SET totals = excluded.totals";
    run(tx, sql, (site, Json(&sum)))?;
    Ok(())
}

/// Returns a site's totals.
pub(super) fn of_site(db: &Connection, site: SiteId) -> Step<Traffic> {
    let sql = "SELECT totals FROM site_traffic WHERE site = ?1";
    Ok(row(db, sql, [site], |row| row.get(0).map(|Json(totals)| totals))?.unwrap_or_default())
}
