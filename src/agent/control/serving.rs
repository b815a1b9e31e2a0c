//! The agent's end of the control socket.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::{ASK_BYTES_MAX, Ask, Listener, Reply};
use crate::agent::core::Agent;
use crate::protocol::problem::Problem;

/// Most commands that are answered at once.
const COMMANDS_MAX: usize = 64;
/// For a question to arrive, and for each line of the answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Replies that wait for a slow reader.
const REPLIES_MAX: usize = 8;
/// After a failed accept (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers commands until the task ends.
pub(in crate::agent) async fn serve(agent: Arc<Agent>, listener: Listener) {
    let places = Arc::new(Semaphore::new(COMMANDS_MAX));
    let mut commands = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.inner.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = commands.join_next() => continue,
        };
        let agent = Arc::clone(&agent);
        commands.spawn(async move {
            answer(&agent, stream).await;
            drop(place);
        });
    }
}

async fn answer(agent: &Arc<Agent>, stream: UnixStream) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let (sender, mut replies) = mpsc::channel(REPLIES_MAX);
    let working = async {
        let last = match question(&mut read).await {
            Ok(Ask::Status) => Some(Reply::Status(Box::new(agent.view()))),
            Ok(Ask::Install(request)) => {
                let refused = tokio::select! {
                    done = agent.install(&request, &sender) => done.err(),
                    () = gone(&mut read) => None,
                };
                refused.map(|error| Reply::Refused(error.to_problem()))
            }
            Err(problem) => Some(Reply::Refused(problem)),
        };
        if let Some(reply) = last {
            // The reader may be gone.
            let _ = sender.send(reply).await;
        }
        drop(sender);
    };
    let writing = async move {
        while let Some(reply) = replies.recv().await {
            let Ok(mut line) = serde_json::to_vec(&reply) else { return };
            line.push(b'\n');
            if !matches!(timeout(PATIENCE, write.write_all(&line)).await, Ok(Ok(()))) {
                return;
            }
        }
    };
    // A writer that gives up takes the channel's end with it, and that ends the work.
    tokio::join!(working, writing);
}

async fn question(read: &mut BufReader<OwnedReadHalf>) -> Result<Ask, Problem> {
    let refuse = |why: &str| Problem::new(400, "malformed_question", why);
    let mut line = Vec::new();
    let mut limited = read.take(ASK_BYTES_MAX as u64);
    match timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await {
        Ok(Ok(_)) if line.ends_with(b"\n") => {}
        Ok(Ok(_)) if line.len() >= ASK_BYTES_MAX => return Err(refuse("the question is too long")),
        Ok(_) => return Err(refuse("the question is cut off")),
        Err(_) => return Err(refuse("the question did not come in time")),
    }
    serde_json::from_slice(&line).map_err(|error| refuse(&error.to_string()))
}

/// Waits until the command has gone away.
async fn gone(read: &mut BufReader<OwnedReadHalf>) {
    let mut buffer = [0; 64];
    while matches!(read.read(&mut buffer).await, Ok(1..)) {}
}
