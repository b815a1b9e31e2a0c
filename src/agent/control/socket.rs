//! Where the control socket is: in the agent's folder, for its owner only.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::agent::error::{Error, Result};

const SOCKET_FILE: &str = "control.sock";
/// The system's addresses of sockets hold about a hundred bytes; a longer path is reached through an open folder.
const PATH_BYTES_MAX: usize = 100;

/// The agent's end; dropped, the socket is gone.
#[derive(Debug)]
pub(in crate::agent) struct Listener {
    pub(super) inner: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Makes the socket in `dir`, whose lock the caller holds: one that is there was left by a kill.
    pub(in crate::agent) fn bind(dir: &Path) -> Result<Self> {
        let path = dir.join(SOCKET_FILE);
        let bound = (|| {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let address = Address::of(dir)?;
            // The folder is closed to others, so nobody can come in between.
            let inner = UnixListener::bind(&address.path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(inner)
        })();
        let inner = bound.map_err(|source| Error::Socket { operation: "listen on", path: path.clone(), source })?;
        Ok(Self { inner, path })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // What is left is removed by the next one.
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to the agent of `dir`; `None` if none runs.
pub(super) async fn connect(dir: &Path) -> Result<Option<UnixStream>> {
    let connected = match Address::of(dir) {
        Ok(address) => UnixStream::connect(&address.path).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(source) => Err(Error::Socket { operation: "connect to", path: dir.join(SOCKET_FILE), source }),
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
