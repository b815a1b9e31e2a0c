//! What an agent is told about a package.

use super::known::{Known, allowed};
use super::rights::Admitted;
use super::{Change, Core};
use crate::domain::CodebaseState;
use crate::policy::{Ask, Source, codebases_for};
use crate::protocol::events::Event;
use crate::protocol::fleet::{PackageInfo, Resolution, VersionInfo};
use crate::protocol::problem::Problem;

impl Core {
    /// Answers where a package can be had, or why nowhere yet.
    ///
    /// # Errors
    /// The same problem if there is no such package and if the machine may not read it.
    pub fn resolve(&self, asking: &Admitted, name_or_id: &str) -> Result<Resolution, Problem> {
        let known = &asking.known;
        let package = known.package(name_or_id).filter(|package| allowed(&asking.machine, package)).ok_or_else(|| {
            Problem::absent(format!("there is no package {name_or_id}, or this machine may not read it"))
                .hint("list packages with `consign package list`; a policy gives a collection the right to read one")
        })?;
        let version = package.versions.last();
        let servers = [Source {
            id: self.member.id(),
            name: self.member.config().name.clone(),
            address: Some(self.address.clone()),
            state: version.map_or(CodebaseState::Assigned, |version| self.state_of(version)),
        }];
        let offer = codebases_for(&Ask {
            machine: asking.machine.id,
            package: &package.name,
            site: &known.map.site_name,
            version: version.map(|version| version.version),
            note: package.note.as_deref(),
            servers: &servers,
            hub: &known.map.hub,
            hub_fallback: known.map.hub_fallback,
        });
        Ok(Resolution {
            package: package.id,
            name: package.name.clone(),
            version: version.cloned(),
            state: offer.state,
            codebases: offer.codebases,
            reason: offer.reason,
            changes_when: offer.changes_when,
        })
    }

    /// What the agent with this key is told of a change; nothing about what it may not read.
    pub fn event(&self, change: Change, key: &[u8; 32]) -> Option<Event> {
        let known = self.known()?;
        match change {
            Change::Everything => Some(Event::State { revision: known.state.revision }),
            Change::Package(id) => self.package_event(&known, known.package_by_id(id)?, key),
        }
    }

    fn package_event(&self, known: &Known, package: &PackageInfo, key: &[u8; 32]) -> Option<Event> {
        let version = package.versions.last()?;
        let codebase = self.state_of(version);
        allowed(known.machine(key)?, package).then_some(Event::Package {
            package: package.id,
            version: version.version,
            codebase,
        })
    }

    fn state_of(&self, version: &VersionInfo) -> CodebaseState {
        let manifest = version.manifest.parse().ok();
        manifest.and_then(|manifest| self.codebases.state(&manifest)).unwrap_or(CodebaseState::Assigned)
    }
}
