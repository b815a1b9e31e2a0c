//! Policies: machines of a collection may have a package.

use rusqlite::{Connection, Row};

use super::error::{Result, Step, conflict};
use super::sql::{row, rows, run};
use super::{AdminWrite, Catalog, collections, packages};
use crate::domain::{CollectionId, PackageId};
use crate::protocol::admin::{PolicyAdd, PolicyView};

impl Catalog {
    /// Adds a policy: from now on agents of the collection may read the package.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] for package or collection, [`super::Error::Conflict`] if another policy has the name; the
    /// database.
    pub async fn add_policy(&self, write: AdminWrite, add: PolicyAdd) -> Result<PolicyView> {
        self.admin(write, "adding a policy", add.name.to_string(), move |tx| {
            let package = packages::find(tx, &add.package)?;
            let (collection, collection_name) = collections::find(tx, &add.collection)?;
            let wanted = PolicyView { id: add.id, name: add.name.clone(), package: package.name, collection: collection_name };
            if let Some(other) = row(tx, &select("WHERE policy.id = ?1 OR policy.name = ?2"), (add.id, &add.name), read)? {
                let reason =
                    format!("cannot be added with id {}: policy {} with id {} is there already", add.id, other.name, other.id);
                return if other == wanted {
                    Ok(other)
                } else {
                    Err(conflict("policy", &add.name, reason, "choose another name"))
                };
            }
            let sql = "INSERT INTO policy (id, name, package, collection) VALUES (?1, ?2, ?3, ?4)";
            run(tx, sql, (add.id, &add.name, package.id, collection))?;
            tx.bump()?;
            Ok(wanted)
        })
        .await
    }

    /// Returns all policies by name.
    ///
    /// # Errors
    /// The database.
    pub async fn policies(&self) -> Result<Vec<PolicyView>> {
        self.read("listing policies", |db| Ok(rows(db, &select("ORDER BY policy.name"), [], read)?)).await
    }
}

fn select(rest: &str) -> String {
    format!(
        "SELECT policy.id, policy.name, package.name, collection.name FROM policy
        JOIN package ON package.id = policy.package JOIN collection ON collection.id = policy.collection {rest}"
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<PolicyView> {
    Ok(PolicyView { id: row.get(0)?, name: row.get(1)?, package: row.get(2)?, collection: row.get(3)? })
}

/// Returns the collections whose agents may read a package.
pub(super) fn readers(db: &Connection, package: PackageId) -> Step<Vec<CollectionId>> {
    Ok(rows(db, "SELECT DISTINCT collection FROM policy WHERE package = ?1 ORDER BY collection", [package], |row| row.get(0))?)
}
