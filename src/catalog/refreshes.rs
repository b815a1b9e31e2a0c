//! The queue of refreshes: what waits, what runs, how it ended.

use rusqlite::Connection;

use super::error::{Result, Step};
use super::sql::{Count, Json, row, rows, run};
use super::tx::Tx;
use super::{AdminWrite, Catalog, packages, releases};
use crate::domain::{Millis, Name, PackageId};
use crate::protocol::admin::{PackageView, RefreshOutcome, RefreshRequest};
use crate::protocol::fleet::VersionInfo;

/// Longest label of a version, bytes.
const LABEL_BYTES_MAX: usize = 256;
/// A longer reason of a failure is cut, characters.
const REASON_CHARS_MAX: usize = 4096;

/// A refresh to be worked off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshJob {
    /// Which package.
    pub package: PackageId,
    /// Its name.
    pub name: Name,
    /// Its source folder.
    pub source: String,
    /// Systems it is for; all when empty.
    pub platforms: Vec<String>,
    /// Its current version: what the source is compared with.
    pub current: Option<VersionInfo>,
    /// Read every byte.
    pub verify: bool,
    /// The publisher's label if a new version results.
    pub label: Option<String>,
    /// When it was asked for.
    pub queued: Millis,
    /// When it was taken.
    pub started: Millis,
}

/// The refreshes that wait or run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefreshQueue {
    /// How many.
    pub depth: u64,
    /// When the oldest was asked for.
    pub oldest: Option<Millis>,
}

impl Catalog {
    /// Queues a refresh; one that waits already is the same one, made as thorough as the more thorough of the two. One that runs
    /// does not count: it may have passed by what changed since.
    ///
    /// # Errors
    /// [`super::Error::NotFound`], [`super::Error::Invalid`]; the database.
    pub async fn queue_refresh(&self, write: AdminWrite, name_or_id: &str, request: RefreshRequest) -> Result<PackageView> {
        let (text, now) = (name_or_id.to_owned(), write.now);
        self.admin(write, "queueing a refresh", text.clone(), move |tx| {
            let package = packages::find(tx, &text)?;
            queue(tx, package.id, &request, now)?;
            packages::view(tx, package)
        })
        .await
    }

    /// Queues a refresh of every package.
    ///
    /// # Errors
    /// [`super::Error::Invalid`]; the database.
    pub async fn queue_refresh_all(&self, write: AdminWrite, request: RefreshRequest) -> Result<Vec<PackageView>> {
        let now = write.now;
        self.admin(write, "queueing a refresh", "all packages".into(), move |tx| {
            let ids: Vec<PackageId> = rows(tx, "SELECT id FROM package ORDER BY name", [], |row| row.get(0))?;
            ids.into_iter().try_for_each(|id| queue(tx, id, &request, now))?;
            packages::all(tx)
        })
        .await
    }

    /// Takes the oldest refresh whose package has none running; it runs until it is finished or requeued.
    ///
    /// # Errors
    /// The database.
    pub async fn take_refresh(&self, now: Millis) -> Result<Option<RefreshJob>> {
        self.write("taking a refresh", move |tx| {
            let sql = "UPDATE refresh SET started = ?1 WHERE ticket = (SELECT min(ticket) FROM refresh WHERE started IS NULL
                    AND package NOT IN (SELECT package FROM refresh WHERE started IS NOT NULL))
                RETURNING package, verify, label, queued";
            let taken = row(tx, sql, [now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            let Some((package, verify, label, queued)) = taken else { return Ok(None) };
            let package = packages::by_id(tx, package)?;
            if package.current == 0 {
                tx.bump()?;
            }
            let current = releases::current(tx, &package)?;
            let packages::PackageRow { id, name, source, platforms, .. } = package;
            Ok(Some(RefreshJob { package: id, name, source, platforms, current, verify, label, queued, started: now }))
        })
        .await
    }

    /// Puts refreshes that a stop of the hub interrupted back in their place in the queue, and returns how many.
    ///
    /// # Errors
    /// The database.
    pub async fn requeue_interrupted(&self) -> Result<u64> {
        self.write("requeueing interrupted refreshes", |tx| {
            let sql = "SELECT package, verify, label FROM refresh WHERE started IS NOT NULL";
            let interrupted: Vec<(PackageId, bool, Option<String>)> =
                rows(tx, sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            for (package, verify, label) in &interrupted {
                // What waits behind it does the same work: one refresh, in the older place, with the newer label.
                let sql = "DELETE FROM refresh WHERE package = ?1 AND started IS NULL RETURNING verify, label";
                let waiting = row(tx, sql, [package], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, Option<String>>(1)?)))?;
                let (also, newer) = waiting.unwrap_or_default();
                let sql = "UPDATE refresh SET started = NULL, verify = ?2, label = ?3 WHERE package = ?1";
                run(tx, sql, (package, *verify || also, newer.as_ref().or(label.as_ref())))?;
            }
            Ok(interrupted.len() as u64)
        })
        .await
    }

    /// Ends a refresh that found nothing new.
    ///
    /// # Errors
    /// [`super::Error::NotFound`]; the database.
    pub async fn refresh_unchanged(&self, package: PackageId, outcome: RefreshOutcome) -> Result<()> {
        self.write("ending a refresh", move |tx| end(tx, package, &outcome, None)).await
    }

    /// Ends a refresh that failed; the last good version stands.
    ///
    /// # Errors
    /// [`super::Error::NotFound`]; the database.
    pub async fn refresh_failed(&self, package: PackageId, outcome: RefreshOutcome, reason: String) -> Result<()> {
        self.write("ending a refresh", move |tx| {
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            end(tx, package, &outcome, Some(&reason))?;
            if packages::by_id(tx, package)?.current == 0 {
                tx.bump()?;
            }
            Ok(())
        })
        .await
    }

    /// Tells how many refreshes wait or run.
    ///
    /// # Errors
    /// The database.
    pub async fn refresh_queue(&self) -> Result<RefreshQueue> {
        self.read("reading the refresh queue", |db| {
            Ok(db.prepare_cached("SELECT count(*), min(queued) FROM refresh")?.query_row([], |row| {
                let Count(depth) = row.get(0)?;
                Ok(RefreshQueue { depth, oldest: row.get(1)? })
            })?)
        })
        .await
    }
}

pub(super) fn queue(db: &Connection, package: PackageId, request: &RefreshRequest, now: Millis) -> Step<()> {
    if request.label.as_ref().is_some_and(|label| label.is_empty() || label.len() > LABEL_BYTES_MAX) {
        return Err(super::error::invalid("label of a version", format!("must be 1 to {LABEL_BYTES_MAX} bytes long")));
    }
    let sql = "INSERT INTO refresh (package, verify, label, queued) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (package) WHERE started IS NULL
        DO UPDATE SET verify = verify OR excluded.verify, label = coalesce(excluded.label, label)";
    run(db, sql, (package, request.verify, &request.label, now))?;
    Ok(())
}

/// Ends the refresh that runs.
pub(super) fn end(tx: &Tx<'_>, package: PackageId, outcome: &RefreshOutcome, failure: Option<&str>) -> Step<()> {
    run(tx, "DELETE FROM refresh WHERE package = ?1 AND started IS NOT NULL", [package])?;
    let sql = "UPDATE package SET refreshes_ended = refreshes_ended + 1, last_refresh = ?2, failure = ?3 WHERE id = ?1";
    match run(tx, sql, (package, Json(outcome), failure))? {
        0 => Err(super::error::not_found("package", &package)),
        _ => Ok(()),
    }
}
