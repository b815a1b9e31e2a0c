//! Between hub, site servers and agents: maps, states, resolutions, content paths.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{CodebaseState, CollectionId, MachineId, Millis, Name, PackageId, SiteId};

/// `GET`: the [`SiteMap`] of the asking machine's site, as [`super::signed::Signed`]. At hub and site server.
pub const SITE_MAP_PATH: &str = "/v1/site-map";
/// `GET` by a site server at the hub: its [`SiteState`], as [`super::signed::Signed`].
pub const SITE_STATE_PATH: &str = "/v1/site-state";
/// `GET /v1/packages/{name or id}`: a [`Resolution`] for the asking machine. At hub and site server.
pub const PACKAGES_PATH: &str = "/v1/packages";
/// `GET /v1/tuf/{file}`: TUF metadata, the exact bytes. At hub and site server.
pub const TUF_PATH: &str = "/v1/tuf";
/// `GET /v1/versions/{manifest}/manifest?base={manifest}`: the manifest, zstd, with the base's bytes as prefix when the header
/// [`BASE_HEADER`] of the answer says so; with `&sections=true` also in sections, where both are long (`docs/formats.md`). A site server has it from
/// when it verifies the version. `POST /v1/versions/{manifest}/recipes` (ranges of entry numbers) and `…/chunks` (ranges of chunk ordinals): records. `POST …/cost` (ranges of chunk ordinals): how long that answer would be, [`WireCost`]; `GET …/cost`: what the
/// whole version costs a receiver that has nothing. `POST …/doubts`, without a body: something of the version arrived wrong; the server then reads it again. At hub
/// and site server.
pub const VERSIONS_PATH: &str = "/v1/versions";
/// What content would cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireCost {
    /// Bytes of records.
    pub wire_bytes: u64,
}

/// Names the base that a manifest answer was encoded against; absent when none.
pub const BASE_HEADER: &str = "consign-base";
/// Media type of a stream of records.
pub const RECORDS_TYPE: &str = "application/vnd.consign.records";
/// Media type of an encoded list of ranges ([`super::ranges`]).
pub const RANGES_TYPE: &str = "application/vnd.consign.ranges";

/// How to reach a server: where, and as whom its certificate must name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The site server; `None` is the hub.
    pub id: Option<MachineId>,
    /// `host:port`.
    pub address: String,
}

/// When agents of a site may fetch from the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HubFallback {
    /// Never.
    Never,
    /// When the site has no site server.
    WhenNone,
    /// Whenever the site's servers cannot serve.
    Always,
}

/// Which servers serve a site; signed by the hub, kind `site-map`, audience `site:<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteMap {
    /// The site.
    pub site: SiteId,
    /// Its name.
    pub site_name: Name,
    /// Its site servers.
    pub servers: Vec<Endpoint>,
    /// The hub.
    pub hub: Endpoint,
    /// When the hub may be used for content.
    pub hub_fallback: HubFallback,
}

/// A version in a [`SiteState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Its number.
    pub version: u32,
    /// The publisher's label.
    #[serde(default)]
    pub label: Option<String>,
    /// Its manifest, `b3:…`.
    pub manifest: String,
    /// Length of the manifest, bytes.
    pub manifest_len: u64,
    /// Raw bytes of its files.
    pub bytes: u64,
    /// Its files.
    pub files: u64,
    /// When it was released.
    pub released: Millis,
}

/// A package in a [`SiteState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageInfo {
    /// Its id.
    pub id: PackageId,
    /// Its name.
    pub name: Name,
    /// Anyone of the fleet may read it.
    pub open: bool,
    /// Released versions to hold, ascending; the last is current. Empty while the first is not released yet.
    pub versions: Vec<VersionInfo>,
    /// Collections whose machines may read it.
    pub readers: Vec<CollectionId>,
    /// Why there is no version yet, or what the hub is doing (`hashing 40 %`), for people.
    #[serde(default)]
    pub note: Option<String>,
}

/// A machine in a [`SiteState`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineInfo {
    /// Its id.
    pub id: MachineId,
    /// SHA-256 of its public key (`SubjectPublicKeyInfo` DER), hexadecimal.
    pub key: String,
    /// Its collections.
    pub collections: Vec<CollectionId>,
}

/// All that a site server needs to know; signed by the hub, kind `site-state`, audience `machine:<id>`.
///
/// It carries the rights of §5 and stays valid until it expires, so that a site goes on while the hub is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteState {
    /// Rises with every change.
    pub revision: u64,
    /// The servers of the site, to be relayed to agents as it is.
    pub site_map: super::signed::Signed,
    /// Packages to serve.
    pub packages: Vec<PackageInfo>,
    /// Agents that may ask here.
    pub machines: Vec<MachineInfo>,
}

/// The answer to "where do I get this package": a version and codebases, or a state with its reason; never an error for a package that the
/// asking machine may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The package.
    pub package: PackageId,
    /// Its name.
    pub name: Name,
    /// The current version; `None` before the first release.
    pub version: Option<VersionInfo>,
    /// The state of the nearest codebase.
    #[serde(rename = "codebase")]
    pub state: CodebaseState,
    /// Where that version can be fetched now, best first; empty unless a codebase is ready.
    pub codebases: Vec<Endpoint>,
    /// Why there is no codebase; empty when there is one.
    pub reason: String,
    /// What will change it.
    pub changes_when: String,
}

/// A site server's codebases, all of them: idempotent, replaces what the hub knew. `POST` by a site server to [`CODEBASES_PATH`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodebaseReport {
    /// The [`SiteState::revision`] it acts on.
    pub revision: u64,
    /// Where it listens now, `host:port`.
    pub address: String,
    /// State by manifest id text.
    pub codebases: BTreeMap<String, CodebaseState>,
}

/// See [`CodebaseReport`].
pub const CODEBASES_PATH: &str = "/v1/codebases";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolution_round_trips_also_with_a_failed_codebase() {
        let resolution = Resolution {
            package: PackageId(uuid::Uuid::from_u128(1)),
            name: "p".parse().unwrap(),
            version: None,
            state: CodebaseState::Failed { reason: "the disk is full".to_owned(), next_attempt: Millis(1) },
            codebases: Vec::new(),
            reason: "no server has it".to_owned(),
            changes_when: "one has".to_owned(),
        };
        let text = serde_json::to_string(&resolution).unwrap();
        assert_eq!(serde_json::from_str::<Resolution>(&text).unwrap(), resolution, "{text}");
    }
}
