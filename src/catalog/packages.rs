//! Packages and how admins see them.

use rusqlite::{Connection, Row};

use super::error::{Fail, Result, Step, conflict, invalid, not_found};
use super::sql::{Count, Json, row, rows, run};
use super::tx::Tx;
use super::{AdminWrite, Catalog, codebases, installs, refreshes, releases};
use crate::domain::{Millis, Name, PackageId};
use crate::protocol::admin::{PackageAdd, PackageView, RefreshOutcome, RefreshRequest, RefreshState};

/// Longest path of a source folder, bytes.
const SOURCE_BYTES_MAX: usize = 4096;
/// Systems a package can be for.
const PLATFORMS: [&str; 3] = ["linux", "windows", "macos"];

/// A package's own row.
pub(super) struct PackageRow {
    pub id: PackageId,
    pub name: Name,
    pub source: String,
    pub open: bool,
    pub platforms: Vec<String>,
    /// Highest version, 0 before the first release.
    pub current: u32,
    pub refreshes_ended: u64,
    pub last_refresh: Option<RefreshOutcome>,
    /// Why the last refresh failed; `None` if it went well.
    pub failure: Option<String>,
}

impl Catalog {
    /// Adds a package and queues its first refresh; a repetition with the same id, name and source changes nothing.
    ///
    /// # Errors
    /// [`super::Error::Conflict`] naming both ids if another package has the name, [`super::Error::Invalid`]; the database.
    pub async fn add_package(&self, write: AdminWrite, add: PackageAdd) -> Result<PackageView> {
        let now = write.now;
        self.admin(write, "adding a package", add.name.to_string(), move |tx| {
            check(&add)?;
            if let Some(other) = row(tx, &select("WHERE id = ?1 OR name = ?2"), (add.id, &add.name), read)? {
                let same = other.id == add.id && other.name == add.name && other.source == add.source;
                return if same { view(tx, other) } else { Err(taken(&add, &other)) };
            }
            let sql = "INSERT INTO package (id, name, source, open, platforms) VALUES (?1, ?2, ?3, ?4, ?5)";
            run(tx, sql, (add.id, &add.name, &add.source, add.open, Json(&add.platforms)))?;
            refreshes::queue(tx, add.id, &RefreshRequest { verify: false, label: add.label.clone() }, now)?;
            tx.bump()?;
            view_of(tx, add.id)
        })
        .await
    }

    /// Returns a package by name or id. A refresh that runs shows as `hashing` with zeros: the hub knows how far it is.
    ///
    /// # Errors
    /// [`super::Error::NotFound`]; the database.
    pub async fn package(&self, name_or_id: &str) -> Result<PackageView> {
        let text = name_or_id.to_owned();
        self.read("reading a package", move |db| view(db, find(db, &text)?)).await
    }

    /// Returns all packages by name.
    ///
    /// # Errors
    /// The database.
    pub async fn packages(&self) -> Result<Vec<PackageView>> {
        self.read("listing packages", all).await
    }
}

pub(super) fn all(db: &Connection) -> Step<Vec<PackageView>> {
    let packages: Vec<_> = rows(db, &select("ORDER BY name"), [], read)?;
    packages.into_iter().map(|package| view(db, package)).collect()
}

fn check(add: &PackageAdd) -> Step<()> {
    if add.source.is_empty() || add.source.len() > SOURCE_BYTES_MAX {
        return Err(invalid("source of a package", format!("must be an absolute path of at most {SOURCE_BYTES_MAX} bytes")));
    }
    match add.platforms.iter().find(|platform| !PLATFORMS.contains(&platform.as_str())) {
        Some(platform) => Err(invalid("platforms of a package", format!("{platform:?} is none of {}", PLATFORMS.join(", ")))),
        None => Ok(()),
    }
}

fn taken(add: &PackageAdd, other: &PackageRow) -> Fail {
    let reason = format!("cannot be added with id {}: package {} with id {} is there already", add.id, other.name, other.id);
    conflict("package", &add.name, reason, "choose another name, or refresh the package that is there")
}

pub(super) fn select(rest: &str) -> String {
    format!("SELECT id, name, source, open, platforms, current, refreshes_ended, last_refresh, failure FROM package {rest}")
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<PackageRow> {
    let Json(platforms) = row.get(4)?;
    let Count(refreshes_ended) = row.get(6)?;
    Ok(PackageRow {
        id: row.get(0)?,
        name: row.get(1)?,
        source: row.get(2)?,
        open: row.get(3)?,
        platforms,
        current: row.get(5)?,
        refreshes_ended,
        last_refresh: row.get::<_, Option<Json<_>>>(7)?.map(|Json(outcome)| outcome),
        failure: row.get(8)?,
    })
}

/// Finds a package by its id or name.
pub(super) fn find(db: &Connection, text: &str) -> Step<PackageRow> {
    let id = text.parse::<PackageId>().ok();
    let sql = select("WHERE id = ?1 OR name = ?2 ORDER BY id = ?1 DESC LIMIT 1");
    row(db, &sql, (id, text), read)?.ok_or_else(|| not_found("package", text))
}

pub(super) fn by_id(db: &Connection, id: PackageId) -> Step<PackageRow> {
    row(db, &select("WHERE id = ?1"), [id], read)?.ok_or_else(|| not_found("package", &id))
}

pub(super) fn view_of(tx: &Tx<'_>, id: PackageId) -> Step<PackageView> {
    view(tx, by_id(tx, id)?)
}

pub(super) fn view(db: &Connection, package: PackageRow) -> Step<PackageView> {
    Ok(PackageView {
        refresh: refresh_state(db, &package)?,
        versions: releases::versions(db, package.id)?,
        codebases: codebases::of_version(db, package.id, package.current)?,
        installs: installs::of_package(db, package.id)?,
        warnings: warnings(db, &package)?,
        id: package.id,
        name: package.name,
        source: package.source,
        open: package.open,
        platforms: package.platforms,
        refreshes_ended: package.refreshes_ended,
        last_refresh: package.last_refresh,
    })
}

/// What runs or waits comes before how the last one ended.
pub(super) fn refresh_state(db: &Connection, package: &PackageRow) -> Step<RefreshState> {
    let sql = "SELECT queued, started, (SELECT count(*) FROM refresh AS other WHERE other.ticket < refresh.ticket)
        FROM refresh WHERE package = ?1 ORDER BY started IS NULL LIMIT 1";
    let open = row(db, sql, [package.id], |row| {
        let Count(position) = row.get(2)?;
        Ok(match row.get::<_, Option<Millis>>(1)? {
            Some(_) => RefreshState::Hashing { done_bytes: 0, total_bytes: 0, done_files: 0, total_files: 0 },
            None => RefreshState::Queued { since: row.get(0)?, position },
        })
    })?;
    Ok(open.unwrap_or_else(|| match (&package.failure, &package.last_refresh) {
        (Some(reason), Some(outcome)) => RefreshState::Failed { reason: reason.clone(), at: outcome.ended },
        _ => RefreshState::Idle,
    }))
}

fn warnings(db: &Connection, package: &PackageRow) -> Step<Vec<String>> {
    let named = row(db, "SELECT 1 FROM policy WHERE package = ?1 LIMIT 1", [package.id], |_| Ok(()))?.is_some();
    if package.open || named {
        return Ok(Vec::new());
    }
    Ok(vec![format!("no agent may read {}: name it in a policy with `consign policy add`, or add it as open", package.name)])
}
