//! Restoring versions: installs, resumed installs, updates, seeds and streams, with real files and processes.

mod install;
mod kill;
mod resume;
mod seeds;
mod space;
mod support;
mod update;
mod wire;
