//! How the command line reaches a hub: credentials, then JSON over the admin listener.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use super::error::CliError;
use crate::net::{Client, Error, Meter};
use crate::protocol::local::{ADMIN_FILE, AdminCredentials, HubRun, RUN_FILE};
use crate::trust::authority::{AuthorityCertificate, HUB_SERVER_NAME};
use crate::trust::tls;

/// Largest credentials or run file, bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// What stands for itself in a part of a URL path (RFC 3986, unreserved).
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A connection to the admin listener of one hub.
#[derive(Debug)]
pub struct AdminClient {
    runtime: Runtime,
    client: Client,
}

impl AdminClient {
    /// Reads the credentials at `hub` (the hub's folder, or a credentials file) and makes ready to ask.
    ///
    /// # Errors
    /// No usable credentials there.
    pub fn open(hub: &Path) -> Result<Self, CliError> {
        let found = credentials(hub)?;
        let tls = tls::admin_client_config(&AuthorityCertificate::from_pem(&found.authority)?)?;
        let client = Client::new(found.address, HUB_SERVER_NAME, tls, Arc::new(Meter::default()))?.with_bearer(&found.token)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| CliError::failed(format!("cannot start the network: {e}")).code("io"))?;
        Ok(Self { runtime, client })
    }

    /// Asks for `path`.
    ///
    /// # Errors
    /// The hub cannot be reached, refuses, or answers nonsense.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.runtime.block_on(self.client.get_json(path)).map_err(explained)
    }

    /// Sends `body` to `path`. What is created bears the id that the sender made, so a repeated command is told apart from a second wish.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub fn post<B: Serialize + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, CliError> {
        self.runtime.block_on(self.client.post_json(path, body)).map_err(explained)
    }
}

/// Adds what an admin can do about a hub that does not answer.
fn explained(failure: Error) -> CliError {
    let hint = match &failure {
        Error::Connect { .. } | Error::Late { .. } => {
            "start it with `consign hub run`, or name another hub with --hub or CONSIGN_HUB"
        }
        Error::Tls { .. } => "take the credentials file (admin.json) of this very hub",
        _ => return failure.into(),
    };
    CliError::from(failure).hint(hint)
}

/// Joins the parts of a path, escaping what a name may hold.
pub fn path(base: &str, parts: &[&str]) -> String {
    let mut out = base.to_owned();
    for part in parts {
        out.push('/');
        out.extend(utf8_percent_encode(part, PATH_PART));
    }
    out
}

/// Reads the credentials at `hub`; where it is a hub's folder, the running hub says its present address.
fn credentials(hub: &Path) -> Result<AdminCredentials, CliError> {
    let folder = hub.is_dir();
    let file = if folder { hub.join(ADMIN_FILE) } else { hub.to_path_buf() };
    let mut found: AdminCredentials = read_json(&file)?.ok_or_else(|| {
        CliError::failed(format!("there is no hub at {}", hub.display()))
            .code("no_hub")
            .hint("name its folder or an admin credentials file with --hub or CONSIGN_HUB, or make one with `consign hub init`")
    })?;
    if folder {
        let run: HubRun = read_json(&hub.join(RUN_FILE))?.ok_or_else(|| {
            CliError::failed(format!("the hub in {} is not running", hub.display()))
                .code("not_running")
                .hint("start it with `consign hub run`")
        })?;
        found.address = run.admin_address;
    }
    Ok(found)
}

/// Reads a small JSON file; `None` if it is absent.
pub fn read_json<T: DeserializeOwned>(file: &PathBuf) -> Result<Option<T>, CliError> {
    use std::io::Read;
    let opened = match std::fs::File::open(file) {
        Ok(opened) => opened,
        Err(absent) if absent.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(refused) => return Err(CliError::io("open", file, &refused)),
    };
    let mut text = String::new();
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|e| CliError::io("read", file, &e))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|e| CliError::failed(format!("{} is no such file: {e}", file.display())).code("damaged"))
}

#[cfg(test)]
#[path = "admin_tests.rs"]
pub mod tests;
