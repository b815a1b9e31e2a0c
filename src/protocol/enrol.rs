//! Enrolment: a machine shows a token and a public key, and becomes a member of the fleet.

use serde::{Deserialize, Serialize};

use crate::domain::{MachineId, Name, SiteId};
use crate::protocol::hello::{ProtocolRange, Role};
use crate::protocol::signed::Signed;

/// `POST` [`EnrolRequest`], answers [`EnrolResponse`]; at the hub only, without a client certificate.
pub const ENROL_PATH: &str = "/v1/enrol";

/// Asks to become a member.
#[derive(Clone, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The secret of the join string.
    pub token: String,
    /// Made by the machine; a repeated request with the same id and key is answered the same.
    pub id: MachineId,
    /// As what it joins.
    pub role: Role,
    /// What people call it.
    pub name: Name,
    /// Its Ed25519 public key as `SubjectPublicKeyInfo` DER, base64.
    pub public_key: String,
    /// What it can do: named task and content types.
    pub capabilities: Vec<String>,
    /// What it speaks.
    pub protocol: ProtocolRange,
    /// A site server's own address for others, `host:port`; port 0 until it runs.
    #[serde(default)]
    pub address: Option<String>,
}

/// Membership.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrolResponse {
    /// The member.
    pub id: MachineId,
    /// Its site.
    pub site: SiteId,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The fleet's certificate authority, PEM.
    pub authority: String,
    /// TUF root metadata, version 1, the exact text whose SHA-256 is in the join string.
    pub trust_root: String,
    /// The key that signs what the hub says (Ed25519 public key, hexadecimal).
    pub fleet_key: String,
    /// Which servers serve its site now.
    pub site_map: Signed,
}
