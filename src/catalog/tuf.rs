//! The signed release metadata: files by name, changed together.

use rusqlite::Connection;

use super::Catalog;
use super::error::{Result, Step, conflict, invalid};
use super::sql::{Count, row, rows, run};
use super::tx::Tx;

/// Older snapshots and targets kept for readers in the middle of an update.
const OLDER_KEPT_MAX: u64 = 8;
/// Longest file name, bytes.
const FILE_NAME_BYTES_MAX: usize = 128;

/// The newest metadata: every root, and the newest of each other role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TufFiles {
    /// Rises with every change; a change says on which it is based.
    pub revision: u64,
    /// Name (`7.targets.json`, `timestamp.json`) and exact bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

/// New metadata files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TufChange {
    /// The [`TufFiles::revision`] they were made from; refused if the metadata changed since.
    pub based_on: u64,
    /// Name and exact bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Catalog {
    /// Returns the newest metadata.
    ///
    /// # Errors
    /// The database.
    pub async fn tuf_files(&self) -> Result<TufFiles> {
        self.read("reading the release metadata", |db| {
            let sql = "SELECT name, bytes FROM tuf_file AS file WHERE version IS NULL OR role = 'root'
                OR version = (SELECT max(version) FROM tuf_file WHERE role = file.role) ORDER BY role, version";
            Ok(TufFiles { revision: revision(db)?, files: rows(db, sql, [], |row| Ok((row.get(0)?, row.get(1)?)))? })
        })
        .await
    }

    /// Returns the exact bytes of one file.
    ///
    /// # Errors
    /// The database.
    pub async fn tuf_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.read("reading release metadata", move |db| {
            Ok(row(db, "SELECT bytes FROM tuf_file WHERE name = ?1", [name], |row| row.get(0))?)
        })
        .await
    }

    /// Puts new metadata and returns the fleet's new revision.
    ///
    /// # Errors
    /// [`super::Error::Conflict`] if the metadata changed since it was read; the database.
    pub async fn put_tuf(&self, change: TufChange) -> Result<u64> {
        self.write("storing release metadata", move |tx| {
            put(tx, &change)?;
            tx.bump()
        })
        .await
    }
}

fn revision(db: &Connection) -> Step<u64> {
    let Count(revision) = db.prepare_cached("SELECT tuf_revision FROM fleet")?.query_row([], |row| row.get(0))?;
    Ok(revision)
}

pub(super) fn put(tx: &Tx<'_>, change: &TufChange) -> Step<()> {
    if revision(tx)? != change.based_on {
        let reason = "changed while new metadata was being signed";
        return Err(conflict("release metadata", "of the fleet", reason, "read it again and sign anew"));
    }
    for (name, bytes) in &change.files {
        let (role, version) = parse(name)?;
        let sql = "INSERT INTO tuf_file (name, role, version, bytes) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes WHERE version IS NULL";
        if run(tx, sql, (name, role, version.map(Count), bytes))? == 0 {
            return Err(conflict("release metadata", name, "is there already and never changes", "sign it with a new version"));
        }
        if let Some(version) = version.filter(|_| role != "root") {
            let oldest = Count(version.saturating_sub(OLDER_KEPT_MAX));
            run(tx, "DELETE FROM tuf_file WHERE role = ?1 AND version < ?2", (role, oldest))?;
        }
    }
    run(tx, "UPDATE fleet SET tuf_revision = tuf_revision + 1", [])?;
    Ok(())
}

/// Splits `7.targets.json` into role and version; `timestamp.json` has no version.
fn parse(name: &str) -> Step<(&str, Option<u64>)> {
    let refuse = || invalid("release metadata", format!("{name:?} is not a name like 7.targets.json or timestamp.json"));
    let stem = name.strip_suffix(".json").filter(|_| name.len() <= FILE_NAME_BYTES_MAX).ok_or_else(refuse)?;
    let (version, role) = match stem.split_once('.') {
        Some((version, role)) => (Some(version.parse().map_err(|_| refuse())?), role),
        None => (None, stem),
    };
    if role.is_empty() || !role.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err(refuse());
    }
    Ok((role, version))
}
