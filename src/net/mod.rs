//! What every role needs of the network: listeners, TLS, limits, the data plane, clients.
//!
//! Nothing here listens or speaks without TLS, every wait has an end, and every length is limited before it is read.

pub mod blocking;
pub mod client;
pub mod clock;
pub mod data_plane;
pub mod enrol;
pub mod error;
pub mod event_stream;
pub mod fetch;
pub mod io;
pub mod listener;
pub mod member;
pub mod meter;
pub mod peer;
pub mod problem;
pub mod rate;
pub mod repoll;
pub mod retry;
pub mod task;
pub mod upkeep;

pub use client::Client;
pub use error::{Error, Result};
pub use listener::Listener;
pub use meter::Meter;
pub use peer::Peer;

#[cfg(test)]
mod tests;
