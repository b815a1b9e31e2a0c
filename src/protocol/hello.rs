//! The first exchange: who answers, and which protocol versions it speaks.

use serde::{Deserialize, Serialize};

use crate::domain::{MachineId, Millis};

/// `GET`: answers a [`Hello`]; needs no certificate.
pub const HELLO_PATH: &str = "/v1/hello";
/// Lowest protocol version this program speaks.
pub const PROTOCOL_LOWEST: u16 = 1;
/// Highest protocol version this program speaks.
pub const PROTOCOL_HIGHEST: u16 = 1;

/// The protocol versions a program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRange {
    /// Lowest.
    pub lowest: u16,
    /// Highest.
    pub highest: u16,
}

impl ProtocolRange {
    /// What this program speaks.
    pub const OURS: Self = Self { lowest: PROTOCOL_LOWEST, highest: PROTOCOL_HIGHEST };

    /// The highest version both sides speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let top = self.highest.min(other.highest);
        (top >= self.lowest.max(other.lowest)).then_some(top)
    }
}

/// A role of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The hub.
    Hub,
    /// A site server.
    SiteServer,
    /// An agent.
    Agent,
}

impl Role {
    /// The role's name in output and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::SiteServer => "site-server",
            Self::Agent => "agent",
        }
    }
}

/// The answer to the first request on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What the answering program speaks.
    pub protocol: ProtocolRange,
    /// Its role.
    pub role: Role,
    /// Its id; the hub has none.
    pub id: Option<MachineId>,
    /// Its program version, for people.
    pub version: String,
    /// Its clock.
    pub now: Millis,
}
