//! How a connection to the database is set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{Fail, Result, Step, invalid};

/// Longest wait for another program that holds the database.
const BUSY_WAIT_SECS_MAX: u64 = 5;
/// The write-ahead log is cut back to this after a checkpoint.
const LOG_BYTES_MAX: i64 = 64 << 20;
/// Prepared statements kept a connection.
const STATEMENTS_MAX: usize = 128;

/// Opens the writing connection; `create` makes the file if it is missing.
pub(super) fn writer(path: &Path, create: bool) -> Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    open(path, flags, |db| Ok(db.pragma_update(None, "synchronous", "FULL")?))
}

/// Turns the write-ahead log on, once the file is known to be a catalog: the switch is written into it.
pub(super) fn log_ahead(db: &Connection, path: &Path) -> Result<()> {
    let switched = || -> Step<()> {
        let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(invalid("folder of the catalog", "its file system allows no write-ahead log; use a local disk"));
        }
        Ok(db.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?)
    };
    switched().map_err(|fail: Fail| fail.at("opening", path))
}

/// Opens a connection that cannot write.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, |db| Ok(db.pragma_update(None, "query_only", true)?))
}

fn open(path: &Path, flags: OpenFlags, set_up: impl FnOnce(&Connection) -> Step<()>) -> Result<Connection> {
    let opened = || -> Step<Connection> {
        // Each connection is used by one thread at a time, so SQLite need not lock it.
        let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(Duration::from_secs(BUSY_WAIT_SECS_MAX))?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "trusted_schema", false)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        set_up(&db)?;
        Ok(db)
    };
    opened().map_err(|fail: Fail| fail.at("opening", path))
}
