//! Agents' reports on their way to the hub: passed on as signed, the latest of each machine kept while the hub is away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::Core;
use super::report::ANSWER_BYTES_MAX;
use crate::domain::MachineId;
use crate::net::{Client, Error};
use crate::policy;
use crate::protocol::problem::Problem;
use crate::protocol::report::REPORTS_PATH;
use crate::protocol::signed::Signed;

/// Bytes of one report.
pub(super) const REPORT_BYTES_MAX: usize = 1 << 20;
/// Bytes of all reports that wait.
const WAITING_BYTES_MAX: usize = 24 << 20;

/// Reports that the hub has not taken yet, one a machine.
#[derive(Debug, Default)]
pub(super) struct Relay {
    waiting: Mutex<BTreeMap<MachineId, Signed>>,
    wake: Notify,
}

impl Relay {
    /// Takes `machine`'s latest report.
    ///
    /// # Errors
    /// A problem when too much waits: the hub has been away for long.
    pub fn take(&self, machine: MachineId, report: Signed) -> Result<(), Problem> {
        let mut waiting = self.waiting();
        let others: usize = waiting.iter().filter(|(id, _)| **id != machine).map(|(_, signed)| signed.payload.len()).sum();
        if others + report.payload.len() > WAITING_BYTES_MAX {
            let what = "this site server keeps as many reports as it can while the hub is away";
            return Err(Problem::new(503, "busy", what).hint("report again later"));
        }
        waiting.insert(machine, report);
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    /// How many reports wait.
    pub fn depth(&self) -> u64 {
        self.waiting().len() as u64
    }

    fn next(&self) -> Option<(MachineId, Signed)> {
        self.waiting().first_key_value().map(|(id, signed)| (*id, signed.clone()))
    }

    /// Forgets a report that the hub has taken, unless a later one has come in the meantime.
    fn sent(&self, machine: MachineId, report: &Signed) {
        let mut waiting = self.waiting();
        if waiting.get(&machine) == Some(report) {
            waiting.remove(&machine);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<MachineId, Signed>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes reports on until the task ends.
pub(super) async fn relay(core: Arc<Core>) {
    let mut contacts = core.link.changes();
    let mut failures = 0;
    loop {
        if contacts.wait_for(|contact| contact.number().is_some()).await.is_err() {
            return;
        }
        let Some((machine, report)) = core.relay.next() else {
            core.relay.wake.notified().await;
            continue;
        };
        match post(&core.link.client(), &report).await {
            Ok(()) => failures = 0,
            Err(error) if error.problem().is_some() && !error.is_temporary() => {
                tracing::warn!(%machine, %error, "the hub refuses an agent's report");
                failures = 0;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%machine, %error, "an agent's report is kept until the hub takes it");
                sleep(Duration::from_millis(policy::back_off_millis(failures, Core::seed(&core.member)))).await;
                continue;
            }
        }
        core.relay.sent(machine, &report);
    }
}

async fn post(client: &Client, report: &Signed) -> Result<(), Error> {
    let body = serde_json::to_vec(report).expect("two texts always have a JSON form");
    // Sent twice it does no harm: it says everything.
    client.post_stream(REPORTS_PATH, "application/json", body.into()).await?.collect(ANSWER_BYTES_MAX).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Signed {
        Signed { payload: text.to_owned(), signature: String::new() }
    }

    fn machine(number: u128) -> MachineId {
        MachineId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn the_latest_report_of_a_machine_is_kept_until_it_is_taken() {
        let relay = Relay::default();
        relay.take(machine(1), report("old")).unwrap();
        let (id, old) = relay.next().unwrap();
        relay.take(machine(1), report("new")).unwrap();
        relay.sent(id, &old);
        assert_eq!((relay.next(), relay.depth()), (Some((machine(1), report("new"))), 1));
        relay.sent(id, &report("new"));
        assert_eq!(relay.next(), None);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let relay = Relay::default();
        let long = "x".repeat(REPORT_BYTES_MAX);
        let taken = (0..100).take_while(|&number| relay.take(machine(number), report(&long)).is_ok()).count();
        assert_eq!(taken, WAITING_BYTES_MAX / REPORT_BYTES_MAX);
        // A later report of a machine that waits already takes the place of the earlier one.
        assert!(relay.take(machine(0), report(&long)).is_ok());
    }
}
