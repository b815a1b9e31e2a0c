//! Files by which the processes of one hub and its admins find each other; JSON, in the hub's folder.

use std::fmt;

use serde::{Deserialize, Serialize};

/// File name of [`AdminCredentials`] in the hub's folder, mode 0600.
pub const ADMIN_FILE: &str = "admin.json";
/// File name of [`HubRun`] in the hub's folder; written when the hub listens, removed when it ends.
pub const RUN_FILE: &str = "run.json";

/// What an admin's command line needs to reach a hub; a secret. Written by `hub init`, may be copied to an admin's machine.
#[derive(Clone, Serialize, Deserialize)]
pub struct AdminCredentials {
    /// `host:port` of the admin listener.
    pub address: String,
    /// The fleet's certificate authority, PEM.
    pub authority: String,
    /// Shown as `Authorization: Bearer …`.
    pub token: String,
}

impl fmt::Debug for AdminCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminCredentials").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Where a running hub listens now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubRun {
    /// Where site servers and agents connect, `host:port`.
    pub address: String,
    /// Where admins connect, `host:port`.
    pub admin_address: String,
    /// The hub's process.
    pub pid: u32,
}
