//! `consign status`.

use super::admin::AdminClient;
use super::error::CliError;
use super::output::{Cell, Output, Paint};
use super::site::{TRAFFIC_HEADING, traffic_row};
use super::{Context, human, upkeep};
use crate::protocol::admin::{HubStatus, STATUS_PATH};

/// Runs the command.
pub fn run(context: &Context) -> Result<(), CliError> {
    let status: HubStatus = AdminClient::open(&context.hub)?.get(STATUS_PATH)?;
    context.output.answer(&status, |output| show(output, &status))
}

fn show(output: &Output, status: &HubStatus) -> Result<(), CliError> {
    output.line(&format!(
        "{} {}, running since {}",
        output.paint(Paint::Bold, "hub"),
        status.version,
        human::time(status.started)
    ))?;
    output.line(&format!("  members connect to {}, admins to {}", status.address, status.admin_address))?;
    output.line(&format!(
        "  {}, {}, {}, {}, revision {}",
        human::things(status.packages, "package"),
        human::things(status.sites, "site"),
        human::things(status.site_servers, "site server"),
        human::things(status.agents, "agent"),
        status.revision
    ))?;
    if let Some(bytes) = status.memory_bytes {
        output.line(&format!("  anonymous memory {}", human::size(bytes)))?;
    }
    if !status.traffic.is_empty() {
        output.line("")?;
        let heading = [&["SITE"][..], &TRAFFIC_HEADING].concat();
        let rows =
            status.traffic.iter().map(|site| [vec![Cell::from(site.site.to_string())], traffic_row(&site.totals)].concat());
        output.table(0, &heading, rows.collect())?;
        output.line("  since the first install; saved: what full downloads would have cost more")?;
    }
    if let Some(view) = &status.upkeep {
        upkeep::show(output, view)?;
    }
    output.line("")?;
    if status.waits.is_empty() {
        return output.line("nothing waits");
    }
    let time = |at: Option<crate::domain::Millis>| Cell::from(at.map(human::time).unwrap_or_default());
    let rows = status.waits.iter().map(|wait| {
        let depth = Cell::number(human::count(wait.depth));
        vec![Cell::from(wait.what.clone()), depth, time(wait.since), time(wait.until), Cell::from(wait.reason.clone())]
    });
    output.table(0, &["WAITING", "ITEMS", "SINCE", "UNTIL", "REASON"], rows.collect())
}
