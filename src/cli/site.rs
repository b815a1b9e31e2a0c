//! `consign site …`.

use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::admin::{self, AdminClient};
use super::error::CliError;
use super::output::{Cell, Output, Paint};
use super::{Context, human};
use crate::domain::{Name, SiteId};
use crate::protocol::admin::{SITES_PATH, SiteAdd, SiteView};
use crate::protocol::fleet::HubFallback;
use crate::protocol::report::Traffic;

/// What to do with sites.
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Add a site
    Add(Add),
    /// List the sites with their subnets and site servers
    List,
    /// Show a site, with what its installs have cost and saved
    Show(Show),
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

/// Shows a site.
#[derive(Debug, Args)]
pub struct Show {
    /// Name or id of the site
    site: String,
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
        SiteCommand::Show(show) => {
            let site: SiteView = client.get(&admin::path(SITES_PATH, &[&show.site]))?;
            context.output.answer(&site, |output| self::show(output, &site))
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
        vec![
            Cell::painted(site.name.to_string(), Paint::Bold),
            Cell::from(subnets(site)),
            Cell::from(site.servers.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")),
            Cell::number(human::count(site.agents)),
            Cell::number(human::size(site.traffic.saved_bytes)),
            Cell::from(fallback_word(site)),
            Cell::painted(site.warnings.join("; "), Paint::Busy),
        ]
    });
    output.table(0, &["SITE", "SUBNETS", "SITE SERVERS", "AGENTS", "SAVED", "HUB FALLBACK", "WARNINGS"], rows.collect())
}

fn show(output: &Output, site: &SiteView) -> Result<(), CliError> {
    output.line(&format!(
        "{}  {}",
        output.paint(Paint::Bold, site.name.as_str()),
        output.paint(Paint::Dim, &site.id.to_string())
    ))?;
    let none_yet = |words: String| if words.is_empty() { "none yet".to_owned() } else { words };
    output.line(&format!("  subnets       {}", none_yet(subnets(site))))?;
    let servers = site.servers.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    output.line(&format!("  site servers  {}", none_yet(servers)))?;
    output.line(&format!("  agents        {}", human::count(site.agents)))?;
    output.line(&format!("  hub fallback  {}", fallback_word(site)))?;
    for warning in &site.warnings {
        output.line(&format!("  {} {warning}", output.paint(Paint::Busy, "warning:")))?;
    }
    output.line("")?;
    if site.traffic.installs == 0 {
        return output.line(&format!("{}: no agent of it has reported an install", output.paint(Paint::Bold, "traffic")));
    }
    output.line(&output.paint(Paint::Bold, "traffic"))?;
    output.table(2, &TRAFFIC_HEADING, vec![traffic_row(&site.traffic)])
}

/// The heading over [`traffic_row`].
pub const TRAFFIC_HEADING: [&str; 7] = ["INSTALLS", "OVER THE WIRE", "SAVED", "REUSED", "PATCHED", "FETCHED", "WRITTEN"];

/// What installs have cost, and saved against full downloads.
pub fn traffic_row(traffic: &Traffic) -> Vec<Cell> {
    let size = |bytes| Cell::number(human::size(bytes));
    vec![
        Cell::number(human::count(traffic.installs)),
        size(traffic.wire_bytes),
        size(traffic.saved_bytes),
        size(traffic.reused_bytes),
        size(traffic.patched_bytes),
        size(traffic.fetched_bytes),
        size(traffic.written_bytes),
    ]
}

const fn fallback_word(site: &SiteView) -> &'static str {
    match site.hub_fallback {
        HubFallback::Never => "never",
        HubFallback::WhenNone => "when none",
        HubFallback::Always => "always",
    }
}

fn subnets(site: &SiteView) -> String {
    site.subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
