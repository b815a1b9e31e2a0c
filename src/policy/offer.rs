//! From where an agent may fetch a version now, or why from nowhere yet.

use std::cmp::Reverse;

use crate::domain::{CodebaseState, MachineId, Name};
use crate::protocol::fleet::{Endpoint, HubFallback};

/// A site server of the agent's site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its id.
    pub id: MachineId,
    /// Its name.
    pub name: Name,
    /// Its `host:port`; `None` until it listens.
    pub address: Option<String>,
    /// How far it is with the version.
    pub state: CodebaseState,
}

/// What is asked, and what is known.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The agent.
    pub machine: MachineId,
    /// The package's name.
    pub package: &'a Name,
    /// The name of the agent's site.
    pub site: &'a Name,
    /// The current version; `None` before the first release.
    pub version: Option<u32>,
    /// Why there is no version yet.
    pub note: Option<&'a str>,
    /// The site's servers.
    pub servers: &'a [Source],
    /// How the hub is reached.
    pub hub: &'a Endpoint,
    /// When the hub may be used.
    pub hub_fallback: HubFallback,
}

/// The answer: codebases, or a reason and what will change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The state of the nearest codebase.
    pub state: CodebaseState,
    /// Where the version can be fetched now, best first.
    pub codebases: Vec<Endpoint>,
    /// Why there is no codebase; empty when there is one.
    pub reason: String,
    /// What will change it; empty when there is a codebase.
    pub changes_when: String,
}

/// Decides from where an agent may fetch a version.
///
/// Ready servers come in an order that differs from agent to agent and stays the same for one, so that a site's agents spread
/// over its servers. The hub comes last, and only as the site's fallback allows.
#[must_use]
pub fn codebases_for(ask: &Ask<'_>) -> Offer {
    let Some(version) = ask.version else { return unreleased(ask) };
    let mut ready: Vec<_> = ask.servers.iter().filter(|server| server.state == CodebaseState::Ready).collect();
    ready.sort_by_key(|server| Reverse(rank(ask.machine, server.id)));
    let endpoint = |server: &Source| server.address.clone().map(|address| Endpoint { id: Some(server.id), address });
    let mut codebases: Vec<Endpoint> = ready.into_iter().filter_map(endpoint).collect();
    let hub = match ask.hub_fallback {
        HubFallback::Always => true,
        HubFallback::WhenNone => ask.servers.is_empty(),
        HubFallback::Never => false,
    };
    if hub {
        codebases.push(ask.hub.clone());
    }
    if codebases.is_empty() {
        return nowhere(ask, version);
    }
    Offer { state: CodebaseState::Ready, codebases, reason: String::new(), changes_when: String::new() }
}

/// A number for the pair of agent and server, as if drawn by lot but always the same.
fn rank(machine: MachineId, server: MachineId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(machine.0.as_bytes()).update(server.0.as_bytes());
    *hasher.finalize().as_bytes()
}

fn unreleased(ask: &Ask<'_>) -> Offer {
    let why = ask.note.unwrap_or("it has never been refreshed");
    Offer {
        state: CodebaseState::Assigned,
        codebases: Vec::new(),
        reason: format!("package {} has no released version yet: {why}", ask.package),
        changes_when: "a refresh of the package releases its first version".to_owned(),
    }
}

/// No server is ready and the hub may not be used: the server that is nearest to ready says what to wait for.
fn nowhere(ask: &Ask<'_>, version: u32) -> Offer {
    let Some(server) = ask.servers.iter().min_by_key(|server| (distance(&server.state), server.id)) else {
        return Offer {
            state: CodebaseState::Assigned,
            codebases: Vec::new(),
            reason: format!("no site server is assigned to site {}, and its agents may not use the hub", ask.site),
            changes_when: format!("a site server joins site {}; add one with `consign site-server join`", ask.site),
        };
    };
    let (name, what) = (&server.name, format!("version {version} of {}", ask.package));
    let (reason, changes_when) = match &server.state {
        CodebaseState::Assigned => {
            (format!("site server {name} has not begun to fetch {what}"), format!("{name} is running and fetches it"))
        }
        CodebaseState::Fetching { done_bytes, total_bytes } => (
            format!("site server {name} has fetched {done_bytes} of {total_bytes} bytes of {what}"),
            format!("{name} has fetched and verified the rest"),
        ),
        CodebaseState::Verifying => (format!("site server {name} is verifying {what}"), format!("{name} has verified it")),
        CodebaseState::Ready => (
            format!("site server {name} has {what} and has not said where it listens"),
            format!("{name} is running and reports its address"),
        ),
        CodebaseState::Failed { reason, next_attempt } => (
            format!("site server {name} could not fetch {what}: {reason}"),
            format!("{name} tries again, at {}", next_attempt.to_rfc3339()),
        ),
        CodebaseState::Unknown => (
            format!("site server {name} has {what} in a state that this program does not know"),
            format!("{name} reports it ready"),
        ),
    };
    // Ready without an address is as good as not begun: `Ready` always comes with a codebase.
    let state = if server.state == CodebaseState::Ready { CodebaseState::Assigned } else { server.state.clone() };
    Offer { state, codebases: Vec::new(), reason, changes_when }
}

/// How far a state is from ready, nearest first; among those that fetch, by what they lack.
fn distance(state: &CodebaseState) -> (u8, u64) {
    match state {
        CodebaseState::Ready => (0, 0),
        CodebaseState::Verifying => (1, 0),
        CodebaseState::Fetching { done_bytes, total_bytes } => (2, total_bytes.saturating_sub(*done_bytes)),
        CodebaseState::Assigned => (3, 0),
        CodebaseState::Failed { next_attempt, .. } => (4, u64::try_from(next_attempt.0).unwrap_or(0)),
        CodebaseState::Unknown => (5, 0),
    }
}

#[cfg(test)]
mod tests;
