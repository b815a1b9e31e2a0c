//! What all writes of admins have in common: they are audited, and repeating one with its idempotency key changes nothing.

use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Result, Step, conflict, invalid};
use super::sql::{Json, row, run};
use super::tx::Tx;
use super::{Catalog, audit};
use crate::domain::Millis;

/// Longest idempotency key, bytes.
const KEY_BYTES_MAX: usize = 128;
/// For how long an answer can be asked for again.
const KEPT_SECS_MAX: i64 = 24 * 3600;

/// Names one write, so that its repetition is answered as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Made by the admin's program, 1 to 128 bytes.
    pub key: String,
    /// A digest of the whole request: method, path and body.
    pub request: [u8; 32],
}

/// Who writes, when, and whether it may be a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminWrite {
    /// Who, for the audit.
    pub actor: String,
    /// When.
    pub now: Millis,
    /// The request's key, if it has one.
    pub key: Option<IdempotencyKey>,
}

impl Catalog {
    /// Runs `work` as one audited write; a repetition returns the kept answer and does nothing.
    pub(super) async fn admin<T: Serialize + DeserializeOwned + Send + 'static>(
        &self,
        write: AdminWrite,
        action: &'static str,
        subject: String,
        work: impl FnOnce(&Tx<'_>) -> Step<T> + Send + 'static,
    ) -> Result<T> {
        self.write(action, move |tx| {
            if let Some(answer) = kept(tx, &write)? {
                return Ok(answer);
            }
            let answer = work(tx)?;
            finish(tx, &write, action, &subject, &answer)?;
            Ok(answer)
        })
        .await
    }
}

/// Returns the answer that was kept for the write's key.
pub(super) fn kept<T: DeserializeOwned>(db: &Connection, write: &AdminWrite) -> Step<Option<T>> {
    let Some(key) = &write.key else { return Ok(None) };
    if key.key.is_empty() || key.key.len() > KEY_BYTES_MAX {
        return Err(invalid("idempotency key", format!("must be 1 to {KEY_BYTES_MAX} bytes long")));
    }
    let oldest = write.now.plus_secs(-KEPT_SECS_MAX);
    let sql = "SELECT request FROM admin_answer WHERE key = ?1 AND time >= ?2";
    let Some(request) = row(db, sql, (&key.key, oldest), |row| row.get::<_, [u8; 32]>(0))? else { return Ok(None) };
    if request != key.request {
        return Err(conflict("idempotency key", &key.key, "belongs to another request", "use a new key for each request"));
    }
    let answer = row(db, "SELECT answer FROM admin_answer WHERE key = ?1", [&key.key], |row| row.get::<_, Json<T>>(0))?;
    Ok(answer.map(|Json(answer)| answer))
}

/// Records the write in the audit, keeps its answer, and forgets answers that are too old.
pub(super) fn finish(db: &Connection, write: &AdminWrite, action: &str, subject: &str, answer: &impl Serialize) -> Step<()> {
    audit::record(db, write.now, &write.actor, action, subject)?;
    run(db, "DELETE FROM admin_answer WHERE time < ?1", [write.now.plus_secs(-KEPT_SECS_MAX)])?;
    if let Some(key) = &write.key {
        let sql = "INSERT INTO admin_answer (key, request, answer, time) VALUES (?1, ?2, ?3, ?4)";
        run(db, sql, (&key.key, key.request, Json(answer), write.now))?;
    }
    Ok(())
}
