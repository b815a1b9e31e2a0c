//! An agent at work: the tasks around its jobs, from start to stop.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::agent::control;
use crate::agent::core::Agent;
use crate::agent::error::Result;
use crate::agent::follow::follow;
use crate::agent::report::{report, send};
use crate::net::Meter;
use crate::net::task::Task;
use crate::policy::Prefer;

/// For the last report of an agent that stops.
const LAST_REPORT_WAIT: Duration = Duration::from_secs(5);

/// A started agent; dropped, it stops.
#[derive(Debug)]
pub struct Running {
    agent: Arc<Agent>,
    _tasks: [Task; 3],
}

/// Which packages a started agent cares for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// All that are installed, or were being.
    All,
    /// Those that it is asked for.
    Asked,
}

/// Takes the folder `dir` and starts to follow, report and answer on the control socket. Call within a runtime.
///
/// # Errors
/// Not joined, in use by another process, damaged, or I/O.
pub fn start(dir: &Path, care: Care, prefer: Prefer) -> Result<Running> {
    let agent = Agent::open(dir, prefer)?;
    let listener = control::Listener::bind(dir)?;
    if care == Care::All {
        for job in agent.jobs() {
            agent.start_job(&job, job.is_unfinished());
        }
    }
    let tasks = [
        Task::spawn(follow(Arc::clone(&agent))),
        Task::spawn(report(Arc::clone(&agent))),
        Task::spawn(control::serve(Arc::clone(&agent), listener)),
    ];
    Ok(Running { agent, _tasks: tasks })
}

/// Runs the agent in `dir` until `shutdown` resolves; what is under way then is taken up at the next start. Calls `ready` once it answers on
/// the control socket.
///
/// # Errors
/// As [`start`].
pub async fn run(
    dir: &Path,
    prefer: Prefer,
    ready: impl FnOnce(&Agent),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let running = start(dir, Care::All, prefer)?;
    ready(&running.agent);
    shutdown.await;
    running.stop().await;
    Ok(())
}

impl Running {
    /// The agent.
    #[must_use]
    pub const fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Stops, telling the server the state a last time if it is at hand.
    pub async fn stop(self) {
        let Some(server) = self.agent.servers().into_iter().next() else { return };
        let last = async {
            let client = self.agent.member.client(&server, Arc::new(Meter::default()))?;
            send(&self.agent, &client).await
        };
        match tokio::time::timeout(LAST_REPORT_WAIT, last).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the last report was not taken"),
            Err(_) => warn!("the last report was not taken in time"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.agent.stop_jobs();
    }
}
