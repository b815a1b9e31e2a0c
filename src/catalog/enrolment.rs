//! A machine becomes a member: the token is checked and used up in the transaction that adds the machine.

use std::net::IpAddr;

use rusqlite::Connection;

use super::error::{Error, Fail, Result, Step, TokenProblem, conflict};
use super::machines::{self, Machine};
use super::sql::{Json, Word, row, run};
use super::{Catalog, codebases, sites};
use crate::domain::{MachineId, Millis, Name, SiteId};
use crate::policy;
use crate::protocol::hello::Role;

/// A machine that wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrol {
    /// SHA-256 of the token it shows.
    pub token_sha256: [u8; 32],
    /// Made by the machine.
    pub id: MachineId,
    /// As what it joins.
    pub role: Role,
    /// What people call it.
    pub name: Name,
    /// SHA-256 of its public key (`SubjectPublicKeyInfo` DER).
    pub key: [u8; 32],
    /// The certificate it gets, PEM.
    pub certificate: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// A site server's `host:port`; `None` until it listens.
    pub address: Option<String>,
    /// Where it connects from: decides its site when the invite names none.
    pub addresses: Vec<IpAddr>,
    /// When.
    pub now: Millis,
}

/// The outcome of joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The member as stored: a repetition finds the certificate that was stored first.
    pub machine: Machine,
    /// The machine had joined already, with this id and key.
    pub repeated: bool,
}

impl Catalog {
    /// Adds a machine and uses its token once.
    ///
    /// A repetition with the same id and key is answered as before and uses nothing: it shows the token it joined with, whatever
    /// became of that, or one that would let it join now.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Conflict`] if the id or key belongs to another machine; the database.
    pub async fn enrol(&self, enrol: Enrol) -> Result<Enrolled> {
        self.write("enrolling a machine", move |tx| {
            let (known, joined_with) = known(tx, &enrol)?.unzip();
            let same = known.filter(|machine| (machine.id, machine.key, machine.role) == (enrol.id, enrol.key, enrol.role));
            if let Some(machine) = same {
                if joined_with != Some(enrol.token_sha256) {
                    check_token(tx, &enrol)?;
                }
                return Ok(Enrolled { machine, repeated: true });
            }
            // Whoever has no right to join learns nothing about who has joined.
            let site = check_token(tx, &enrol)?;
            if joined_with.is_some() {
                let reason = "its id or its key belongs to another machine, or it joined in another role";
                return Err(conflict("machine", &enrol.id, reason, "let it join with a new id and key"));
            }
            insert(tx, &enrol, site)?;
            tx.bump()?;
            Ok(Enrolled { machine: machines::by_id(tx, enrol.id)?, repeated: false })
        })
        .await
    }
}

/// Returns the machine that has the id or the key, and the token it joined with.
fn known(db: &Connection, enrol: &Enrol) -> Step<Option<(Machine, [u8; 32])>> {
    let Some(machine) = row(db, &machines::select("WHERE id = ?1 OR key = ?2"), (enrol.id, enrol.key), machines::read)? else {
        return Ok(None);
    };
    let joined_with = row(db, "SELECT invite FROM machine WHERE id = ?1", [machine.id], |row| row.get(0))?;
    Ok(joined_with.map(|token| (machine, token)))
}

/// Uses the token once and adds the machine.
fn insert(db: &Connection, enrol: &Enrol, invited_to: Option<SiteId>) -> Step<()> {
    run(db, "UPDATE invite SET uses_left = uses_left - 1 WHERE token = ?1", [enrol.token_sha256])?;
    let site = match invited_to {
        Some(site) => site,
        None => policy::site_of(&enrol.addresses, &sites::subnets(db)?),
    };
    let sql = "INSERT INTO machine
        (id, role, name, site, key, certificate, capabilities, address, joined, seen, reported, invite)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?9, ?10)";
    let (capabilities, token) = (Json(&enrol.capabilities), enrol.token_sha256);
    let (certificate, address) = (&enrol.certificate, &enrol.address);
    let values = rusqlite::params![
        enrol.id,
        Word(enrol.role),
        enrol.name,
        site,
        enrol.key,
        certificate,
        capabilities,
        address,
        enrol.now,
        token
    ];
    run(db, sql, values)?;
    if enrol.role == Role::SiteServer {
        codebases::assign_all(db, enrol.id)?;
    }
    Ok(())
}

/// Checks the token and returns the site that its invite names.
fn check_token(db: &Connection, enrol: &Enrol) -> Step<Option<SiteId>> {
    let problem = |problem| Fail::from(Error::Token(problem));
    let sql = "SELECT role, site, uses_left, expires FROM invite WHERE token = ?1";
    let invite = row(db, sql, [enrol.token_sha256], |row| {
        let Word(role) = row.get::<_, Word<Role>>(0)?;
        Ok((role, row.get::<_, Option<SiteId>>(1)?, row.get::<_, u32>(2)?, row.get::<_, Millis>(3)?))
    })?;
    let (role, site, uses_left, expires) = invite.ok_or_else(|| problem(TokenProblem::Unknown))?;
    if expires <= enrol.now {
        return Err(problem(TokenProblem::Expired));
    }
    if role != enrol.role {
        return Err(problem(TokenProblem::WrongRole));
    }
    if uses_left == 0 {
        return Err(problem(TokenProblem::UsedUp));
    }
    Ok(site)
}
