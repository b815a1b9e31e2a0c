//! Reports: the agent's full state, signed by itself, sent after each change and at each reconnect.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use consign_store::error::At as _;
use consign_store::fsx;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::agent::core::Agent;
use crate::agent::error::Result;
use crate::agent::view::PackageView;
use crate::net::clock;
use crate::net::{Client, Meter, blocking};
use crate::policy::back_off_millis;
use crate::protocol::fleet::Endpoint;
use crate::protocol::report::{AgentReport, InstallReport, InstallState, REPORTS_PATH};
use crate::trust::statement;

/// The kind of the signed statement that carries an [`AgentReport`].
const REPORT_KIND: &str = "report";
const HUB_AUDIENCE: &str = "hub";
/// A site server may have to keep a report while the hub is away, seconds.
const VALID_SECS: i64 = 7 * 86_400;
/// Sequence numbers that one durable write reserves.
const RESERVED: u64 = 1024;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Hands out rising sequence numbers, also after a kill.
#[derive(Debug)]
pub(super) struct Numbers {
    path: PathBuf,
    next: u64,
    reserved: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    reserved: u64,
}

impl Numbers {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let mut reserved = 1;
        if path.try_exists().at("look for", &path)? {
            let bytes = std::fs::read(&path).at("read", &path)?;
            let stored: Result<Stored, _> = serde_json::from_slice(&bytes);
            let damaged =
                |e: serde_json::Error| consign_store::Error::damaged(format!("report numbers {}", path.display()), e.to_string());
            reserved = stored.map_err(damaged)?.reserved;
        }
        Ok(Self { path, next: reserved, reserved })
    }

    async fn next(&mut self) -> Result<u64> {
        if self.next == self.reserved {
            let reserved = self.reserved + RESERVED;
            let path = self.path.clone();
            let text = format!("{{\"reserved\":{reserved}}}");
            blocking::run("reserving report numbers", move || fsx::write_durable(&path, text.as_bytes())).await??;
            self.reserved = reserved;
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}

/// Sends reports as they are due, until the task ends.
pub(super) async fn report(agent: Arc<Agent>) {
    let mut link = agent.watch_link();
    let mut client: Option<(Endpoint, Client)> = None;
    let mut failures = 0;
    loop {
        agent.report_wanted().await;
        let server = loop {
            // The guard must not be held over the wait.
            let server = link.borrow_and_update().server.clone();
            match server {
                Some(server) => break server,
                None if link.changed().await.is_err() => return,
                None => {}
            }
        };
        if let Err(error) = send_to(&agent, server, &mut client).await {
            warn!(%error, "the report was not taken");
            failures += 1;
            tokio::time::sleep(Duration::from_millis(back_off_millis(failures, agent.seed()))).await;
            agent.report_due();
        } else {
            failures = 0;
        }
    }
}

async fn send_to(agent: &Agent, server: Endpoint, client: &mut Option<(Endpoint, Client)>) -> Result<()> {
    let fitting = client.take().filter(|(known, _)| *known == server);
    let pair = match fitting {
        Some(pair) => pair,
        None => (server.clone(), agent.member.client(&server, Arc::new(Meter::default()))?),
    };
    let (_, client) = client.insert(pair);
    send(agent, client).await
}

/// Sends one report now.
///
/// # Errors
/// The server failed or refused, or I/O.
pub(super) async fn send(agent: &Agent, client: &Client) -> Result<()> {
    // One at a time: what is sent last is what the agent was last.
    let mut numbers = agent.numbers.lock().await;
    let sequence = numbers.next().await?;
    let installs = agent.jobs().iter().filter_map(|job| install(job.seen().view)).collect();
    let body = AgentReport { machine: agent.member.id(), installs };
    let expires = clock::now().plus_secs(VALID_SECS);
    let signed = statement::sign(REPORT_KIND, HUB_AUDIENCE, sequence, expires, &body, agent.member.key())?;
    let bytes = serde_json::to_vec(&signed).map_err(|e| consign_store::Error::damaged("report", e.to_string()))?;
    client.post_stream(REPORTS_PATH, "application/json", bytes.into()).await?.collect(ANSWER_BYTES_MAX).await?;
    Ok(())
}

/// What the hub learns of a package; nothing before a version is known.
fn install(view: PackageView) -> Option<InstallReport> {
    let settled = view.state == InstallState::Installed;
    let version = if settled { view.installed } else { view.wanted.or(view.installed) }?;
    Some(InstallReport {
        package: view.package,
        version: version.version,
        manifest: version.manifest,
        state: view.state,
        reason: view.reason,
        since: view.since,
        next_attempt: view.next_attempt,
        cost: if settled { view.cost } else { None },
        notes: view.notes,
        totals: Some(view.totals),
    })
}
