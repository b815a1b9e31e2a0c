//! Following one server of the site: its events, its site map, and the way to the next one when it fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::agent::core::Agent;
use crate::agent::error::{Error, Result};
use crate::agent::servers;
use crate::net::clock;
use crate::net::event_stream::EventStream;
use crate::net::{Client, Meter};
use crate::policy::back_off_millis;
use crate::protocol::events::{EVENTS_PATH, Event};
use crate::protocol::fleet::{Endpoint, SITE_MAP_PATH};
use crate::protocol::hello::{HELLO_PATH, Hello, ProtocolRange};
use crate::protocol::signed::Signed;

/// How often everything is compared although no event came, seconds: repairs what a lost event left behind.
const POLL_SECS: u64 = 300;
/// A connection that lasted this long, seconds, was a good one: the next begins at once.
const GOOD_SECS_MIN: u64 = 10;

/// Why a connection was given up without having failed.
struct Left;

/// Follows until the task ends.
pub(super) async fn follow(agent: Arc<Agent>) {
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let Err(reason) = round(&agent).await else {
            failures = 0;
            continue;
        };
        if begun.elapsed() >= Duration::from_secs(GOOD_SECS_MIN) {
            failures = 0;
        }
        failures += 1;
        let wait = Duration::from_millis(back_off_millis(failures, agent.seed()));
        warn!(%reason, "not connected");
        agent.set_link(|link| {
            link.server = None;
            let view = &mut link.connection;
            if view.connected {
                view.since = clock::now();
            }
            view.connected = false;
            view.reason = Some(reason.to_string());
            view.next_attempt = Some(clock::now().plus(wait));
        });
        tokio::time::sleep(wait).await;
    }
}

/// Turns to the servers in order; ends well when it is time to begin with the first again, and badly when none is left.
async fn round(agent: &Arc<Agent>) -> Result<()> {
    let order = servers::order(&agent.link().map.body, agent.member.id());
    let mut failures = Vec::new();
    for (place, server) in order.iter().enumerate() {
        match connection(agent, server, place == 0).await {
            Ok(Left) => return Ok(()),
            Err(error) => failures.push(error.to_string()),
        }
        agent.set_link(|link| link.server = None);
    }
    match ask_hub_for_map(agent, &order).await {
        Ok(()) if servers::order(&agent.link().map.body, agent.member.id()) != order => return Ok(()),
        Ok(()) => {}
        Err(error) => failures.push(error.to_string()),
    }
    Err(Error::Sources(failures))
}

/// Follows one server until it fails, the map names others, or another one should be tried again.
async fn connection(agent: &Arc<Agent>, server: &Endpoint, first: bool) -> Result<Left> {
    agent.set_link(|link| {
        link.connection.server = Some(server.address.clone());
        link.connection.server_id = server.id;
        link.connection.choice = servers::why(&link.map.body, server);
    });
    let client = agent.member.client(server, Arc::new(Meter::default()))?;
    greet(&client).await?;
    let mut events = EventStream::open(&client, EVENTS_PATH).await?;
    let mut poll = tokio::time::interval(Duration::from_secs(POLL_SECS));
    poll.tick().await;
    let order = servers::order(&agent.link().map.body, agent.member.id());
    loop {
        let look = tokio::select! {
            event = events.next() => take(agent, server, &event?),
            _ = poll.tick() => {
                if !first {
                    return Ok(Left);
                }
                true
            }
        };
        if look {
            look_at_all(agent, &client).await;
            if servers::order(&agent.link().map.body, agent.member.id()) != order {
                return Ok(Left);
            }
        }
    }
}

/// Takes one event; says whether everything is to be looked at.
fn take(agent: &Arc<Agent>, server: &Endpoint, event: &Event) -> bool {
    match event {
        Event::Hello { .. } => {
            info!(server = %server.address, "connected");
            agent.set_link(|link| {
                link.server = Some(server.clone());
                let view = &mut link.connection;
                (view.connected, view.since) = (true, clock::now());
                (view.reason, view.next_attempt) = (None, None);
            });
            true
        }
        Event::State { .. } => true,
        Event::Package { package, version, codebase } => {
            if let Some(job) = agent.job(*package) {
                // The line as it came, with its end.
                let line_bytes = serde_json::to_vec(event).map_or(0, |line| line.len() as u64 + 1);
                job.announced(*version, codebase, line_bytes);
            }
            false
        }
        Event::Ping | Event::Unknown => false,
    }
}

/// Compares the map, and lets every job compare its version.
async fn look_at_all(agent: &Arc<Agent>, client: &Client) {
    for job in agent.jobs() {
        job.wake();
    }
    agent.report_due();
    if let Err(error) = take_map(agent, client).await {
        warn!(%error, "the site map was not taken");
        agent.set_link(|link| link.connection.reason = Some(error.to_string()));
    }
}

async fn take_map(agent: &Arc<Agent>, client: &Client) -> Result<()> {
    let signed: Signed = client.get_json(SITE_MAP_PATH).await?;
    agent.accept_site_map(signed).await
}

/// Exchanges protocol versions.
async fn greet(client: &Client) -> Result<()> {
    let hello: Hello = client.get_json(HELLO_PATH).await?;
    if ProtocolRange::OURS.common(hello.protocol).is_some() {
        return Ok(());
    }
    let (ours, theirs) = (ProtocolRange::OURS, hello.protocol);
    let why = format!(
        "speaks protocols {} to {}, this agent {} to {}; upgrade the older of the two",
        theirs.lowest, theirs.highest, ours.lowest, ours.highest
    );
    Err(Error::Useless { server: client.server().to_owned(), why })
}

/// Asks the hub which servers there are now, when none of those known answers: else a site whose servers were all replaced would lose its
/// agents. One small question; content comes from the hub only as the map says.
async fn ask_hub_for_map(agent: &Arc<Agent>, tried: &[Endpoint]) -> Result<()> {
    let mut failure = Ok(());
    for hub in agent.member.hub_endpoints().into_iter().filter(|hub| !tried.contains(hub)) {
        let client = agent.member.client(&hub, Arc::new(Meter::default()))?;
        failure = take_map(agent, &client).await;
        if failure.is_ok() {
            break;
        }
    }
    failure
}
