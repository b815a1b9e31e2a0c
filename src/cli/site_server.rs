//! `consign site-server …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::error::CliError;
use super::output::{Cell, Output, Paint};
use super::prefer::PreferWord;
use super::upkeep::{self, UpkeepArgs};
use super::wait::codebase_words;
use super::{Context, human, process};
use crate::domain::{CodebaseState, MachineId, Name, SiteId};
use crate::net::enrol::{self, JoinRequest};
use crate::net::member;
use crate::protocol::hello::Role;
use crate::site_server::{self, CodebaseRow, Error, HubView, RunInfo, RunOptions, StatusView};
use crate::trust::JoinString;

/// Where a site server lives unless told otherwise.
const FOLDER_DEFAULT: &str = "/var/lib/consign/site-server";

/// What to do with this machine's site server.
#[derive(Debug, Subcommand)]
pub enum SiteServerCommand {
    /// Join a fleet with a join string
    Join(Join),
    /// Fetch, verify and serve until stopped
    Run(Run),
    /// Show what it holds and what waits
    Status(Status),
}

/// The site server's folder.
#[derive(Debug, Args)]
pub struct Folder {
    /// The site server's folder
    #[arg(value_name = "DIR", env = "CONSIGN_SITE_SERVER", default_value = FOLDER_DEFAULT)]
    pub folder: PathBuf,
}

/// Joins.
#[derive(Debug, Args)]
pub struct Join {
    /// File that holds the join string, - for standard input (default: the variable `CONSIGN_JOIN`)
    #[arg(long = "join-file", value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// What people call it (default: this machine's name)
    #[arg(long)]
    pub name: Option<Name>,
    /// Where to listen for agents
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:4702")]
    pub listen: std::net::SocketAddr,
    /// Where agents reach it, host:port (default: this machine's address and the port of --listen)
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
    #[command(flatten)]
    pub place: Folder,
}

/// Serves.
#[derive(Debug, Args)]
pub struct Run {
    /// What to spare where there is a choice
    #[arg(long, value_enum, default_value_t = PreferWord::Time)]
    pub prefer: PreferWord,
    /// Most bytes to keep, with what belongs to content: 500M, 20G (default: the disk)
    #[arg(long, value_name = "SIZE", value_parser = upkeep::size)]
    pub quota: Option<u64>,
    #[command(flatten)]
    pub upkeep: UpkeepArgs,
    #[command(flatten)]
    pub place: Folder,
}

/// Shows.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub place: Folder,
}

/// Runs the command.
pub fn run(command: &SiteServerCommand, context: &Context) -> Result<(), CliError> {
    match command {
        SiteServerCommand::Join(options) => join(options, context),
        SiteServerCommand::Run(options) => process::serve(|shutdown| async move {
            let ready = |about: &RunInfo| tracing::info!(address = about.address, "the site server listens");
            let chosen =
                RunOptions { prefer: options.prefer.into(), upkeep: (&options.upkeep).into(), quota_bytes: options.quota };
            site_server::run(&options.place.folder, &chosen, ready, shutdown).await.map_err(explained)
        }),
        SiteServerCommand::Status(options) => status(options, context),
    }
}

/// The answer to `join`.
#[derive(Serialize)]
struct Joined {
    id: MachineId,
    name: Name,
    site: SiteId,
    hub: Vec<String>,
    already: bool,
}

fn join(options: &Join, context: &Context) -> Result<(), CliError> {
    let string = JoinString::read(options.from.as_deref())?;
    let request = JoinRequest {
        role: Role::SiteServer,
        name: options.name.clone().map_or_else(machine_name, Ok)?,
        capabilities: Vec::new(),
        listen: Some(options.listen.to_string()),
        address: options.address.clone(),
    };
    let dir = &options.place.folder;
    let joined = wait_for(enrol::join(dir, &string, &request, human::now()))?.map_err(|error| explained(error.into()))?;
    let enrol::Joined { config, already } = joined;
    let answer = Joined { id: config.id, name: config.name, site: config.site, hub: config.hub, already };
    context.output.answer(&answer, |output| {
        let did = if answer.already { "had joined before" } else { "joined" };
        output.line(&format!("site server {} {did}; hub {}", answer.name, answer.hub.join(", ")))?;
        output.line(&format!("next: consign site-server run {}", dir.display()))
    })
}

/// This machine's name as a member's.
fn machine_name() -> Result<Name, CliError> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let refuse =
        |_| CliError::usage(format!("this machine is called {name:?}, which cannot be a name")).hint("give one with --name");
    name.parse().map_err(refuse)
}

fn status(options: &Status, context: &Context) -> Result<(), CliError> {
    let dir = &options.place.folder;
    let view = wait_for(site_server::status(dir))?.map_err(explained)?;
    context.output.answer(&view, |output| {
        if !view.running {
            let note = format!("{} does not run; this is what its folder says", view.name);
            output.line(&output.paint(Paint::Busy, &note))?;
        }
        show(output, &view)
    })
}

fn show(output: &Output, view: &StatusView) -> Result<(), CliError> {
    let site =
        view.site.as_ref().map_or_else(|| "a site that the hub has not named yet".to_owned(), |site| format!("site {site}"));
    let address = view.address.as_ref().map(|address| format!(", at {address}")).unwrap_or_default();
    output.line(&format!("{} of {site}{address}", output.paint(Paint::Bold, view.name.as_str())))?;
    output.line(&format!("hub: {}", hub_words(&view.hub)))?;
    if let (Some(revision), Some(received), Some(expires)) = (view.revision, view.state_received, view.state_expires) {
        let (received, expires) = (human::time(received), human::time(expires));
        output.line(&format!("state: revision {revision} of {received}, good until {expires}, {} agents", view.agents))?;
    }
    if let Some(problem) = &view.metadata_problem {
        output.line(&output.paint(Paint::Bad, &format!("release metadata: {problem}")))?;
    }
    if view.running {
        let (served, fetched) = (human::size(view.served_bytes), human::size(view.fetched_bytes));
        output.line(&format!("served {served}, fetched {fetched} since it runs"))?;
    }
    if let Some(used) = view.used_bytes {
        let quota = view.quota_bytes.map(|quota| format!(" of {}", human::size(quota))).unwrap_or_default();
        let given_up = match view.given_up {
            0 => String::new(),
            some => format!("; no room for {}", human::things(some, "superseded version")),
        };
        output.line(&format!("keeps {}{quota}{given_up}", human::size(used)))?;
    }
    if let Some(view) = &view.upkeep {
        upkeep::show(output, view)?;
    }
    if view.codebases.is_empty() {
        return output.line("nothing is assigned to it");
    }
    let rows = view.codebases.iter().map(codebase_row).collect();
    output.table(0, &["PACKAGE", "VERSION", "SIZE", "STATE"], rows)?;
    for wait in &view.waits {
        let until = wait.until.map(|until| format!(", until {}", human::time(until))).unwrap_or_default();
        output.line(&format!("waits: {}: {}{until}", wait.what, wait.reason))?;
    }
    Ok(())
}

fn codebase_row(row: &CodebaseRow) -> Vec<Cell> {
    let state = match &row.state {
        Some(state) => Cell::painted(codebase_words(state), paint(state)),
        None => Cell::painted("not looked at", Paint::Dim),
    };
    vec![Cell::from(row.name.as_str()), Cell::number(row.version.to_string()), Cell::number(human::size(row.bytes)), state]
}

fn paint(state: &CodebaseState) -> Paint {
    match state {
        CodebaseState::Ready => Paint::Good,
        CodebaseState::Failed { .. } => Paint::Bad,
        _ => Paint::Busy,
    }
}

fn hub_words(hub: &HubView) -> String {
    match hub {
        HubView::Connected { address, since } => format!("{address}, connected since {}", human::time(*since)),
        HubView::Away { address, since, reason, next_attempt } => {
            let next = next_attempt.map_or_else(|| "now".to_owned(), human::time);
            format!("{address}, away since {}: {reason}; next attempt {next}", human::time(*since))
        }
        HubView::NotRunning { address } => address.clone(),
    }
}

/// Runs one short exchange on a reactor of its own.
fn wait_for<T>(exchange: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| CliError::failed(format!("cannot start a reactor: {error}")))?.block_on(exchange))
}

/// An error of the role as the command line tells it: with the hub's own code and hint where it refused.
fn explained(error: Error) -> CliError {
    match error {
        Error::Member(member::Error::Net(error)) | Error::Net(error) => error.into(),
        Error::Member(member::Error::Trust(error)) | Error::Trust(error) => error.into(),
        Error::Member(member::Error::Store(error)) | Error::Store(error) => error.into(),
        Error::Member(error @ member::Error::NotJoined { .. }) => CliError::failed(error.to_string()).code("not_joined"),
        error => CliError::failed(error.to_string()),
    }
}
