//! Facts of the fleet by name, such as the hub's address.

use super::Catalog;
use super::error::Result;
use super::sql::{row, run};

impl Catalog {
    /// Returns a fact.
    ///
    /// # Errors
    /// The database.
    pub async fn setting(&self, name: &'static str) -> Result<Option<Vec<u8>>> {
        self.read("reading a setting", move |db| {
            Ok(row(db, "SELECT value FROM setting WHERE name = ?1", [name], |row| row.get(0))?)
        })
        .await
    }

    /// Puts a fact, replacing what it was.
    ///
    /// # Errors
    /// The database.
    pub async fn put_setting(&self, name: &'static str, value: Vec<u8>) -> Result<()> {
        self.write("writing a setting", move |tx| {
            let sql = "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            run(tx, sql, (name, value))?;
            Ok(())
        })
        .await
    }
}
