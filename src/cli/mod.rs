//! The command line: one file a noun.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 not ready. What a command answers goes to standard output (with `--json` as JSON), everything
//! else (errors, hints, progress) to standard error.

mod admin;
mod agent;
mod agent_install;
mod collection;
mod completions;
mod demo;
mod error;
mod hub;
mod human;
mod machine;
mod output;
mod package;
mod package_view;
mod pair;
mod parts;
mod policy;
mod prefer;
mod process;
mod progress;
mod site;
mod site_server;
mod status;
mod store;
mod subnet;
mod upkeep;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use error::{CliError, Exit};
pub use output::Output;

/// Where a hub lives unless `--hub` or `CONSIGN_HUB` says otherwise.
pub const HUB_FOLDER_DEFAULT: &str = "/var/lib/consign/hub";

/// Brings package content from one hub, through site servers, to every machine.
#[derive(Debug, Parser)]
#[command(name = "consign", version, propagate_version = true, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    /// Answer in JSON, on one line.
    #[arg(long, global = true)]
    json: bool,
    /// The hub's folder, or an admin credentials file.
    #[arg(long, global = true, value_name = "PATH", env = "CONSIGN_HUB", default_value = HUB_FOLDER_DEFAULT)]
    hub: PathBuf,
    #[command(subcommand)]
    noun: Noun,
}

/// What a command is about.
#[derive(Debug, Subcommand)]
enum Noun {
    /// Hub, site server and agent on this machine in a temporary folder: publish, install, refresh, update
    Demo(demo::Demo),
    /// The centre: catalog, hashing, signing
    #[command(subcommand)]
    Hub(hub::HubCommand),
    /// A machine that serves its site
    #[command(subcommand)]
    SiteServer(site_server::SiteServerCommand),
    /// The process on a managed machine
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Packages and their versions
    #[command(subcommand)]
    Package(package::PackageCommand),
    /// Sites
    #[command(subcommand)]
    Site(site::SiteCommand),
    /// Subnets of sites
    #[command(subcommand)]
    Subnet(subnet::SubnetCommand),
    /// Machines of the fleet, and join strings for new ones
    #[command(subcommand)]
    Machine(machine::MachineCommand),
    /// Sets of machines
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// Which collection may have which package
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// The hub at a glance: what it holds, what waits and why
    Status,
    /// A store of chunks on this machine, without a fleet
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// What every command is given besides its own arguments.
#[derive(Debug)]
pub struct Context {
    /// Where answers go, and in which form.
    pub output: Output,
    /// The hub's folder or an admin credentials file.
    pub hub: PathBuf,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    consign_store::map_large_buffers();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return refuse_usage(&refusal),
    };
    let context = Context { output: Output::of_process(cli.json), hub: cli.hub };
    match dispatch(cli.noun, &context) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            context.output.failure(&failure);
            failure.exit().into()
        }
    }
}

fn dispatch(noun: Noun, context: &Context) -> Result<(), CliError> {
    match noun {
        Noun::Demo(command) => demo::run(&command, context),
        Noun::Hub(command) => hub::run(&command, context),
        Noun::SiteServer(command) => site_server::run(&command, context),
        Noun::Agent(command) => agent::run(&command, context),
        Noun::Package(command) => package::run(&command, context),
        Noun::Site(command) => site::run(&command, context),
        Noun::Subnet(command) => subnet::run(&command, context),
        Noun::Machine(command) => machine::run(&command, context),
        Noun::Collection(command) => collection::run(&command, context),
        Noun::Policy(command) => policy::run(&command, context),
        Noun::Status => status::run(context),
        Noun::Store(command) => store::run(&command, context),
        Noun::Completions(command) => completions::run(&command, context),
    }
}

/// Prints what clap has to say: help and version are answers, the rest is wrong usage.
fn refuse_usage(refusal: &clap::Error) -> ExitCode {
    let wrong = refusal.use_stderr();
    if wrong && std::env::args_os().any(|argument| argument == "--json") {
        let text = refusal.to_string();
        let first = text.lines().next().unwrap_or_default();
        Output::of_process(true).failure(&CliError::usage(first.trim_start_matches("error: ")));
    } else if refusal.print().is_err() {
        return Exit::Failed.into();
    }
    if wrong { Exit::Usage.into() } else { Exit::Done.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_contract_of_names_holds() {
        for line in [
            "demo",
            "demo old new",
            "hub init",
            "hub run",
            "site-server join d --join-file -",
            "site-server run d",
            "site-server status",
            "agent join d --join-file join.txt",
            "agent run d",
            "agent install p --dest d --agent-dir a",
            "agent status",
            "package add p --source s --open --platform linux --label 1 --wait --timeout 5",
            "package list",
            "package show p",
            "package refresh p --wait",
            "package refresh --all --verify",
            "package versions p",
            "site add s",
            "site list",
            "subnet add 10.0.0.0/8 --site s",
            "machine list",
            "machine invite --role agent --uses 3",
            "collection add c m1 m2",
            "collection list",
            "policy add x --package p --collection c",
            "policy list",
            "status --json --hub /tmp/h",
            "store put s d --verify",
            "store get s b3:0000000000000000000000000000000000000000000000000000000000000000 d --seed o",
            "store stats s",
            "store gc s --grace 0 --dry-run --keep b3:0000000000000000000000000000000000000000000000000000000000000000",
            "store scrub s --rate 1000000",
            "store repair s --from t",
            "completions bash",
        ] {
            let words = std::iter::once("consign").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "package refresh",
            "package refresh p --all",
            "store get s nonsense d",
            "store gc s",
            "store scrub s --rate 0",
            "package add p",
            "subnet add x --site s",
        ] {
            let words = std::iter::once("consign").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
