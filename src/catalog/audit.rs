//! Who changed what: an append-only list of admins' writes.

use rusqlite::Connection;

use super::Catalog;
use super::error::{Result, Step};
use super::sql::{rows, run};
use crate::domain::Millis;

/// One write of an admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Rises by one with each entry.
    pub number: i64,
    /// When.
    pub time: Millis,
    /// Who.
    pub actor: String,
    /// What was done: `adding a package`.
    pub action: String,
    /// To what.
    pub subject: String,
}

impl Catalog {
    /// Returns the newest entries, newest first, at most `entries_max`.
    ///
    /// # Errors
    /// The database.
    pub async fn audit(&self, entries_max: u32) -> Result<Vec<AuditEntry>> {
        self.read("reading the audit", move |db| {
            let sql = "SELECT number, time, actor, action, subject FROM audit ORDER BY number DESC LIMIT ?1";
            Ok(rows(db, sql, [entries_max], |row| {
                Ok(AuditEntry {
                    number: row.get(0)?,
                    time: row.get(1)?,
                    actor: row.get(2)?,
                    action: row.get(3)?,
                    subject: row.get(4)?,
                })
            })?)
        })
        .await
    }
}

pub(super) fn record(db: &Connection, time: Millis, actor: &str, action: &str, subject: &str) -> Step<()> {
    run(db, "INSERT INTO audit (time, actor, action, subject) VALUES (?1, ?2, ?3, ?4)", (time, actor, action, subject))?;
    Ok(())
}
