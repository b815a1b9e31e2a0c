//! `consign machine …`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::{Span, SpanRelativeTo, Unit};

use super::admin::AdminClient;
use super::error::CliError;
use super::output::{Cell, Output, Paint};
use super::{Context, human};
use crate::protocol::admin::{INVITES_PATH, Invite, Invited, MACHINES_PATH, MachineView};
use crate::protocol::hello::Role;

/// Longest validity of a join string, seconds (90 days).
const VALID_SECS_MAX: u32 = 90 * 24 * 3600;

/// What to do with machines.
#[derive(Debug, Subcommand)]
pub enum MachineCommand {
    /// List the machines of the fleet
    List,
    /// Make a join string for new machines; it is a secret
    Invite(InviteArgs),
}

/// Makes a join string.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// As what machines may join with it
    #[arg(long, value_enum, default_value_t = Member::Agent)]
    role: Member,
    /// Name or id of their site (default: by their subnet)
    #[arg(long)]
    site: Option<String>,
    /// How many machines may use it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    uses: u32,
    /// For how long, such as 30m, 24h, 7d; 90 days at most
    #[arg(long, default_value = "24h", value_name = "SPAN", value_parser = seconds)]
    valid: u32,
    /// Write it to this new file, readable by you only, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A role that machines join in.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Member {
    Agent,
    SiteServer,
}

impl From<Member> for Role {
    fn from(member: Member) -> Self {
        match member {
            Member::Agent => Self::Agent,
            Member::SiteServer => Self::SiteServer,
        }
    }
}

/// Runs the command.
pub fn run(command: &MachineCommand, context: &Context) -> Result<(), CliError> {
    let client = AdminClient::open(&context.hub)?;
    match command {
        MachineCommand::List => {
            let machines: Vec<MachineView> = client.get(MACHINES_PATH)?;
            context.output.answer(&machines, |output| list(output, &machines))
        }
        MachineCommand::Invite(asked) => invite(asked, &client, &context.output),
    }
}

fn list(output: &Output, machines: &[MachineView]) -> Result<(), CliError> {
    if machines.is_empty() {
        return output.line("no machines; make a join string with `consign machine invite`");
    }
    let rows = machines.iter().map(|machine| {
        let (word, paint) = if machine.connected { ("connected", Paint::Good) } else { ("away", Paint::Dim) };
        vec![
            Cell::painted(machine.name.to_string(), Paint::Bold),
            Cell::from(machine.role.word()),
            Cell::from(machine.site.to_string()),
            Cell::painted(word, paint),
            Cell::from(human::time(machine.seen)),
            Cell::from(machine.address.clone().unwrap_or_default()),
            Cell::painted(machine.id.to_string(), Paint::Dim),
        ]
    });
    output.table(0, &["NAME", "ROLE", "SITE", "STATE", "SEEN", "ADDRESS", "ID"], rows.collect())
}

fn invite(asked: &InviteArgs, client: &AdminClient, output: &Output) -> Result<(), CliError> {
    let request = Invite { role: asked.role.into(), site: asked.site.clone(), uses: asked.uses, valid_secs: asked.valid };
    // The file is made first: a join string that cannot be kept must not come into being.
    let file = asked.out.as_ref().map(|path| secret_file(path).map(|file| (path, file))).transpose()?;
    let invited: Invited = match client.post(INVITES_PATH, &request) {
        Ok(invited) => invited,
        Err(failure) => {
            if let Some((path, _)) = file {
                let _ = std::fs::remove_file(path);
            }
            return Err(failure);
        }
    };
    let role = request.role.word();
    let limits = format!("for {}, until {}", human::things(invited.uses.into(), role), human::time(invited.expires));
    if let Some((path, mut file)) = file {
        file.write_all(invited.join.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .map_err(|e| CliError::io("write", path, &e))?;
        let answer = serde_json::json!({"file": path, "expires": invited.expires, "uses": invited.uses});
        return output.answer(&answer, |output| {
            output.line(&format!("{}: {limits}; join with `consign {role} join --join-file {}`", path.display(), path.display()))
        });
    }
    output.answer(&invited, |output| output.line(&invited.join))?;
    output.note(&format!("a secret, {limits}; give it to `consign {role} join --join-file -` or in CONSIGN_JOIN"));
    Ok(())
}

fn secret_file(path: &PathBuf) -> Result<std::fs::File, CliError> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| CliError::io("create", path, &e))
}

/// Reads a span such as `24h` or `7d` as seconds; a day has 24 hours.
fn seconds(text: &str) -> Result<u32, String> {
    let refuse = || format!("{text:?} is no span of time up to 90 days; write it like 30m, 24h or 7d");
    let span: Span = text.parse().map_err(|_| refuse())?;
    let total = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).map_err(|_| refuse())?;
    if !(1.0..=f64::from(VALID_SECS_MAX)).contains(&total) {
        return Err(refuse());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    Ok(total as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_limited() {
        assert_eq!(
            ["90s", "30m", "24h", "7d", "90d"].map(|text| seconds(text).ok()),
            [90, 1800, 86_400, 604_800, VALID_SECS_MAX].map(Some)
        );
        for bad in ["", "0s", "-1h", "91d", "1 fortnight", "1y"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
