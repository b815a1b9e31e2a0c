//! Reports to the hub: all codebases, after each change and at each contact.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Core;
use super::error::Result;
use crate::domain::CodebaseState;
use crate::net::Client;
use crate::policy;
use crate::protocol::fleet::{CODEBASES_PATH, CodebaseReport};

/// What nobody waits for (progress) is collected for this long.
const COLLECT: Duration = Duration::from_millis(250);
/// Bytes of the hub's answer, which has nothing to say.
pub(super) const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Reports until the task ends. Ready and failed go out at once.
pub(super) async fn report(core: Arc<Core>) {
    let mut changes = core.codebases.changes();
    let mut contacts = core.link.changes();
    let mut sent: Option<(u64, BTreeMap<String, CodebaseState>)> = None;
    let mut failures = 0;
    loop {
        let Ok(contact) = contacts.wait_for(|contact| contact.number().is_some()).await.map(|contact| contact.number()) else {
            return;
        };
        let seen = *changes.borrow_and_update();
        let now = (contact.unwrap_or_default(), core.codebases.states());
        if sent.as_ref() != Some(&now) {
            match post(&core, &core.link.client(), now.1.clone()).await {
                Ok(()) => {
                    sent = Some(now);
                    failures = 0;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "the hub did not take the report of the codebases");
                    sleep(Duration::from_millis(policy::back_off_millis(failures, Core::seed(&core.member)))).await;
                }
            }
            continue;
        }
        tokio::select! {
            news = changes.changed() => if news.is_err() { return },
            news = contacts.changed() => if news.is_err() { return },
        }
        // The end of the wait is as good as an urgent change.
        let _ = timeout(COLLECT, changes.wait_for(|changes| changes.urgent != seen.urgent)).await;
    }
}

async fn post(core: &Core, client: &Client, codebases: BTreeMap<String, CodebaseState>) -> Result<()> {
    let revision = core.known().map_or(0, |known| known.state.revision);
    let report = CodebaseReport { revision, address: core.address.clone(), codebases };
    let body = serde_json::to_vec(&report).expect("plain structs of texts and numbers always have a JSON form");
    // Sent twice it does no harm: it says everything.
    client.post_stream(CODEBASES_PATH, "application/json", body.into()).await?.collect(ANSWER_BYTES_MAX).await?;
    Ok(())
}
