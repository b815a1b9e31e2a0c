//! A write transaction that knows whether the fleet's revision rose in it.

use std::cell::Cell;
use std::ops::Deref;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::Step;
use super::sql::Count;

/// One write transaction; rolled back unless it ends well.
pub(super) struct Tx<'c> {
    inner: Transaction<'c>,
    revision: Cell<Option<u64>>,
}

impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.inner
    }
}

impl Tx<'_> {
    /// Raises the fleet's revision: site servers and agents have something new to know. Returns the new one.
    pub(super) fn bump(&self) -> Step<u64> {
        let sql = "UPDATE fleet SET revision = revision + 1 RETURNING revision";
        let Count(revision) = self.inner.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        self.revision.set(Some(revision));
        Ok(revision)
    }
}

/// What a committed transaction left.
pub(super) struct Committed<T> {
    pub value: T,
    /// The revision, if it rose.
    pub revision: Option<u64>,
}

/// Runs `work` as one transaction; when it returns `Ok`, the change is on disk.
pub(super) fn transact<T>(connection: &mut Connection, work: impl FnOnce(&Tx<'_>) -> Step<T>) -> Step<Committed<T>> {
    let tx = Tx { inner: connection.transaction_with_behavior(TransactionBehavior::Immediate)?, revision: Cell::new(None) };
    let value = work(&tx)?;
    let revision = tx.revision.get();
    tx.inner.commit()?;
    Ok(Committed { value, revision })
}

/// Reads the fleet's revision.
pub(super) fn revision(db: &Connection) -> Step<u64> {
    let Count(revision) = db.prepare_cached("SELECT revision FROM fleet")?.query_row([], |row| row.get(0))?;
    Ok(revision)
}
