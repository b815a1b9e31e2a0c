//! `consign subnet …`.

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::admin::AdminClient;
use super::error::CliError;
use super::{Context, site};
use crate::protocol::admin::{SUBNETS_PATH, SubnetAdd};

/// What to do with subnets.
#[derive(Debug, Subcommand)]
pub enum SubnetCommand {
    /// Add a subnet to a site; the longest matching prefix decides where a machine belongs
    Add(Add),
}

/// Adds a subnet.
#[derive(Debug, Args)]
pub struct Add {
    /// Such as 10.1.0.0/16 or `fd00::/8`
    #[arg(value_name = "CIDR")]
    cidr: IpNet,
    /// Name or id of the site
    #[arg(long)]
    site: String,
}

/// Runs the command.
pub fn run(command: &SubnetCommand, context: &Context) -> Result<(), CliError> {
    let client = AdminClient::open(&context.hub)?;
    let SubnetCommand::Add(add) = command;
    let asked = SubnetAdd { cidr: add.cidr, site: add.site.clone() };
    site::added(&context.output, &client.post(SUBNETS_PATH, &asked)?)
}
