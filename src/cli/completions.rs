//! `consign completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliError, Context};

/// Prints a completion script.
#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell.
    shell: Shell,
}

/// Runs the command.
pub fn run(command: &Completions, context: &Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "consign", &mut script);
    context.output.line(String::from_utf8_lossy(&script).trim_end())
}
