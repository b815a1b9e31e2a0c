//! Members of the fleet: agents and site servers.

use rusqlite::{Connection, Row};

use super::error::{Result, Step, conflict, invalid, not_found};
use super::sql::{Json, Word, row, rows, run};
use super::{Catalog, error::Fail};
use crate::domain::{MachineId, Millis, Name, SiteId};
use crate::protocol::admin::MachineView;
use crate::protocol::hello::Role;

/// A member of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its id.
    pub id: MachineId,
    /// Agent or site server.
    pub role: Role,
    /// Its name; several machines of a role may share one.
    pub name: Name,
    /// Its site.
    pub site: SiteId,
    /// SHA-256 of its public key (`SubjectPublicKeyInfo` DER).
    pub key: [u8; 32],
    /// Its certificate, PEM.
    pub certificate: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// A site server's `host:port`, once it listens.
    pub address: Option<String>,
    /// When it joined.
    pub joined: Millis,
    /// When it was last heard of.
    pub seen: Millis,
}

impl Catalog {
    /// Finds the member with a key: whoever proved to hold it is that member.
    ///
    /// # Errors
    /// The database.
    pub async fn machine_by_key(&self, key: [u8; 32]) -> Result<Option<Machine>> {
        self.read("looking up a machine", move |db| Ok(row(db, &select("WHERE key = ?1"), [key], read)?)).await
    }

    /// Returns one machine.
    ///
    /// # Errors
    /// [`super::Error::NotFound`]; the database.
    pub async fn machine(&self, id: MachineId) -> Result<Machine> {
        self.read("looking up a machine", move |db| by_id(db, id)).await
    }

    /// Returns all machines by name; `connected` is for the hub to fill.
    ///
    /// # Errors
    /// The database.
    pub async fn machines(&self) -> Result<Vec<MachineView>> {
        self.read("listing machines", |db| {
            let sql = "SELECT machine.id, machine.name, role, site.name, address, joined, seen
                FROM machine JOIN site ON site.id = machine.site ORDER BY machine.name, machine.id";
            Ok(rows(db, sql, [], |row| {
                let Word(role) = row.get(2)?;
                Ok(MachineView {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    role,
                    site: row.get(3)?,
                    address: row.get(4)?,
                    joined: row.get(5)?,
                    seen: row.get(6)?,
                    connected: false,
                })
            })?)
        })
        .await
    }

    /// Notes when machines were last heard of; an earlier time than the one known is ignored. One commit for all: meant to be
    /// called with what came together in some seconds.
    ///
    /// # Errors
    /// The database.
    pub async fn machines_seen(&self, seen: Vec<(MachineId, Millis)>) -> Result<()> {
        self.write("noting who was heard of", move |tx| seen.into_iter().try_for_each(|(id, time)| touch(tx, id, time))).await
    }
}

pub(super) fn select(rest: &str) -> String {
    format!("SELECT id, role, name, site, key, certificate, capabilities, address, joined, seen FROM machine {rest}")
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Machine> {
    let Word(role) = row.get(1)?;
    let Json(capabilities) = row.get(6)?;
    Ok(Machine {
        id: row.get(0)?,
        role,
        name: row.get(2)?,
        site: row.get(3)?,
        key: row.get(4)?,
        certificate: row.get(5)?,
        capabilities,
        address: row.get(7)?,
        joined: row.get(8)?,
        seen: row.get(9)?,
    })
}

pub(super) fn by_id(db: &Connection, id: MachineId) -> Step<Machine> {
    row(db, &select("WHERE id = ?1"), [id], read)?.ok_or_else(|| not_found("machine", &id))
}

/// Returns the site server `id`.
pub(super) fn server(db: &Connection, id: MachineId) -> Step<Machine> {
    let machine = by_id(db, id)?;
    match machine.role {
        Role::SiteServer => Ok(machine),
        Role::Agent | Role::Hub => {
            Err(invalid("site server", format!("machine {} with id {id} is no site server", machine.name)))
        }
    }
}

/// Finds an agent by its id or name.
pub(super) fn find_agent(db: &Connection, text: &str) -> Step<MachineId> {
    let id = text.parse::<MachineId>().ok();
    let sql = "SELECT id FROM machine WHERE role = 'agent' AND (id = ?1 OR name = ?2) ORDER BY id = ?1 DESC, id";
    let found: Vec<MachineId> = rows(db, sql, (id, text), |row| row.get(0))?;
    match found.as_slice() {
        [] => Err(not_found("machine", text)),
        [one] => Ok(*one),
        [first, ..] if Some(*first) == id => Ok(*first),
        several => Err(ambiguous(text, several)),
    }
}

fn ambiguous(name: &str, ids: &[MachineId]) -> Fail {
    let list: Vec<String> = ids.iter().take(8).map(ToString::to_string).collect();
    let reason = format!("{} agents share the name: {}", ids.len(), list.join(", "));
    conflict("machine", name, reason, "use the id of the one you mean")
}

pub(super) fn touch(db: &Connection, id: MachineId, time: Millis) -> Step<()> {
    run(db, "UPDATE machine SET seen = ?2 WHERE id = ?1 AND seen < ?2", (id, time))?;
    Ok(())
}
