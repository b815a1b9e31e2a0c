//! What `status` shows.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Core;
use super::codebases::assigned;
use super::error::Result;
use super::folder::{self, Folder};
use super::known::{Known, Stored};
use super::link::Contact;
use crate::domain::{CodebaseState, MachineId, Millis, Name, PackageId};
use crate::net::data_plane::DataPlane;
use crate::net::member::Member;
use crate::protocol::admin::Wait;
use crate::protocol::upkeep::UpkeepView;

/// A site server at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its process runs; otherwise this is what lies in its folder.
    pub running: bool,
    /// Program version.
    pub version: String,
    /// Its id.
    pub id: MachineId,
    /// Its name.
    pub name: Name,
    /// Its site, once the hub has said so.
    pub site: Option<Name>,
    /// How agents reach it, while it runs.
    pub address: Option<String>,
    /// Since when it runs.
    pub started: Option<Millis>,
    /// How it stands with the hub.
    pub hub: HubView,
    /// Revision of the state it acts on.
    pub revision: Option<u64>,
    /// When the hub said that.
    pub state_received: Option<Millis>,
    /// Until when it serves agents without the hub.
    pub state_expires: Option<Millis>,
    /// Why the release metadata could not be brought up to date.
    pub metadata_problem: Option<String>,
    /// Agents that may ask it.
    pub agents: u64,
    /// What it shall hold.
    pub codebases: Vec<CodebaseRow>,
    /// Everything that waits.
    pub waits: Vec<Wait>,
    /// Bytes that content and what belongs to it take, while it runs.
    #[serde(default)]
    pub used_bytes: Option<u64>,
    /// Most bytes that they may take.
    #[serde(default)]
    pub quota_bytes: Option<u64>,
    /// Superseded versions for which there is no room.
    #[serde(default)]
    pub given_up: u64,
    /// How the store is looked after, while it runs.
    #[serde(default)]
    pub upkeep: Option<UpkeepView>,
    /// Content bytes sent to agents since it runs.
    pub served_bytes: u64,
    /// Bytes of answers received from the hub since it runs.
    pub fetched_bytes: u64,
    /// Anonymous resident memory, bytes, where the system tells.
    pub memory_bytes: Option<u64>,
}

/// How it stands with the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "contact", rename_all = "snake_case")]
pub enum HubView {
    /// In contact.
    Connected {
        /// The hub's address in use.
        address: String,
        /// Since when.
        since: Millis,
    },
    /// Not in contact.
    Away {
        /// The hub's address tried last.
        address: String,
        /// Since when.
        since: Millis,
        /// Why.
        reason: String,
        /// When it is tried again; now when absent.
        next_attempt: Option<Millis>,
    },
    /// The site server does not run.
    NotRunning {
        /// The hub's address.
        address: String,
    },
}

/// A version that it shall hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodebaseRow {
    /// The package.
    pub package: PackageId,
    /// Its name.
    pub name: Name,
    /// The version.
    pub version: u32,
    /// It is the current one.
    pub current: bool,
    /// Its manifest, `b3:…`.
    pub manifest: String,
    /// Raw bytes of its files.
    pub bytes: u64,
    /// How far it is; absent while the site server does not run.
    #[serde(flatten)]
    pub state: Option<CodebaseState>,
}

impl Core {
    /// What `status` shows.
    pub fn view(&self, plane: &DataPlane) -> StatusView {
        let codebases = self.codebases.list();
        let address = self.link.client().server().to_owned();
        let mut waits = Vec::new();
        let hub = match self.link.contact() {
            Contact::Connected { since, .. } => HubView::Connected { address, since },
            Contact::Away { since, reason, next_attempt } => {
                let what = "contact with the hub".to_owned();
                waits.push(Wait { what, reason: reason.clone(), since: Some(since), until: next_attempt, depth: 1 });
                HubView::Away { address, since, reason, next_attempt }
            }
        };
        if self.relay.depth() > 0 {
            let (what, reason) = ("agents' reports".to_owned(), "the hub has not taken them yet".to_owned());
            waits.push(Wait { what, reason, since: None, until: None, depth: self.relay.depth() });
        }
        for (version, state) in &codebases {
            if let CodebaseState::Failed { reason, next_attempt } = state {
                let what = format!("version {} of {}", version.info.version, version.name);
                waits.push(Wait { what, reason: reason.clone(), since: None, until: Some(*next_attempt), depth: 1 });
            }
        }
        let rows = codebases.into_iter().map(|(version, state)| row(version, Some(state))).collect();
        StatusView {
            running: true,
            address: Some(self.address.clone()),
            started: Some(self.started),
            hub,
            metadata_problem: self.metadata_problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            codebases: rows,
            waits,
            used_bytes: self.room(plane).ok().map(|room| room.used_bytes),
            quota_bytes: self.quota_bytes,
            given_up: self.codebases.given_up_count(),
            upkeep: Some(self.upkeep.view()),
            served_bytes: self.served_bytes.load(Ordering::Relaxed),
            fetched_bytes: self.meter.read().wire_bytes,
            memory_bytes: anonymous_bytes(),
            ..of_folder(&self.member, self.known().as_deref())
        }
    }
}

/// What the folder of a site server that does not run says.
pub(super) fn at_rest(folder: &Folder, member: &Member) -> Result<StatusView> {
    let stored = folder::read_json::<Stored>(&folder.state())?;
    // An expired state is shown all the same: it is not acted on.
    let known = stored.map(|stored| Known::verify(&stored, member, Millis(i64::MIN), 0)).transpose()?;
    let versions = known.as_ref().map(|known| assigned(&known.state)).unwrap_or_default();
    let codebases = versions.into_values().map(|version| row(version, None)).collect();
    Ok(StatusView { codebases, ..of_folder(member, known.as_ref()) })
}

fn of_folder(member: &Member, known: Option<&Known>) -> StatusView {
    let config = member.config();
    let address = known.map(|known| known.map.hub.address.clone()).or_else(|| config.hub.first().cloned()).unwrap_or_default();
    StatusView {
        running: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        id: config.id,
        name: config.name.clone(),
        site: known.map(|known| known.map.site_name.clone()),
        address: None,
        started: None,
        hub: HubView::NotRunning { address },
        revision: known.map(|known| known.state.revision),
        state_received: known.map(|known| known.received),
        state_expires: known.map(|known| known.expires),
        metadata_problem: None,
        agents: known.map_or(0, |known| known.state.machines.len() as u64),
        codebases: Vec::new(),
        waits: Vec::new(),
        used_bytes: None,
        quota_bytes: None,
        given_up: 0,
        upkeep: None,
        served_bytes: 0,
        fetched_bytes: 0,
        memory_bytes: None,
    }
}

fn row(version: super::codebases::Assigned, state: Option<CodebaseState>) -> CodebaseRow {
    CodebaseRow {
        package: version.package,
        name: version.name,
        version: version.info.version,
        current: version.current,
        manifest: version.info.manifest,
        bytes: version.info.bytes,
        state,
    }
}

/// Anonymous resident memory in bytes, where the system tells.
fn anonymous_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
