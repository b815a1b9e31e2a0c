//! How many there are of what.

use super::sql::Count;
use super::{Catalog, error::Result};

/// Counts for the hub's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Packages.
    pub packages: u64,
    /// Agents.
    pub agents: u64,
    /// Site servers.
    pub site_servers: u64,
    /// Sites, the built-in one included.
    pub sites: u64,
    /// Revision of the fleet's state.
    pub revision: u64,
}

impl Catalog {
    /// Counts what the catalog holds.
    ///
    /// # Errors
    /// The database.
    pub async fn counts(&self) -> Result<Counts> {
        self.read("counting", |db| {
            let sql = "SELECT (SELECT count(*) FROM package), (SELECT count(*) FROM machine WHERE role = 'agent'),
                (SELECT count(*) FROM machine WHERE role = 'site-server'), (SELECT count(*) FROM site), revision FROM fleet";
            let number = |row: &rusqlite::Row<'_>, column| row.get(column).map(|Count(number)| number);
            Ok(db.prepare_cached(sql)?.query_row([], |row| {
                Ok(Counts {
                    packages: number(row, 0)?,
                    agents: number(row, 1)?,
                    site_servers: number(row, 2)?,
                    sites: number(row, 3)?,
                    revision: number(row, 4)?,
                })
            })?)
        })
        .await
    }
}
