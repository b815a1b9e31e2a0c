//! The catalog's rules, on real files.

mod admin;
mod fleet;
mod handle;
mod kill;
mod packages;
mod reports;
mod rights;

use std::net::IpAddr;

use consign_store::ManifestId;
use uuid::Uuid;

use super::{AdminWrite, Catalog, Enrol, Machine, NewVersion, TufChange};
use crate::domain::{CollectionId, MachineId, Millis, PackageId, PolicyId, SiteId};
use crate::protocol::admin::{
    CollectionAdd, Invite, PackageAdd, PackageView, PolicyAdd, RefreshOutcome, RefreshRequest, SiteAdd, SiteView, SubnetAdd,
};
use crate::protocol::fleet::{CodebaseReport, Endpoint, HubFallback};
use crate::protocol::hello::Role;

/// A catalog in a folder of its own.
struct Fixture {
    catalog: Catalog,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Fixture {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    Fixture { catalog: Catalog::create(&folder.path().join("catalog.db")).unwrap(), _folder: folder }
}

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(0x7000_8000_0000_0000_0000 + n)
}

fn at(seconds: i64) -> Millis {
    Millis(1_800_000_000_000).plus_secs(seconds)
}

fn by(seconds: i64) -> AdminWrite {
    AdminWrite { actor: "ada".into(), now: at(seconds), key: None }
}

fn hub() -> Endpoint {
    Endpoint { id: None, address: "hub:8443".into() }
}

fn package_add(n: u128, name: &str) -> PackageAdd {
    let name = name.parse().unwrap();
    PackageAdd { id: PackageId(uuid(n)), name, source: format!("/srv/{n}"), open: false, platforms: vec![], label: None }
}

fn manifest(n: u8) -> ManifestId {
    ManifestId([n; 32])
}

fn version(number: u32, content: u8) -> NewVersion {
    let label = Some(format!("{number}.0"));
    NewVersion { number, label, manifest: manifest(content), sha256: [content; 32], manifest_len: 700, bytes: 1 << 33, files: 12 }
}

fn outcome(released: Option<u32>, seconds: i64) -> RefreshOutcome {
    RefreshOutcome { started: at(seconds), ended: at(seconds + 1), released, files_read: 12, new_stored_bytes: 4096 }
}

fn collection_add(n: u128, name: &str, machines: &[&str]) -> CollectionAdd {
    let machines = machines.iter().map(ToString::to_string).collect();
    CollectionAdd { id: CollectionId(uuid(n)), name: name.parse().unwrap(), machines }
}

fn policy_add(n: u128, name: &str, package: &str, collection: &str) -> PolicyAdd {
    PolicyAdd { id: PolicyId(uuid(n)), name: name.parse().unwrap(), package: package.into(), collection: collection.into() }
}

fn invite(role: Role, site: Option<&str>, uses: u32) -> Invite {
    Invite { role, site: site.map(Into::into), uses, valid_secs: 3600 }
}

fn enrol(role: Role, n: u8, name: &str, token: u8) -> Enrol {
    Enrol {
        token_sha256: [token; 32],
        id: MachineId(uuid(n.into())),
        role,
        name: name.parse().unwrap(),
        key: [n; 32],
        certificate: format!("certificate {n}"),
        capabilities: vec!["package".into()],
        address: (role == Role::SiteServer).then(|| format!("{name}:9443")),
        addresses: vec![IpAddr::from([10, 1, 0, n])],
        now: at(10),
    }
}

impl Fixture {
    async fn add_package(&self, n: u128, name: &str) -> PackageView {
        self.catalog.add_package(by(0), package_add(n, name)).await.unwrap()
    }

    async fn queue(&self, name: &str, seconds: i64) -> PackageView {
        self.queue_refresh(by(seconds), name, RefreshRequest::default()).await.unwrap()
    }

    /// Releases the next version with metadata made from what is there.
    async fn release(&self, package: u128, number: u32, content: u8) -> u64 {
        let based_on = self.tuf_files().await.unwrap().revision;
        let tuf = TufChange { based_on, files: vec![("timestamp.json".into(), vec![content])] };
        let (id, made) = (PackageId(uuid(package)), version(number, content));
        self.catalog.release(id, made, tuf, outcome(Some(number), 5), at(6)).await.unwrap()
    }

    async fn site(&self, n: u128, name: &str, hub_fallback: HubFallback) -> SiteView {
        self.add_site(by(0), SiteAdd { id: SiteId(uuid(n)), name: name.parse().unwrap(), hub_fallback }).await.unwrap()
    }

    async fn subnet(&self, cidr: &str, site: &str) -> SiteView {
        self.add_subnet(by(0), SubnetAdd { cidr: cidr.parse().unwrap(), site: site.into() }).await.unwrap()
    }

    /// Lets a machine join with an invite of its own.
    async fn join(&self, role: Role, n: u8, name: &str, site: Option<&str>) -> Machine {
        self.add_invite(by(0), invite(role, site, 1), [n; 32]).await.unwrap();
        self.enrol(enrol(role, n, name, n)).await.unwrap().machine
    }

    async fn report(&self, server: u8, codebases: &[(u8, crate::domain::CodebaseState)]) -> super::CodebasesReported {
        let states = codebases.iter().map(|(content, state)| (manifest(*content).to_string(), state.clone())).collect();
        let address = format!("server-{server}:9443");
        let report = CodebaseReport { revision: 1, address, codebases: states };
        self.report_codebases(MachineId(uuid(server.into())), report, at(30)).await.unwrap()
    }
}
