//! Releases: a version, its signed metadata and the new revision become real in one transaction.

use consign_store::ManifestId;
use rusqlite::{Connection, Row};

use super::error::{Result, Step, conflict};
use super::packages::PackageRow;
use super::sql::{Count, Text, rows, run};
use super::tuf::{self, TufChange};
use super::tx::Tx;
use super::{Catalog, codebases, packages, refreshes};
use crate::domain::{Millis, Name, PackageId};
use crate::protocol::admin::RefreshOutcome;
use crate::protocol::fleet::VersionInfo;

/// Newest versions of a package that site servers hold: what agents have and deltas start from.
pub(super) const VERSIONS_HELD_MAX: u32 = 8;

/// A version to be released; its bytes are durable already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion {
    /// Its number: one more than the package's highest.
    pub number: u32,
    /// The publisher's label.
    pub label: Option<String>,
    /// Its manifest.
    pub manifest: ManifestId,
    /// SHA-256 of the manifest: what the signed metadata names.
    pub sha256: [u8; 32],
    /// Length of the manifest, bytes.
    pub manifest_len: u64,
    /// Raw bytes of its files.
    pub bytes: u64,
    /// Its files.
    pub files: u64,
}

impl Catalog {
    /// Releases a version, ends the refresh that made it, and returns the fleet's new revision.
    ///
    /// Version, metadata, assignments to site servers and revision appear together or not at all.
    ///
    /// # Errors
    /// [`super::Error::Conflict`] if the number is not the next or the metadata changed since it was read: nothing was changed,
    /// sign anew; [`super::Error::NotFound`], [`super::Error::Full`]; the database.
    pub async fn release(
        &self,
        package: PackageId,
        version: NewVersion,
        tuf: TufChange,
        outcome: RefreshOutcome,
        now: Millis,
    ) -> Result<u64> {
        self.write("releasing a version", move |tx| {
            insert(tx, package, &version, now)?;
            tuf::put(tx, &tuf)?;
            codebases::assign(tx, &version.manifest.to_string())?;
            refreshes::end(tx, package, &outcome, None)?;
            tx.bump()
        })
        .await
    }
}

/// A version of which the hub keeps the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVersion {
    /// Its package's name.
    pub package: Name,
    /// Its number.
    pub version: u32,
    /// Its manifest.
    pub manifest: ManifestId,
}

impl Catalog {
    /// Returns every version, by package and number: what the store is kept for.
    ///
    /// # Errors
    /// The database.
    pub async fn kept_versions(&self) -> Result<Vec<KeptVersion>> {
        self.read("listing versions", |db| {
            let sql =
                "SELECT name, number, manifest FROM version JOIN package ON package.id = version.package ORDER BY name, number";
            Ok(rows(db, sql, [], |row| {
                let Text(manifest) = row.get(2)?;
                Ok(KeptVersion { package: row.get(0)?, version: row.get(1)?, manifest })
            })?)
        })
        .await
    }
}

fn insert(tx: &Tx<'_>, package: PackageId, version: &NewVersion, now: Millis) -> Step<()> {
    let package = packages::by_id(tx, package)?;
    if package.current.checked_add(1) != Some(version.number) {
        let reason = format!("its highest version is {}, so {} is not the next", package.current, version.number);
        return Err(conflict("package", &package.name, reason, "read the package again and sign anew"));
    }
    let sql = "INSERT INTO version (package, number, label, manifest, sha256, manifest_len, bytes, files, released)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let (manifest_len, bytes, files) = (Count(version.manifest_len), Count(version.bytes), Count(version.files));
    run(
        tx,
        sql,
        (package.id, version.number, &version.label, Text(version.manifest), version.sha256, manifest_len, bytes, files, now),
    )?;
    run(tx, "UPDATE package SET current = ?2 WHERE id = ?1", (package.id, version.number))?;
    Ok(())
}

/// Returns a package's versions, ascending.
pub(super) fn versions(db: &Connection, package: PackageId) -> Step<Vec<VersionInfo>> {
    newer_than(db, package, 0)
}

/// Returns a package's current version; `None` before the first release.
pub(super) fn current(db: &Connection, package: &PackageRow) -> Step<Option<VersionInfo>> {
    Ok(newer_than(db, package.id, package.current.saturating_sub(1))?.pop())
}

/// Returns the versions above `number`, ascending.
pub(super) fn newer_than(db: &Connection, package: PackageId, number: u32) -> Step<Vec<VersionInfo>> {
    let sql = "SELECT number, label, manifest, manifest_len, bytes, files, released FROM version
        WHERE package = ?1 AND number > ?2 ORDER BY number";
    Ok(rows(db, sql, (package, number), read)?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<VersionInfo> {
    let (Count(manifest_len), Count(bytes), Count(files)) = (row.get(3)?, row.get(4)?, row.get(5)?);
    Ok(VersionInfo {
        version: row.get(0)?,
        label: row.get(1)?,
        manifest: row.get(2)?,
        manifest_len,
        bytes,
        files,
        released: row.get(6)?,
    })
}
