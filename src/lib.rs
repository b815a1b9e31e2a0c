//! Consign: content-addressed package distribution, one crate for every role of the fleet.
//!
//! Layers know each other downwards only: `cli` → roles (`hub`, `site_server`, `agent`) → `catalog`, `net`, `trust`, `protocol`,
//! `policy`, `domain` → the `consign-store` crate. `tests/layering.rs` holds this.

pub mod agent;
pub mod catalog;
pub mod cli;
pub mod domain;
pub mod hub;
pub mod net;
pub mod policy;
pub mod protocol;
pub mod site_server;
pub mod trust;
