//! The versions of the database and how one becomes the next.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::{Error, Fail, Result, Step};

/// Marks a file as a Consign catalog: `CnsC`.
const APPLICATION_ID: i64 = 0x436e_7343;

/// What turns version n into n + 1; append only.
const STEPS: &[&str] = &[include_str!("schema/0001.sql"), include_str!("schema/0002.sql")];

/// Makes the tables in a database that has none.
pub(super) fn create(connection: &mut Connection, path: &Path) -> Result<()> {
    migrate(connection, path, |found| if found.empty { Ok(()) } else { Err(Error::Exists { path: path.to_owned() }) })
}

/// Brings a catalog to the newest version.
pub(super) fn upgrade(connection: &mut Connection, path: &Path) -> Result<()> {
    migrate(connection, path, |found| {
        if found.application == APPLICATION_ID { Ok(()) } else { Err(Error::NotACatalog { path: path.to_owned() }) }
    })
}

struct Found {
    application: i64,
    version: i64,
    empty: bool,
}

fn migrate(connection: &mut Connection, path: &Path, check: impl FnOnce(&Found) -> Result<()>) -> Result<()> {
    let operation = "opening";
    let step = || -> Step<()> {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = Found {
            application: tx.pragma_query_value(None, "application_id", |row| row.get(0))?,
            version: tx.pragma_query_value(None, "user_version", |row| row.get(0))?,
            empty: tx.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)", [], |row| row.get(0))?,
        };
        check(&found)?;
        let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
        let applied = usize::try_from(found.version).unwrap_or(usize::MAX);
        let missing = STEPS.get(applied..).ok_or_else(|| Error::TooNew { path: path.to_owned(), found: found.version, known })?;
        if missing.is_empty() {
            return Ok(());
        }
        for sql in missing {
            tx.execute_batch(sql)?;
        }
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", known)?;
        Ok(tx.commit()?)
    };
    step().map_err(|fail: Fail| fail.at(operation, path))
}
