//! Following the hub: one event stream, and the site state whenever it may have changed.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::codebases::assigned;
use super::error::{Error, Result};
use super::known::{Known, Stored};
use super::{Change, Core, folder};
use crate::net::Client;
use crate::net::blocking;
use crate::net::clock;
use crate::net::event_stream::EventStream;
use crate::policy;
use crate::protocol::events::{EVENTS_PATH, Event};
use crate::protocol::fleet::SITE_STATE_PATH;
use crate::protocol::hello::{HELLO_PATH, Hello, ProtocolRange};
use crate::protocol::signed::Signed;

/// The state is asked for at least this often, whatever the events say.
const POLL: Duration = Duration::from_mins(1);

/// The longest wait before the hub is tried again: shorter than for content, because one greeting costs it little and a release waits for it.
const RECONNECT_MILLIS_MAX: u64 = 30_000;

/// Follows the hub until the task ends; each wait is in the status.
pub(super) async fn follow(core: Arc<Core>) {
    let seed = Core::seed(&core.member);
    let mut failures: u32 = 0;
    loop {
        let error = match session(&core, &mut failures).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        failures = failures.saturating_add(1);
        let wait = policy::back_off_millis(failures, seed).min(RECONNECT_MILLIS_MAX);
        let now = clock::now();
        let next_attempt = now.plus(Duration::from_millis(wait));
        tracing::warn!(%error, wait_millis = wait, "no contact with the hub");
        core.link.away(now, error.to_string(), Some(next_attempt));
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

/// One contact, from the greeting to the failure that ends it; `failures` before it choose the address, and a contact sets them to zero.
async fn session(core: &Arc<Core>, failures: &mut u32) -> Result<std::convert::Infallible> {
    let endpoints = core.hub_endpoints();
    let endpoint = &endpoints[*failures as usize % endpoints.len()];
    let client = core.hub_client(endpoint)?;
    let hello: Hello = client.get_json(HELLO_PATH).await?;
    if ProtocolRange::OURS.common(hello.protocol).is_none() {
        return Err(Error::Protocol { hub: hello.version });
    }
    // The stream first: what changes after the state is read is told.
    let mut events = EventStream::open(&client, EVENTS_PATH).await?;
    core.link.set_client(client.clone());
    refresh(core, &client, true).await?;
    *failures = 0;
    core.link.connected(clock::now());
    core.codebases.retry_now();
    tracing::info!(hub = endpoint.address, "connected to the hub");
    loop {
        match timeout(POLL, events.next()).await {
            Ok(event) => {
                if let Event::Hello { revision } | Event::State { revision } = event?
                    && core.known().is_none_or(|known| known.state.revision < revision)
                {
                    refresh(core, &client, false).await?;
                }
            }
            Err(_) => refresh(core, &client, true).await?,
        }
    }
}

/// Fetches, verifies, keeps and follows the site state; and the release metadata if `metadata` says so or the state needs it.
async fn refresh(core: &Arc<Core>, client: &Client, metadata: bool) -> Result<()> {
    let signed: Signed = client.get_json(SITE_STATE_PATH).await?;
    let stored = Stored { received: clock::now(), signed };
    let before = core.known();
    let floor = before.as_ref().map_or(0, |known| known.sequence);
    let known = Known::verify(&stored, &core.member, core.metadata.now(), floor)?;
    let unnamed = |known: &Known| {
        let mut packages = known.state.packages.iter();
        packages.any(|package| package.versions.iter().any(|version| !core.metadata.names(package.id, version.version)))
    };
    let needs_metadata = metadata || unnamed(&known);
    let path = core.folder.state();
    let keeping = blocking::start("keeping the site state", move || folder::write_json(&path, &stored));
    if needs_metadata {
        update_metadata(core, client).await?;
    }
    keeping.join().await??;
    adopt(core, known);
    Ok(())
}

/// Brings the release metadata up to date. What the hub offers and cannot be believed is no reason to part with the hub: versions
/// without a signed target wait, and the reason is in the status.
async fn update_metadata(core: &Core, client: &Client) -> Result<()> {
    let problem = match core.metadata.update(client).await {
        Ok(()) => None,
        Err(Error::Trust(error)) => {
            tracing::error!(%error, "the hub's release metadata is refused");
            Some(error.to_string())
        }
        Err(error) => return Err(error),
    };
    *core.metadata_problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    Ok(())
}

/// Acts on a new state: assigns its versions, tells agents what is new.
pub(super) fn adopt(core: &Core, known: Known) {
    let known = Arc::new(known);
    // First of all: garbage collection takes what is assigned for all that is needed as soon as anything is known.
    let some_gone = core.codebases.assign(assigned(&known.state));
    let before = core.known.send_replace(Some(Arc::clone(&known)));
    if some_gone {
        core.upkeep.collect_soon();
    }
    match before {
        Some(before) if !known.differs_for_all(&before) => {
            for package in known.new_versions(&before) {
                core.feed.publish(Change::Package(package));
            }
        }
        _ => core.feed.publish(Change::Everything),
    }
}
