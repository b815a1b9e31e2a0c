//! `consign agent …`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Context;
use super::agent_install::{self, Install};
use super::error::CliError;
use super::human;
use super::output::{Cell, Output, Paint};
use super::prefer::PreferWord;
use super::process;
use crate::agent;
use crate::agent::control::{self, Ask, Reply};
use crate::agent::view::{AgentView, PackageView};
use crate::domain::Name;
use crate::net::enrol::{self, JoinRequest, Joined};
use crate::policy::Prefer;
use crate::protocol::hello::Role;
use crate::protocol::report::{InstallState, Traffic};
use crate::trust::JoinString;

/// Where an agent lives unless told otherwise.
pub const FOLDER_DEFAULT: &str = "/var/lib/consign/agent";
/// What an agent says that it can do.
const CAPABILITIES: [&str; 1] = ["package"];
/// For a running agent to say how it is.
const STATUS_WAIT: Duration = Duration::from_secs(10);

/// What to do with this machine's agent.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Join a fleet with a join string
    Join(Join),
    /// Follow the fleet until stopped
    Run(Run),
    /// Install the current version of a package, or update to it
    Install(Install),
    /// Show what is installed and what waits
    Status(Status),
}

/// The agent's folder.
#[derive(Debug, Args)]
pub struct Folder {
    /// The agent's folder
    #[arg(value_name = "DIR", env = "CONSIGN_AGENT", default_value = FOLDER_DEFAULT)]
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
    #[command(flatten)]
    pub place: Folder,
}

/// Follows.
#[derive(Debug, Args)]
pub struct Run {
    /// What to spare where there is a choice
    #[arg(long, value_enum, default_value_t = PreferWord::Time)]
    pub prefer: PreferWord,
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
pub fn run(command: &AgentCommand, context: &Context) -> Result<(), CliError> {
    match command {
        AgentCommand::Join(join) => run_join(join, context),
        AgentCommand::Run(run) => run_run(&run.place.folder, run.prefer.into()),
        AgentCommand::Install(install) => agent_install::run(install, context),
        AgentCommand::Status(status) => run_status(&status.place.folder, context),
    }
}

impl From<agent::Error> for CliError {
    fn from(error: agent::Error) -> Self {
        match error {
            agent::Error::Member(error) => error.into(),
            agent::Error::Net(error) => error.into(),
            agent::Error::Store(error) => error.into(),
            agent::Error::Trust(error) => error.into(),
            other => other.to_problem().into(),
        }
    }
}

/// Starts the threads that a command's waiting needs.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| CliError::failed(format!("cannot start worker threads: {error}")))
}

fn run_join(join: &Join, context: &Context) -> Result<(), CliError> {
    let string = JoinString::read(join.from.as_deref())?;
    let request = JoinRequest {
        role: Role::Agent,
        name: join.name.clone().map_or_else(machine_name, Ok)?,
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        listen: None,
        address: None,
    };
    let dir = &join.place.folder;
    let Joined { config, already } = runtime()?.block_on(enrol::join(dir, &string, &request, human::now()))?;
    context.output.answer(&config, |output| {
        let word = if already { "is a member already" } else { "joined" };
        output.line(&format!("{} ({}) {word}; its folder is {}", config.name, config.id, dir.display()))?;
        output.line(&format!("next: consign agent run {}", dir.display()))
    })
}

/// Reads this machine's name.
fn machine_name() -> Result<Name, CliError> {
    let path = Path::new("/proc/sys/kernel/hostname");
    let text = std::fs::read_to_string(path).map_err(|error| CliError::io("read", path, &error))?;
    let refuse = |error: crate::domain::name::NameError| {
        CliError::usage(format!("this machine's name: {error}")).hint("choose one with --name")
    };
    text.trim().parse().map_err(refuse)
}

fn run_run(dir: &Path, prefer: Prefer) -> Result<(), CliError> {
    process::serve(|shutdown| async move {
        let ready = |agent: &agent::Agent| tracing::info!(machine = %agent.view().machine, "the agent follows");
        Ok(agent::run(dir, prefer, ready, shutdown).await?)
    })
}

fn run_status(dir: &Path, context: &Context) -> Result<(), CliError> {
    let asked = runtime()?.block_on(async {
        let ask = async {
            match control::connect(dir, &Ask::Status).await? {
                Some(mut asking) => asking.next().await,
                None => Ok(None),
            }
        };
        let late = |_| CliError::failed(format!("the agent in {} runs but does not answer", dir.display())).code("silent");
        tokio::time::timeout(STATUS_WAIT, ask).await.map_err(late)?.map_err(CliError::from)
    })?;
    let view = match asked {
        Some(Reply::Status(view)) => *view,
        Some(Reply::Refused(problem)) => return Err(problem.into()),
        Some(_) => return Err(CliError::failed("the running agent answered something else than its status")),
        None => agent::view_on_disk(dir)?,
    };
    context.output.answer(&view, |output| show(output, &view))
}

fn show(output: &Output, view: &AgentView) -> Result<(), CliError> {
    output.line(&format!("{}  ({}), site {}", output.paint(Paint::Bold, view.name.as_str()), view.machine, view.site))?;
    output.line(&connection_line(output, view))?;
    if view.site_map_expires <= human::now() {
        output.line(&format!("the site map expired at {}: a newer one is asked for", human::time(view.site_map_expires)))?;
    }
    if view.packages.is_empty() {
        return output.line("no packages; install one with: consign agent install NAME");
    }
    output.line("")?;
    let rows = view.packages.iter().map(row).collect();
    output.table(0, &["PACKAGE", "VERSION", "STATE", "WIRE", "REUSED", "PATCHED", "WRITTEN", "SAVED", "WHERE"], rows)?;
    for package in &view.packages {
        if let Some(line) = progress_line(package) {
            output.line(&format!("  {}: {line}", package.name))?;
        }
        if let Some(line) = reason_line(package) {
            output.line(&format!("  {}: {line}", package.name))?;
        }
        for note in &package.notes {
            output.line(&format!("  {}: {} {note}", package.name, output.paint(Paint::Busy, "note:")))?;
        }
    }
    let totals = view.packages.iter().fold(Traffic::default(), |sum, package| sum.plus(&package.totals));
    if totals.saved_bytes > 0 {
        let (installs, saved) = (human::things(totals.installs, "install"), human::size(totals.saved_bytes));
        output.line(&format!("{installs} so far, {saved} saved against full downloads"))?;
    }
    Ok(())
}

fn connection_line(output: &Output, view: &AgentView) -> String {
    let Some(connection) = &view.connection else {
        return format!("{}; this is what its folder holds", output.paint(Paint::Bad, "the agent does not run"));
    };
    let server = connection.server.as_deref().unwrap_or("no server yet");
    let state = if connection.connected {
        format!("{} {server} since {}", output.paint(Paint::Good, "connected to"), human::time(connection.since))
    } else {
        let next = connection.next_attempt.map(|at| format!(", next attempt {}", human::time(at))).unwrap_or_default();
        format!("{} {server} since {}{next}", output.paint(Paint::Busy, "not connected to"), human::time(connection.since))
    };
    let choice = if connection.choice.is_empty() { String::new() } else { format!(" ({})", connection.choice) };
    let reason = connection.reason.as_ref().map(|reason| format!("\n  {reason}")).unwrap_or_default();
    format!("{state}{choice}{reason}")
}

fn row(package: &PackageView) -> Vec<Cell> {
    let version = package.installed.as_ref().map_or_else(|| "-".to_owned(), version_words);
    let (word, paint) = match package.state {
        InstallState::Installed => ("installed", Paint::Good),
        InstallState::Failed => ("failed", Paint::Bad),
        other => (state_word(other), Paint::Busy),
    };
    let cost = package.cost.unwrap_or_default();
    vec![
        Cell::from(package.name.to_string()),
        Cell::from(version),
        Cell::painted(word, paint),
        Cell::number(human::size(cost.wire_bytes)),
        Cell::number(human::size(cost.reused_bytes)),
        Cell::number(human::size(cost.patched_bytes)),
        Cell::number(human::size(cost.written_bytes)),
        Cell::number(human::size(cost.saved_bytes())),
        Cell::from(package.dest.clone()),
    ]
}

/// Says how far a package is that is on its way.
fn progress_line(package: &PackageView) -> Option<String> {
    let progress = package.progress?;
    let wanted =
        package.wanted.as_ref().map(|wanted| format!("version {} on its way: ", version_words(wanted))).unwrap_or_default();
    let records = match package.total_bytes {
        0 => String::new(),
        total => format!(", {} of {} of records", human::size(package.done_bytes), human::size(total)),
    };
    let budget = package.max_bytes.map(|max| format!(" of {} at most", human::size(max))).unwrap_or_default();
    Some(format!(
        "{wanted}{}{budget} over the wire, {} reused, {} patched{records}",
        human::size(progress.wire_bytes),
        human::size(progress.reused_bytes),
        human::size(progress.patched_bytes)
    ))
}

/// Says what a package waits for, if it does.
fn reason_line(package: &PackageView) -> Option<String> {
    let reason = package.reason.as_ref()?;
    let changes = package.changes_when.as_ref().map(|when| format!("; changes when {when}")).unwrap_or_default();
    let next = package.next_attempt.map(|at| format!("; next attempt {}", human::time(at))).unwrap_or_default();
    Some(format!("{reason}{changes}{next}"))
}

/// Names a version as people know it.
pub(super) fn version_words(version: &crate::protocol::fleet::VersionInfo) -> String {
    version.label.as_ref().map_or_else(|| version.version.to_string(), |label| format!("{} ({label})", version.version))
}

/// Names a state.
pub(super) const fn state_word(state: InstallState) -> &'static str {
    match state {
        InstallState::Waiting => "waiting",
        InstallState::Fetching => "fetching",
        InstallState::Switching => "switching",
        InstallState::Installed => "installed",
        InstallState::Failed => "failed",
        InstallState::Unknown => "unknown",
    }
}
