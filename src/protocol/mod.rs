//! What goes over the wire: message types and paths, versioned; no I/O.
//!
//! Unknown fields are ignored, unknown enum values are shown as such. Paths stand beside their messages.

pub mod admin;
pub mod enrol;
pub mod events;
pub mod fleet;
pub mod hello;
pub mod local;
pub mod patches;
pub mod problem;
pub mod ranges;
pub mod report;
pub mod signed;
pub mod upkeep;
