//! Restoring versions: installs, resumed installs, updates, seeds and streams, with real files and processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed; clippy knows only functions marked as tests")]

mod any_pair;
mod archives;
mod fronts;
mod install;
mod kill;
mod large;
mod patches;
mod resume;
mod seeds;
mod space;
mod support;
mod survey;
mod update;
mod wire;
