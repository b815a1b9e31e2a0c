//! The event stream: `GET /v1/events`, one JSON object a line, kept open; at the hub for site servers and hub-served agents, at a site server
//! for its agents. An event says only that something changed; the receiver asks for the state.

use serde::{Deserialize, Serialize};

use crate::domain::{CodebaseState, PackageId};

/// `GET`: an endless stream of [`Event`] lines.
pub const EVENTS_PATH: &str = "/v1/events";
/// A stream that is silent longer than this is dead, seconds.
pub const SILENCE_SECS_MAX: u64 = 30;
/// A [`Event::Ping`] is sent this often, seconds.
pub const PING_SECS: u64 = 10;

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// First line: the revision of what the receiver should know.
    Hello {
        /// See [`super::fleet::SiteState::revision`].
        revision: u64,
    },
    /// The site state (for site servers) or the site map (for agents) changed.
    State {
        /// Its new revision.
        revision: u64,
    },
    /// A package that the receiver may read has a new version or a new codebase state here.
    Package {
        /// Which.
        package: PackageId,
        /// Its current version.
        version: u32,
        /// The nearest codebase's state.
        codebase: CodebaseState,
    },
    /// Nothing happened; the stream is alive.
    Ping,
    /// An event that a newer Consign knows.
    #[serde(other)]
    Unknown,
}
