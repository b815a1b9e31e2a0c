//! `consign package …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::admin::{self, AdminClient};
use super::error::CliError;
use super::output::Output;
use super::{Context, package_view, wait};
use crate::domain::{Name, PackageId};
use crate::protocol::admin::{PACKAGES_PATH, PackageAdd, PackageView, REFRESH_ALL_PATH, RefreshRequest};

/// What to do with packages.
#[derive(Debug, Subcommand)]
pub enum PackageCommand {
    /// Add a package; its source folder is hashed in the background at the hub
    Add(Add),
    /// List the packages
    List,
    /// Show a package: source, versions, codebases, installs, with states and reasons
    Show(Named),
    /// Read a package's source again; a new version is released only if content changed
    Refresh(Refresh),
    /// List the versions of a package
    Versions(Named),
}

/// Adds a package.
#[derive(Debug, Args)]
pub struct Add {
    /// What people call it
    name: Name,
    /// Source folder, as the hub sees it
    #[arg(long, value_name = "DIR")]
    source: PathBuf,
    /// Every machine of the fleet may read it
    #[arg(long)]
    open: bool,
    /// A system it is for; repeat for several (default: all)
    #[arg(long = "platform", value_name = "PLATFORM")]
    platforms: Vec<System>,
    #[command(flatten)]
    common: Common,
}

/// Names a package.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name or id
    package: String,
}

/// Refreshes.
#[derive(Debug, Args)]
pub struct Refresh {
    /// Its name or id
    #[arg(required_unless_present = "all")]
    package: Option<String>,
    /// Refresh every package
    #[arg(long, conflicts_with = "package")]
    all: bool,
    /// Read every byte, not only files whose size, times or inode changed
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    common: Common,
}

/// What adding and refreshing share.
#[derive(Debug, Args)]
struct Common {
    /// The publisher's label of the version, such as 3.30.2
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Wait until it is released and every site server is ready; ends with exit code 3 when the time is over
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "SECS", default_value_t = 3600, requires = "wait", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    timeout: u64,
}

/// A system that a package is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum System {
    Linux,
    Windows,
    Macos,
}

impl System {
    fn word(self) -> String {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
            Self::Macos => "macos",
        }
        .to_owned()
    }
}

/// Runs the command.
pub fn run(command: &PackageCommand, context: &Context) -> Result<(), CliError> {
    let client = AdminClient::open(&context.hub)?;
    let output = &context.output;
    match command {
        PackageCommand::Add(add) => self::add(add, &client, output),
        PackageCommand::List => {
            let views: Vec<PackageView> = client.get(PACKAGES_PATH)?;
            output.answer(&views, |output| package_view::list(output, &views))
        }
        PackageCommand::Show(named) => {
            let view = get(&client, &named.package)?;
            output.answer(&view, |output| package_view::show(output, &view))
        }
        PackageCommand::Refresh(refresh) => self::refresh(refresh, &client, output),
        PackageCommand::Versions(named) => {
            let view = get(&client, &named.package)?;
            output.answer(&view.versions, |output| package_view::versions(output, 0, &view.versions))
        }
    }
}

fn get(client: &AdminClient, package: &str) -> Result<PackageView, CliError> {
    client.get(&admin::path(PACKAGES_PATH, &[package]))
}

fn add(add: &Add, client: &AdminClient, output: &Output) -> Result<(), CliError> {
    let source = std::path::absolute(&add.source).map_err(|e| CliError::io("find", &add.source, &e))?;
    let source =
        source.to_str().ok_or_else(|| CliError::usage(format!("{} is not UTF-8; rename the folder", source.display())))?;
    let asked = PackageAdd {
        id: PackageId(Uuid::now_v7()),
        name: add.name.clone(),
        source: source.to_owned(),
        open: add.open,
        platforms: add.platforms.iter().map(|platform| platform.word()).collect(),
        label: add.common.label.clone(),
    };
    let view: PackageView = client.post(PACKAGES_PATH, &asked)?;
    finish(&[view], &add.common, client, output, false)
}

fn refresh(refresh: &Refresh, client: &AdminClient, output: &Output) -> Result<(), CliError> {
    let asked = RefreshRequest { verify: refresh.verify, label: refresh.common.label.clone() };
    let views: Vec<PackageView> = match &refresh.package {
        Some(package) => vec![client.post(&admin::path(PACKAGES_PATH, &[package, "refresh"]), &asked)?],
        None => client.post(REFRESH_ALL_PATH, &asked)?,
    };
    finish(&views, &refresh.common, client, output, refresh.all)
}

/// Waits if that was asked for, and answers: one package, or a list where `many` were asked for.
fn finish(queued: &[PackageView], common: &Common, client: &AdminClient, output: &Output, many: bool) -> Result<(), CliError> {
    for warning in queued.iter().flat_map(|view| &view.warnings) {
        output.warning(warning);
    }
    let waited;
    let views = if common.wait {
        let ids: Vec<PackageId> = queued.iter().map(|view| view.id).collect();
        waited = wait::until_ready(client, output, &ids, Duration::from_secs(common.timeout))?;
        &waited
    } else {
        queued
    };
    let human = |output: &Output| views.iter().try_for_each(|view| output.line(&package_view::sentence(view)));
    match views {
        [view] if !many => output.answer(view, human),
        _ => output.answer(views, human),
    }
}
