//! What an update does before its version is ready: what is installed is looked at, the server connected, the release metadata and the manifest fetched.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::agent::core::Agent;
use crate::agent::install::{LOOK_AGE_MAX, Prepared};
use crate::agent::job::{Effort, Job};
use crate::net::Client;
use crate::protocol::fleet::Endpoint;

/// How long what is under way is given to end when the version is asked for.
const ENDING_MAX: Duration = Duration::from_millis(250);

/// What has been begun for a version that is about to be ready.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) prepared: Prepared,
    /// The connected server.
    client: Option<(Endpoint, Client)>,
    /// So many are kept at once.
    _permit: OwnedSemaphorePermit,
}

impl Ahead {
    /// Begins to look at what is installed, unless nothing is, somebody works on it, or enough others are being looked at.
    fn begin(agent: &Agent, job: &Job) -> Option<Self> {
        let permit = Arc::clone(&agent.ahead).try_acquire_owned().ok()?;
        let record = job.record.try_lock().ok()?;
        Some(Self { prepared: Prepared::ahead(&job.folder, &record)?, client: None, _permit: permit })
    }

    /// The connection to `server`, if it is the one that was asked.
    pub(super) fn client(&self, server: &Endpoint) -> Option<&Client> {
        self.client.as_ref().filter(|(asked, _)| asked == server).map(|(_, client)| client)
    }
}

/// Asks the server that the version will be asked of for release metadata; what goes wrong is told when the version is asked for.
async fn connect(agent: &Agent, effort: &Effort) -> Option<(Endpoint, Client)> {
    let server = agent.servers().into_iter().next()?;
    let client = agent.member.client(&server, Arc::clone(&effort.meter)).ok()?;
    // Durable when the version is asked for: this may be given up at any moment, also in the middle of a write.
    agent.trust.lock().await.update(&client, false).await.ok()?;
    Some((server, client))
}

/// Connects, and fetches the manifest of the version that is about to be ready. May be given up at any moment; what is done by then stays.
async fn reach_out(agent: &Agent, job: &Job, effort: &mut Effort) {
    let connected = connect(agent, effort).await;
    let Some(ahead) = &mut effort.ahead else { return };
    ahead.client = connected;
    let target = agent.trust.lock().await.current(job.package);
    if let (Some((_, client)), Some(target)) = (&ahead.client, target) {
        ahead.prepared.fetch_coming(job, &target, client).await;
    }
}

/// Waits for an event, a request, or the end of `wait`, and says whether it was woken. Meanwhile what can be done is done when a newer version is about to
/// be ready; what is not asked for in time is let go.
pub(super) async fn rest(agent: &Agent, job: &Job, effort: &mut Effort, wait: Option<Duration>) -> bool {
    let end = tokio::time::sleep(wait.unwrap_or_default());
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = job.wake.notified() => return true,
            () = &mut end, if wait.is_some() => return false,
            () = job.coming.notified() => effort.ahead = Ahead::begin(agent, job),
            () = tokio::time::sleep(LOOK_AGE_MAX), if effort.ahead.is_some() => effort.ahead = None,
        }
        if effort.ahead.as_ref().is_some_and(|ahead| ahead.client.is_none()) {
            let mut reaching = Box::pin(timeout(LOOK_AGE_MAX, reach_out(agent, job, effort)));
            tokio::select! {
                () = job.wake.notified() => {
                    // It is what comes first now.
                    let _ = timeout(ENDING_MAX, reaching).await;
                    return true;
                }
                () = &mut end, if wait.is_some() => return false,
                // Late, it is let go with what there is.
                _ = &mut reaching => {}
            }
        }
    }
}
