//! The control socket: whoever connects is told the status as JSON, and nothing can be asked. In the folder, for its owner only.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::Core;
use super::error::{Error, Result};
use super::folder::Folder;
use super::view::{self, StatusView};
use crate::net::data_plane::DataPlane;
use crate::net::member::Member;
use crate::protocol::hello::Role;

const SOCKET_FILE: &str = "control.sock";
/// The system's addresses of sockets hold about a hundred bytes; a longer path is reached through an open folder.
const PATH_BYTES_MAX: usize = 100;
/// For one answer to be taken, or to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failed accept (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest answer, bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Returns the status of the site server in `dir`: from its process, or from the folder when none runs.
///
/// # Errors
/// The folder is no site server's, is damaged, or its process does not answer.
pub async fn status(dir: &Path) -> Result<StatusView> {
    let member = Member::open(dir, Role::SiteServer)?;
    let failed = |source| Error::Socket { operation: "read the status from", path: dir.join(SOCKET_FILE), source };
    let mut stream = match connect(dir).await {
        Ok(stream) => stream.take(ANSWER_BYTES_MAX),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return view::at_rest(&Folder::new(dir), &member);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut answer = Vec::new();
    let late = |_| failed(ErrorKind::TimedOut.into());
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.map_err(late)?.map_err(failed)?;
    serde_json::from_slice(&answer).map_err(|error| failed(error.into()))
}

async fn connect(dir: &Path) -> io::Result<UnixStream> {
    let address = Address::of(dir)?;
    UnixStream::connect(&address.path).await
}

/// The bound socket; dropped, it is gone.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Makes the socket in `dir`, whose lock the caller holds: one that is there was left by a kill.
    pub fn bind(dir: &Path) -> Result<Self> {
        let path = dir.join(SOCKET_FILE);
        let failed = |source| Error::Socket { operation: "listen on", path: path.clone(), source };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // The folder is closed to others, so nobody can come in before the socket is.
        let listener = Address::of(dir).and_then(|address| UnixListener::bind(&address.path)).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// Answers until the task ends, one at a time.
    pub async fn serve(self, core: Arc<Core>, plane: Arc<DataPlane>) {
        loop {
            match self.listener.accept().await {
                Ok((mut stream, _)) => {
                    let answer = serde_json::to_vec(&core.view(&plane)).unwrap_or_default();
                    // Whoever does not read its answer has gone.
                    let _ = timeout(PATIENCE, stream.write_all(&answer)).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // What is left is removed by the next one.
        let _ = fs::remove_file(&self.path);
    }
}

/// A path short enough for the system, good as long as this lives.
struct Address {
    path: PathBuf,
    _folder: Option<File>,
}

impl Address {
    fn of(dir: &Path) -> io::Result<Self> {
        let path = dir.join(SOCKET_FILE);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self { path, _folder: None });
        }
        let folder = File::open(dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", folder.as_raw_fd()));
        Ok(Self { path, _folder: Some(folder) })
    }
}
