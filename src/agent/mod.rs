//! The agent: the process on a managed machine.
//!
//! It follows one server of its site, installs what it is told to and keeps it current: each package has one job, each job walks from
//! "which version" to "in place, verified", and a walk that is killed is taken up where it was. What never happens: content is believed that
//! does not hash to a signed manifest, two processes work in one folder, a wait has no reason and no end.

mod account;
mod ahead;
pub mod control;
mod core;
mod error;
mod folder;
mod follow;
mod install;
mod job;
mod record;
mod report;
mod request;
mod run;
mod servers;
mod trust;
pub mod view;

pub use self::core::{Agent, view_on_disk};
pub use error::{Error, OverBudget, Result};
pub use request::InstallRequest;
pub use run::{Care, Running, run, start};

#[cfg(test)]
mod tests;
