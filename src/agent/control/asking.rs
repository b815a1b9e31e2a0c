//! A command's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Ask, LINE_BYTES_MAX, Reply, socket};
use crate::agent::error::{Error, Result};

/// A question that has been put.
#[derive(Debug)]
pub struct Asking {
    stream: BufReader<UnixStream>,
    dir: PathBuf,
}

/// Puts a question to the agent that runs in `dir`; `None` if none runs.
///
/// # Errors
/// The socket cannot be used.
pub async fn connect(dir: &Path, ask: &Ask) -> Result<Option<Asking>> {
    let Some(stream) = socket::connect(dir).await? else { return Ok(None) };
    let mut asking = Asking { stream: BufReader::new(stream), dir: dir.to_path_buf() };
    let mut line = serde_json::to_vec(ask).map_err(|error| Error::Garbled(error.to_string()))?;
    line.push(b'\n');
    asking.stream.write_all(&line).await.map_err(|source| asking.failed(source))?;
    Ok(Some(asking))
}

impl Asking {
    /// Waits for the next reply; `None` when the agent has ended.
    ///
    /// # Errors
    /// The reply cannot be read.
    pub async fn next(&mut self) -> Result<Option<Reply>> {
        let mut line = Vec::new();
        let limited = (&mut self.stream).take(LINE_BYTES_MAX as u64);
        let mut limited = limited;
        match limited.read_until(b'\n', &mut line).await {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) if line.len() >= LINE_BYTES_MAX => return Err(Error::Garbled("a line is too long".to_owned())),
            // A torn line is the agent's end too.
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(source) => return Err(self.failed(source)),
        }
        serde_json::from_slice(&line).map(Some).map_err(|error| Error::Garbled(error.to_string()))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Socket { operation: "speak with the agent in", path: self.dir.clone(), source }
    }
}
