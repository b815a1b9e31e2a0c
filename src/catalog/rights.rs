//! Who may read what, and from where: the state of a site server, the answer to an agent.

use rusqlite::Connection;

use super::error::{Result, Step, not_found};
use super::machines::{self, Machine};
use super::packages::{self, PackageRow};
use super::releases::{self, VERSIONS_HELD_MAX};
use super::sql::rows;
use super::{Catalog, codebases, collections, policies, sites, tx};
use crate::domain::{MachineId, PackageId};
use crate::policy::{self, Ask, Source};
use crate::protocol::admin::RefreshState;
use crate::protocol::fleet::{Endpoint, MachineInfo, PackageInfo, Resolution, SiteMap};
use crate::protocol::hello::Role;

/// What a site server needs to know, not signed yet: all of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFacts {
    /// The fleet's revision.
    pub revision: u64,
    /// The servers of its site.
    pub site_map: SiteMap,
    /// Packages to serve.
    pub packages: Vec<PackageInfo>,
    /// Agents that may ask there.
    pub machines: Vec<MachineInfo>,
}

impl Catalog {
    /// Returns the fleet's revision.
    ///
    /// # Errors
    /// The database.
    pub async fn revision(&self) -> Result<u64> {
        self.read("reading the revision", tx::revision).await
    }

    /// Returns what a site server needs to know; `hub` is how the hub is reached.
    ///
    /// # Errors
    /// [`super::Error::NotFound`], [`super::Error::Invalid`] if it is no site server; the database.
    pub async fn site_state(&self, server: MachineId, hub: Endpoint) -> Result<SiteFacts> {
        self.read("reading a site server's state", move |db| {
            let server = machines::server(db, server)?;
            let packages: Vec<PackageRow> = rows(db, &packages::select("ORDER BY name"), [], packages::read)?;
            Ok(SiteFacts {
                revision: tx::revision(db)?,
                site_map: sites::map(db, server.site, hub)?,
                packages: packages.into_iter().map(|package| info(db, package)).collect::<Step<_>>()?,
                machines: agents(db, &server)?,
            })
        })
        .await
    }

    /// Says whether a machine may read a version's content. Site servers may read all that is released: all of it is assigned to
    /// them.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] if the machine is unknown; the database.
    pub async fn may_read(&self, machine: MachineId, manifest: &str) -> Result<bool> {
        let manifest = manifest.to_owned();
        self.read("checking a right", move |db| {
            let machine = machines::by_id(db, machine)?;
            let sql = packages::select("WHERE id IN (SELECT package FROM version WHERE manifest = ?1)");
            let packages: Vec<PackageRow> = rows(db, &sql, [manifest], packages::read)?;
            for package in &packages {
                if allowed(db, &machine, package)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
    }

    /// Says whether a machine may read a package.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] if machine or package is unknown; the database.
    pub async fn may_read_package(&self, machine: MachineId, package: PackageId) -> Result<bool> {
        self.read("checking a right", move |db| allowed(db, &machines::by_id(db, machine)?, &packages::by_id(db, package)?)).await
    }

    /// Answers an agent that asks for a package by name or id; `hub` is how the hub is reached.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] alike if there is no such package and if the agent may not read it; the database.
    pub async fn resolve(&self, machine: MachineId, name_or_id: &str, hub: Endpoint) -> Result<Resolution> {
        let text = name_or_id.to_owned();
        self.read("resolving a package", move |db| {
            let machine = machines::by_id(db, machine)?;
            let package = packages::find(db, &text)?;
            if !allowed(db, &machine, &package)? {
                return Err(not_found("package", &text));
            }
            resolve(db, &machine, package, &hub)
        })
        .await
    }
}

fn allowed(db: &Connection, machine: &Machine, package: &PackageRow) -> Step<bool> {
    if machine.role == Role::SiteServer {
        return Ok(true);
    }
    let readers = policies::readers(db, package.id)?;
    Ok(policy::may_read(&collections::of_machine(db, machine.id)?, &readers, package.open))
}

fn resolve(db: &Connection, machine: &Machine, package: PackageRow, hub: &Endpoint) -> Step<Resolution> {
    let site = sites::by_id(db, machine.site)?;
    let note = note(db, &package)?;
    let version = releases::current(db, &package)?;
    let servers = sources(db, machine, &package)?;
    let offer = policy::codebases_for(&Ask {
        machine: machine.id,
        package: &package.name,
        site: &site.name,
        version: version.as_ref().map(|version| version.version),
        note: note.as_deref(),
        servers: &servers,
        hub,
        hub_fallback: site.hub_fallback,
    });
    Ok(Resolution {
        package: package.id,
        name: package.name,
        version,
        state: offer.state,
        codebases: offer.codebases,
        reason: offer.reason,
        changes_when: offer.changes_when,
    })
}

/// Returns the site servers of the machine's site with their state of the package's current version.
fn sources(db: &Connection, machine: &Machine, package: &PackageRow) -> Step<Vec<Source>> {
    let sql = machines::select("WHERE site = ?1 AND role = 'site-server' ORDER BY id");
    let servers: Vec<Machine> = rows(db, &sql, [machine.site], machines::read)?;
    let codebases = codebases::of_version(db, package.id, package.current)?;
    let state = |id| codebases.iter().find(|codebase| codebase.server == id).map(|codebase| codebase.state.clone());
    Ok(servers
        .into_iter()
        .map(|server| Source {
            state: state(server.id).unwrap_or(crate::domain::CodebaseState::Assigned),
            id: server.id,
            name: server.name,
            address: server.address,
        })
        .collect())
}

fn info(db: &Connection, package: PackageRow) -> Step<PackageInfo> {
    Ok(PackageInfo {
        versions: releases::newer_than(db, package.id, package.current.saturating_sub(VERSIONS_HELD_MAX))?,
        readers: policies::readers(db, package.id)?,
        note: note(db, &package)?,
        id: package.id,
        name: package.name,
        open: package.open,
    })
}

/// Says why a package has no version yet. The reason of a failure stays at the hub: it may name paths that agents need not know.
fn note(db: &Connection, package: &PackageRow) -> Step<Option<String>> {
    if package.current > 0 {
        return Ok(None);
    }
    Ok(Some(match packages::refresh_state(db, package)? {
        RefreshState::Queued { .. } => "its first refresh waits in the hub's queue".to_owned(),
        RefreshState::Hashing { .. } => "the hub is hashing its first version".to_owned(),
        RefreshState::Failed { .. } => {
            format!("its first refresh failed; an admin sees why with `consign package show {}`", package.name)
        }
        RefreshState::Idle | RefreshState::Unknown => "it has never been refreshed".to_owned(),
    }))
}

fn agents(db: &Connection, server: &Machine) -> Step<Vec<MachineInfo>> {
    let mut collections = collections::of_site(db, server.site)?;
    let sql = "SELECT id, key FROM machine WHERE site = ?1 AND role = 'agent' ORDER BY id";
    let agents: Vec<(MachineId, [u8; 32])> = rows(db, sql, [server.site], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(agents
        .into_iter()
        .map(|(id, key)| MachineInfo { id, key: hex::encode(key), collections: collections.remove(&id).unwrap_or_default() })
        .collect())
}
