//! `consign collection …`.

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::admin::AdminClient;
use super::error::CliError;
use super::output::{Cell, Paint};
use super::{Context, human};
use crate::domain::{CollectionId, Name};
use crate::protocol::admin::{COLLECTIONS_PATH, CollectionAdd, CollectionView};

/// What to do with collections.
#[derive(Debug, Subcommand)]
pub enum CollectionCommand {
    /// Add a collection of machines
    Add(Add),
    /// List the collections
    List,
}

/// Adds a collection.
#[derive(Debug, Args)]
pub struct Add {
    /// What people call it
    name: Name,
    /// Names or ids of its machines
    #[arg(value_name = "MACHINE")]
    machines: Vec<String>,
}

/// Runs the command.
pub fn run(command: &CollectionCommand, context: &Context) -> Result<(), CliError> {
    let client = AdminClient::open(&context.hub)?;
    match command {
        CollectionCommand::Add(add) => {
            let asked =
                CollectionAdd { id: CollectionId(Uuid::now_v7()), name: add.name.clone(), machines: add.machines.clone() };
            let added: CollectionView = client.post(COLLECTIONS_PATH, &asked)?;
            context.output.answer(&added, |output| {
                output.line(&format!("collection {}: {}", added.name, human::things(added.machines.len() as u64, "machine")))
            })
        }
        CollectionCommand::List => {
            let collections: Vec<CollectionView> = client.get(COLLECTIONS_PATH)?;
            let rows = collections.iter().map(|collection| {
                vec![
                    Cell::painted(collection.name.to_string(), Paint::Bold),
                    Cell::number(collection.machines.len().to_string()),
                    Cell::from(collection.machines.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")),
                ]
            });
            context.output.answer(&collections, |output| output.table(0, &["COLLECTION", "MACHINES", "NAMES"], rows.collect()))
        }
    }
}
