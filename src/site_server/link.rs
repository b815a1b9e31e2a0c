//! The way to the hub: by which of its addresses, and whether it answers.

use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use super::Core;
use super::error::Result;
use crate::domain::Millis;
use crate::net::Client;
use crate::net::client::Limits;
use crate::protocol::fleet::Endpoint;

/// Most bytes of a site state.
const STATE_BYTES_MAX: u64 = 32 << 20;

/// How it stands with the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contact {
    /// Its event stream is open and its state is known.
    Connected {
        /// Since when.
        since: Millis,
        /// Differs from one contact to the next.
        number: u64,
    },
    /// It is not.
    Away {
        /// Since when.
        since: Millis,
        /// Why.
        reason: String,
        /// When it is tried again; `None` while it is being tried.
        next_attempt: Option<Millis>,
    },
}

/// The way to the hub.
#[derive(Debug)]
pub(super) struct Link {
    client: RwLock<Client>,
    contact: watch::Sender<Contact>,
}

impl Link {
    pub fn new(client: Client, now: Millis) -> Self {
        let reason = "it has not been asked since this process started".to_owned();
        let contact = watch::Sender::new(Contact::Away { since: now, reason, next_attempt: None });
        Self { client: RwLock::new(client), contact }
    }

    /// The client of the address in use.
    pub fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_client(&self, client: Client) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
    }

    pub fn contact(&self) -> Contact {
        self.contact.borrow().clone()
    }

    pub fn connected(&self, now: Millis) {
        self.contact.send_modify(|contact| {
            let number = rand::random();
            *contact = Contact::Connected { since: now, number };
        });
    }

    pub fn away(&self, now: Millis, reason: String, next_attempt: Option<Millis>) {
        self.contact.send_modify(|contact| {
            let since = if let Contact::Away { since, .. } = contact { *since } else { now };
            *contact = Contact::Away { since, reason, next_attempt };
        });
    }

    /// Learns of changes.
    pub fn changes(&self) -> watch::Receiver<Contact> {
        self.contact.subscribe()
    }
}

impl Contact {
    /// Which contact it is; `None` when there is none.
    pub fn number(&self) -> Option<u64> {
        if let Self::Connected { number, .. } = self { Some(*number) } else { None }
    }
}

impl Core {
    /// The hub's addresses, the one it named last first.
    pub fn hub_endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = self.known().iter().map(|known| known.map.hub.clone()).collect();
        for joined_by in self.member.hub_endpoints() {
            if !endpoints.contains(&joined_by) {
                endpoints.push(joined_by);
            }
        }
        endpoints
    }

    /// Makes a client of the hub at `endpoint`.
    pub fn hub_client(&self, endpoint: &Endpoint) -> Result<Client> {
        client_of(&self.member, endpoint, &self.meter)
    }
}

/// Makes a client of the hub at `endpoint`.
pub(super) fn client_of(
    member: &crate::net::member::Member,
    endpoint: &Endpoint,
    meter: &std::sync::Arc<crate::net::Meter>,
) -> Result<Client> {
    let client = member.client(endpoint, std::sync::Arc::clone(meter))?;
    Ok(client.with_limits(Limits { json_bytes_max: STATE_BYTES_MAX, ..Limits::default() }))
}
