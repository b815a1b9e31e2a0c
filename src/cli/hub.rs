//! `consign hub …`.

use std::net::SocketAddr;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::error::CliError;
use super::upkeep::UpkeepArgs;
use super::{Context, process};
use crate::hub::{self, InitOptions, RunOptions};
use crate::protocol::local::ADMIN_FILE;

/// What to do with the hub; its folder is `--hub`.
#[derive(Debug, Subcommand)]
pub enum HubCommand {
    /// Make a new hub: keys, certificate authority, trust root, database
    Init(Init),
    /// Serve site servers, agents and admins until stopped
    Run(Run),
}

/// Makes a hub.
#[derive(Debug, Args)]
pub struct Init {
    /// Where machines reach this hub, host:port (default: this machine's name and the port of --listen)
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
    /// Where to listen for site servers and agents
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:4700")]
    pub listen: SocketAddr,
    /// Where to listen for admins
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:4701")]
    pub admin_listen: SocketAddr,
}

/// Serves.
#[derive(Debug, Args)]
pub struct Run {
    /// Where to listen for site servers and agents (default: as made)
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where to listen for admins (default: as made)
    #[arg(long, value_name = "IP:PORT")]
    pub admin_listen: Option<SocketAddr>,
    /// Threads that hash in a refresh (default: one a core)
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub hash_threads: usize,
    #[command(flatten)]
    pub upkeep: UpkeepArgs,
}

/// Runs the command.
pub fn run(command: &HubCommand, context: &Context) -> Result<(), CliError> {
    match command {
        HubCommand::Init(init) => initialize(init, context),
        HubCommand::Run(options) => serve(options, context),
    }
}

#[derive(Serialize)]
struct Made {
    hub: String,
    admin_file: String,
}

fn initialize(init: &Init, context: &Context) -> Result<(), CliError> {
    let options = InitOptions { listen: init.listen, admin_listen: init.admin_listen, address: init.address.clone() };
    hub::init(&context.hub, &options).map_err(|error| CliError::failed(error.to_string()))?;
    let folder = context.hub.display().to_string();
    let made = Made { admin_file: context.hub.join(ADMIN_FILE).display().to_string(), hub: folder };
    context.output.answer(&made, |output| {
        output.line(&format!("made the hub in {}", made.hub))?;
        output.line(&format!("admins use {} (a secret: copy it to their machines)", made.admin_file))?;
        output.line(&format!(
            "the trust root's key is {}/keys/root.pem: move it to a safe place, it is not needed to run",
            made.hub
        ))?;
        output.line(&format!("next: consign hub run --hub {}", made.hub))
    })
}

fn serve(options: &Run, context: &Context) -> Result<(), CliError> {
    let options = RunOptions {
        listen: options.listen,
        admin_listen: options.admin_listen,
        upkeep: (&options.upkeep).into(),
        hash_threads: options.hash_threads,
    };
    process::serve(|shutdown| async move {
        let ready = |about: &crate::protocol::local::HubRun| {
            tracing::info!(address = about.address, admin_address = about.admin_address, "the hub listens");
        };
        hub::run(&context.hub, &options, ready, shutdown).await.map_err(|error| CliError::failed(error.to_string()))
    })
}
