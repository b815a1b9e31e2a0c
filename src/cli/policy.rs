//! `consign policy …`.

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::Context;
use super::admin::AdminClient;
use super::error::CliError;
use super::output::{Cell, Paint};
use crate::domain::{Name, PolicyId};
use crate::protocol::admin::{POLICIES_PATH, PolicyAdd, PolicyView};

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Let the machines of a collection have a package
    Add(Add),
    /// List the policies
    List,
}

/// Adds a policy.
#[derive(Debug, Args)]
pub struct Add {
    /// What people call it
    name: Name,
    /// Name or id of the package
    #[arg(long)]
    package: String,
    /// Name or id of the collection
    #[arg(long)]
    collection: String,
}

/// Runs the command.
pub fn run(command: &PolicyCommand, context: &Context) -> Result<(), CliError> {
    let client = AdminClient::open(&context.hub)?;
    match command {
        PolicyCommand::Add(add) => {
            let asked = PolicyAdd {
                id: PolicyId(Uuid::now_v7()),
                name: add.name.clone(),
                package: add.package.clone(),
                collection: add.collection.clone(),
            };
            let added: PolicyView = client.post(POLICIES_PATH, &asked)?;
            context.output.answer(&added, |output| {
                output.line(&format!("policy {}: {} may have {}", added.name, added.collection, added.package))
            })
        }
        PolicyCommand::List => {
            let policies: Vec<PolicyView> = client.get(POLICIES_PATH)?;
            let rows = policies.iter().map(|policy| {
                vec![
                    Cell::painted(policy.name.to_string(), Paint::Bold),
                    Cell::from(policy.package.to_string()),
                    Cell::from(policy.collection.to_string()),
                ]
            });
            context.output.answer(&policies, |output| output.table(0, &["POLICY", "PACKAGE", "COLLECTION"], rows.collect()))
        }
    }
}
