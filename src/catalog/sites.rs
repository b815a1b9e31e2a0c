//! Sites and their subnets.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rusqlite::{Connection, Row};

use super::error::{Result, Step, conflict, invalid, not_found};
use super::sql::{Count, Text, Word, row, rows, run};
use super::traffic;
use super::tx::{self, Tx};
use super::{AdminWrite, Catalog};
use crate::domain::{Name, SiteId};
use crate::policy;
use crate::protocol::admin::{SiteAdd, SiteView, SubnetAdd};
use crate::protocol::fleet::{Endpoint, HubFallback, SiteMap};

/// Most subnets in all.
const SUBNETS_MAX: u64 = 100_000;

/// A site's own row.
pub(super) struct SiteRow {
    pub id: SiteId,
    pub name: Name,
    pub hub_fallback: HubFallback,
}

impl Catalog {
    /// Adds a site.
    ///
    /// # Errors
    /// [`super::Error::Conflict`] if another site has the name or id; the database.
    pub async fn add_site(&self, write: AdminWrite, add: SiteAdd) -> Result<SiteView> {
        self.admin(write, "adding a site", add.name.to_string(), move |tx| {
            if let Some(other) = row(tx, &select("WHERE id = ?1 OR name = ?2"), (add.id, &add.name), read)? {
                let same = other.id == add.id && other.name == add.name && other.hub_fallback == add.hub_fallback;
                return if same { view(tx, other) } else { Err(taken(&add, &other)) };
            }
            let sql = "INSERT INTO site (id, name, hub_fallback) VALUES (?1, ?2, ?3)";
            run(tx, sql, (add.id, &add.name, Word(add.hub_fallback)))?;
            tx.bump()?;
            view(tx, by_id(tx, add.id)?)
        })
        .await
    }

    /// Adds a subnet to a site; host bits of the address are dropped.
    ///
    /// # Errors
    /// [`super::Error::NotFound`] if there is no such site, [`super::Error::Conflict`] if another site has the subnet; the
    /// database.
    pub async fn add_subnet(&self, write: AdminWrite, add: SubnetAdd) -> Result<SiteView> {
        self.admin(write, "adding a subnet", format!("{} of {}", add.cidr, add.site), move |tx| {
            let site = find(tx, &add.site)?;
            put_subnet(tx, add.cidr.trunc(), &site)?;
            view(tx, site)
        })
        .await
    }

    /// Returns all sites by name.
    ///
    /// # Errors
    /// The database.
    pub async fn sites(&self) -> Result<Vec<SiteView>> {
        self.read("listing sites", |db| {
            let sites: Vec<_> = rows(db, &select("ORDER BY name"), [], read)?;
            let warnings = overlaps(db)?;
            sites.into_iter().map(|site| view_with(db, site, &warnings)).collect()
        })
        .await
    }

    /// Returns one site by its name or id.
    ///
    /// # Errors
    /// [`super::Error::NotFound`]; the database.
    pub async fn site(&self, name: &str) -> Result<SiteView> {
        let name = name.to_owned();
        self.read("reading a site", move |db| view(db, find(db, &name)?)).await
    }

    /// Returns which servers serve a site, and the revision at which that was so. Servers that have not said where they listen
    /// are left out.
    ///
    /// # Errors
    /// [`super::Error::NotFound`]; the database.
    pub async fn site_map(&self, site: SiteId, hub: Endpoint) -> Result<(u64, SiteMap)> {
        self.read("reading a site map", move |db| Ok((tx::revision(db)?, map(db, site, hub)?))).await
    }
}

fn select(rest: &str) -> String {
    format!("SELECT id, name, hub_fallback FROM site {rest}")
}

fn read(row: &Row<'_>) -> rusqlite::Result<SiteRow> {
    let Word(hub_fallback) = row.get(2)?;
    Ok(SiteRow { id: row.get(0)?, name: row.get(1)?, hub_fallback })
}

/// Finds a site by its id or name.
pub(super) fn find(db: &Connection, text: &str) -> Step<SiteRow> {
    let id = text.parse::<SiteId>().ok();
    row(db, &select("WHERE id = ?1 OR name = ?2 ORDER BY id = ?1 DESC LIMIT 1"), (id, text), read)?
        .ok_or_else(|| not_found("site", text))
}

pub(super) fn by_id(db: &Connection, id: SiteId) -> Step<SiteRow> {
    row(db, &select("WHERE id = ?1"), [id], read)?.ok_or_else(|| not_found("site", &id))
}

pub(super) fn map(db: &Connection, site: SiteId, hub: Endpoint) -> Step<SiteMap> {
    let site = by_id(db, site)?;
    let sql = "SELECT id, address FROM machine WHERE site = ?1 AND role = 'site-server' AND address IS NOT NULL ORDER BY id";
    let servers = rows(db, sql, [site.id], |row| Ok(Endpoint { id: Some(row.get(0)?), address: row.get(1)? }))?;
    Ok(SiteMap { site: site.id, site_name: site.name, servers, hub, hub_fallback: site.hub_fallback })
}

/// Returns all subnets with their sites.
pub(super) fn subnets(db: &Connection) -> Step<Vec<(IpNet, SiteId)>> {
    Ok(rows(db, "SELECT cidr, site FROM subnet", [], |row| {
        let Text(cidr) = row.get(0)?;
        Ok((cidr, row.get(1)?))
    })?)
}

fn taken(add: &SiteAdd, other: &SiteRow) -> super::error::Fail {
    let reason =
        format!("site {} with id {} is there already, so {} cannot be added with id {}", other.name, other.id, add.name, add.id);
    conflict("site", &add.name, reason, "choose another name")
}

fn put_subnet(tx: &Tx<'_>, cidr: IpNet, site: &SiteRow) -> Step<()> {
    let sql = "SELECT site.id, site.name FROM subnet JOIN site ON site.id = subnet.site WHERE cidr = ?1";
    match row(tx, sql, [Text(cidr)], |row| Ok((row.get::<_, SiteId>(0)?, row.get::<_, Name>(1)?)))? {
        Some((id, _)) if id == site.id => return Ok(()),
        Some((_, other)) => {
            return Err(conflict(
                "subnet",
                &cidr,
                format!("belongs to site {other}"),
                "give the site a smaller or larger subnet",
            ));
        }
        None => {}
    }
    let Count(subnets) = tx.prepare_cached("SELECT count(*) FROM subnet")?.query_row([], |row| row.get(0))?;
    if subnets >= SUBNETS_MAX {
        return Err(invalid("subnets", format!("there may be at most {SUBNETS_MAX}; join neighbouring ones")));
    }
    run(tx, "INSERT INTO subnet (cidr, site) VALUES (?1, ?2)", (Text(cidr), site.id))?;
    tx.bump()?;
    Ok(())
}

/// The warnings about subnets, by site.
type Warnings = BTreeMap<SiteId, Vec<String>>;

fn overlaps(db: &Connection) -> Step<Warnings> {
    let names: BTreeMap<SiteId, Name> = rows(db, "SELECT id, name FROM site", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut warnings = Warnings::new();
    for overlap in policy::overlaps(&subnets(db)?) {
        let (Some(inner), Some(outer)) = (names.get(&overlap.inner_site), names.get(&overlap.outer_site)) else { continue };
        let text = format!(
            "subnet {} of site {inner} lies within {} of site {outer}: its machines belong to {inner}",
            overlap.inner, overlap.outer
        );
        warnings.entry(overlap.inner_site).or_default().push(text.clone());
        warnings.entry(overlap.outer_site).or_default().push(text);
    }
    Ok(warnings)
}

fn view(db: &Connection, site: SiteRow) -> Step<SiteView> {
    let warnings = overlaps(db)?;
    view_with(db, site, &warnings)
}

fn view_with(db: &Connection, site: SiteRow, warnings: &Warnings) -> Step<SiteView> {
    let mut subnets: Vec<IpNet> =
        rows(db, "SELECT cidr FROM subnet WHERE site = ?1", [site.id], |row| row.get(0).map(|Text(cidr)| cidr))?;
    subnets.sort();
    let servers = "SELECT name FROM machine WHERE site = ?1 AND role = 'site-server' ORDER BY name, id";
    let agents = "SELECT count(*) FROM machine WHERE site = ?1 AND role = 'agent'";
    let Count(agents) = db.prepare_cached(agents)?.query_row([site.id], |row| row.get(0))?;
    Ok(SiteView {
        subnets,
        servers: rows(db, servers, [site.id], |row| row.get(0))?,
        agents,
        traffic: traffic::of_site(db, site.id)?,
        warnings: warnings.get(&site.id).cloned().unwrap_or_default(),
        id: site.id,
        name: site.name,
        hub_fallback: site.hub_fallback,
    })
}
