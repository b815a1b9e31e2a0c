//! `consign site …`.

use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::admin::AdminClient;
use super::error::CliError;
use super::output::{Cell, Output, Paint};
use super::{Context, human};
use crate::domain::{Name, SiteId};
use crate::protocol::admin::{SITES_PATH, SiteAdd, SiteView};
use crate::protocol::fleet::HubFallback;

/// What to do with sites.
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Add a site
    Add(Add),
    /// List the sites with their subnets and site servers
    List,
}

/// Adds a site.
#[derive(Debug, Args)]
pub struct Add {
    /// What people call it
    name: Name,
    /// When its agents may fetch from the hub
    #[arg(long, value_enum, default_value_t = Fallback::WhenNone)]
    hub_fallback: Fallback,
}

/// When agents of a site may fetch from the hub.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fallback {
    /// Never
    Never,
    /// When the site has no site server
    WhenNone,
    /// Whenever the site's servers cannot serve
    Always,
}

impl From<Fallback> for HubFallback {
    fn from(fallback: Fallback) -> Self {
        match fallback {
            Fallback::Never => Self::Never,
            Fallback::WhenNone => Self::WhenNone,
            Fallback::Always => Self::Always,
        }
    }
}

/// Runs the command.
pub fn run(command: &SiteCommand, context: &Context) -> Result<(), CliError> {
    let client = AdminClient::open(&context.hub)?;
    match command {
        SiteCommand::Add(add) => {
            let asked = SiteAdd { id: SiteId(Uuid::now_v7()), name: add.name.clone(), hub_fallback: add.hub_fallback.into() };
            added(&context.output, &client.post(SITES_PATH, &asked)?)
        }
        SiteCommand::List => {
            let sites: Vec<SiteView> = client.get(SITES_PATH)?;
            context.output.answer(&sites, |output| list(output, &sites))
        }
    }
}

/// Answers with one site, and its warnings.
pub fn added(output: &Output, site: &SiteView) -> Result<(), CliError> {
    for warning in &site.warnings {
        output.warning(warning);
    }
    output.answer(site, |output| {
        let subnets = if site.subnets.is_empty() { "no subnets yet".to_owned() } else { subnets(site) };
        output.line(&format!("site {}: {subnets}", site.name))
    })
}

fn list(output: &Output, sites: &[SiteView]) -> Result<(), CliError> {
    let rows = sites.iter().map(|site| {
        let fallback = match site.hub_fallback {
            HubFallback::Never => "never",
            HubFallback::WhenNone => "when none",
            HubFallback::Always => "always",
        };
        vec![
            Cell::painted(site.name.to_string(), Paint::Bold),
            Cell::from(subnets(site)),
            Cell::from(site.servers.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")),
            Cell::number(human::count(site.agents)),
            Cell::from(fallback),
            Cell::painted(site.warnings.join("; "), Paint::Busy),
        ]
    });
    output.table(0, &["SITE", "SUBNETS", "SITE SERVERS", "AGENTS", "HUB FALLBACK", "WARNINGS"], rows.collect())
}

fn subnets(site: &SiteView) -> String {
    site.subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
