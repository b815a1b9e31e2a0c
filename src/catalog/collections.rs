//! Collections: sets of agents, listed; `all machines` is built in and always up to date.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row};

use super::error::{Fail, Result, Step, conflict, invalid, not_found};
use super::sql::{row, rows, run};
use super::{AdminWrite, Catalog, machines};
use crate::domain::{CollectionId, MachineId, Name, SiteId};
use crate::protocol::admin::{CollectionAdd, CollectionView};

/// Most machines listed in one collection.
const MEMBERS_MAX: usize = 100_000;

impl Catalog {
    /// Adds a collection of agents, named by name or id.
    ///
    /// # Errors
    /// [`super::Error::Conflict`] if another collection has the name, or if several agents share a member's name;
    /// [`super::Error::NotFound`] naming the member that is no agent; the database.
    pub async fn add_collection(&self, write: AdminWrite, add: CollectionAdd) -> Result<CollectionView> {
        self.admin(write, "adding a collection", add.name.to_string(), move |tx| {
            if add.machines.len() > MEMBERS_MAX {
                return Err(invalid("machines of a collection", format!("there may be at most {MEMBERS_MAX}")));
            }
            let wanted = add.machines.iter().map(|text| machines::find_agent(tx, text)).collect::<Step<BTreeSet<_>>>()?;
            if let Some((id, name)) =
                row(tx, "SELECT id, name FROM collection WHERE id = ?1 OR name = ?2", (add.id, &add.name), read)?
            {
                let same = id == add.id && name == add.name && members(tx, id)? == wanted;
                return if same { view(tx, id, name) } else { Err(taken(&add, id, &name)) };
            }
            run(tx, "INSERT INTO collection (id, name) VALUES (?1, ?2)", (add.id, &add.name))?;
            for machine in &wanted {
                run(tx, "INSERT INTO member (collection, machine) VALUES (?1, ?2)", (add.id, machine))?;
            }
            tx.bump()?;
            view(tx, add.id, add.name)
        })
        .await
    }

    /// Returns all collections by name.
    ///
    /// # Errors
    /// The database.
    pub async fn collections(&self) -> Result<Vec<CollectionView>> {
        self.read("listing collections", |db| {
            let found: Vec<_> = rows(db, "SELECT id, name FROM collection ORDER BY name", [], read)?;
            found.into_iter().map(|(id, name)| view(db, id, name)).collect()
        })
        .await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<(CollectionId, Name)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn taken(add: &CollectionAdd, id: CollectionId, name: &Name) -> Fail {
    let reason = format!("cannot be added with id {}: collection {name} with id {id} is there already", add.id);
    conflict("collection", &add.name, reason, "choose another name")
}

/// Finds a collection by its id or name.
pub(super) fn find(db: &Connection, text: &str) -> Step<(CollectionId, Name)> {
    let id = text.parse::<CollectionId>().ok();
    let sql = "SELECT id, name FROM collection WHERE id = ?1 OR name = ?2 ORDER BY id = ?1 DESC LIMIT 1";
    row(db, sql, (id, text), read)?.ok_or_else(|| not_found("collection", text))
}

fn members(db: &Connection, id: CollectionId) -> Step<BTreeSet<MachineId>> {
    Ok(rows(db, "SELECT machine FROM member WHERE collection = ?1", [id], |row| row.get(0))?)
}

/// Returns the collections of one agent.
pub(super) fn of_machine(db: &Connection, machine: MachineId) -> Step<Vec<CollectionId>> {
    let mut found: Vec<CollectionId> = rows(db, "SELECT collection FROM member WHERE machine = ?1", [machine], |row| row.get(0))?;
    found.push(CollectionId::ALL_MACHINES);
    found.sort_unstable();
    Ok(found)
}

/// Returns the collections of each agent of a site, as [`of_machine`].
pub(super) fn of_site(db: &Connection, site: SiteId) -> Step<BTreeMap<MachineId, Vec<CollectionId>>> {
    let agents: Vec<MachineId> = rows(db, "SELECT id FROM machine WHERE site = ?1 AND role = 'agent'", [site], |row| row.get(0))?;
    let mut found: BTreeMap<_, _> = agents.into_iter().map(|agent| (agent, vec![CollectionId::ALL_MACHINES])).collect();
    let sql = "SELECT machine, collection FROM member JOIN machine ON machine.id = member.machine WHERE site = ?1";
    let listed: Vec<(MachineId, CollectionId)> = rows(db, sql, [site], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (machine, collection) in listed {
        found.entry(machine).or_default().push(collection);
    }
    for collections in found.values_mut() {
        collections.sort_unstable();
    }
    Ok(found)
}

fn view(db: &Connection, id: CollectionId, name: Name) -> Step<CollectionView> {
    let machines = if id == CollectionId::ALL_MACHINES {
        rows(db, "SELECT name FROM machine WHERE role = 'agent' ORDER BY name, id", [], |row| row.get(0))?
    } else {
        let sql = "SELECT name FROM member JOIN machine ON machine.id = member.machine WHERE collection = ?1 ORDER BY name, id";
        rows(db, sql, [id], |row| row.get(0))?
    };
    Ok(CollectionView { id, name, machines })
}
