//! `consign demo`: the main job from end to end on this machine.

mod fleet;
pub mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use self::fleet::Fleet;
use super::error::CliError;
use super::output::{Output, Paint};
use super::{Context, admin, human, pair, wait};
use crate::domain::{Millis, PackageId};
use crate::protocol::admin::{PACKAGES_PATH, PackageAdd, PackageView, RefreshRequest};
use crate::protocol::report::{Cost, InstallState};

/// Longest wait for a version to be ready at the site, seconds.
const READY_SECS_MAX: u64 = 1_800;
/// Longest wait for the agent's report to reach the hub, seconds.
const REPORT_SECS_MAX: u64 = 30;
/// Name of the demo's package.
const PACKAGE: &str = "demo";

/// Runs the main job on this machine.
#[derive(Debug, Args)]
pub struct Demo {
    /// A folder with the older version of a package (default: a package made for the purpose)
    #[arg(requires = "new")]
    old: Option<PathBuf>,
    /// A folder with the newer version
    new: Option<PathBuf>,
    /// Keep the temporary folder: source, installed folder, logs, the three roles' folders
    #[arg(long)]
    keep: bool,
    /// Only make the demo's own package, as DIR/old and DIR/new
    #[arg(long, value_name = "DIR", conflicts_with_all = ["old", "keep"])]
    make_pair: Option<PathBuf>,
}

/// What the demo measured: a contract.
#[derive(Debug, Default, Serialize)]
struct Figures {
    publish_seconds: f64,
    site_ready_seconds: f64,
    install_seconds: f64,
    full_wire_bytes: u64,
    update_publish_seconds: f64,
    update_site_ready_seconds: f64,
    update_install_seconds: f64,
    update_wire_bytes: u64,
    update_socket_bytes: u64,
    verified: bool,
}

/// Runs the command.
pub fn run(demo: &Demo, context: &Context) -> Result<(), CliError> {
    let output = &context.output;
    if let Some(dir) = &demo.make_pair {
        let (old, new) = make_pair(dir)?;
        let answer = serde_json::json!({"old": old, "new": new});
        return output.answer(&answer, |output| output.line(&format!("{}\n{}", old.display(), new.display())));
    }
    let mut folder = tempfile::Builder::new()
        .prefix("consign-demo-")
        .tempdir()
        .map_err(|e| CliError::io("create a folder in", &std::env::temp_dir(), &e).hint("set TMPDIR to a folder with space"))?;
    folder.disable_cleanup(demo.keep);
    let show = Show(output);
    show.title(folder.path())?;
    let (old, new) = versions(demo, folder.path(), &show)?;
    let figures = Story { root: folder.path().to_path_buf(), old, new, show }.tell()?;
    if output.is_json() {
        output.answer(&figures, |_| Ok(()))?;
    } else if demo.keep {
        output.line(&format!("\nkept: {}", folder.path().display()))?;
    }
    if figures.verified { Ok(()) } else { Err(CliError::failed("the installed folder differs from the source").code("differs")) }
}

fn make_pair(dir: &Path) -> Result<(PathBuf, PathBuf), CliError> {
    let (old, new) = (dir.join("old"), dir.join("new"));
    pair::make(&old, pair::Version::Old)?;
    pair::make(&new, pair::Version::New)?;
    Ok((old, new))
}

/// Finds or makes the two versions.
fn versions(demo: &Demo, root: &Path, show: &Show<'_>) -> Result<(PathBuf, PathBuf), CliError> {
    if let (Some(old), Some(new)) = (&demo.old, &demo.new) {
        for given in [old, new] {
            if !given.is_dir() {
                return Err(CliError::failed(format!("{} is not a folder", given.display())).hint("name two folders, or none"));
            }
        }
        return Ok((old.clone(), new.clone()));
    }
    let started = Instant::now();
    let (old, new) = make_pair(root)?;
    let (files, bytes) = tree::measure(&old)?;
    let said = format!("made one to play with: {files} files, {}, in two versions", human::size(bytes));
    show.step("package", &said, started.elapsed().as_secs_f64())?;
    Ok((old, new))
}

/// How the demo talks: nothing with `--json`.
struct Show<'a>(&'a Output);

impl Show<'_> {
    fn title(&self, root: &Path) -> Result<(), CliError> {
        if self.0.is_json() {
            return Ok(());
        }
        self.0.line(&format!(
            "{}  hub, site server and agent on this machine, in {}\n",
            self.0.paint(Paint::Bold, "Consign"),
            root.display()
        ))
    }

    fn step(&self, word: &str, said: &str, seconds: f64) -> Result<(), CliError> {
        if self.0.is_json() {
            return Ok(());
        }
        let word = self.0.paint(Paint::Good, &format!("{word:<10}"));
        self.0.line(&format!("  {word} {said:<64} {:>9}", human::duration(seconds)))
    }
}

/// The demo from the first process to the last comparison.
struct Story<'a> {
    root: PathBuf,
    old: PathBuf,
    new: PathBuf,
    show: Show<'a>,
}

/// One version on its way.
struct Leg {
    publish_seconds: f64,
    ready_seconds: f64,
    install_seconds: f64,
    cost: Cost,
}

impl Story<'_> {
    fn tell(&self) -> Result<Figures, CliError> {
        let (source, dest) = (self.root.join("source"), self.root.join("installed"));
        tree::mirror(&self.old, &source)?;
        let started = Instant::now();
        let mut fleet = Fleet::start(&self.root)?;
        self.show.step("fleet", "hub, site server and agent run, all over TLS", started.elapsed().as_secs_f64())?;

        let asked = human::now();
        let id = PackageId(Uuid::now_v7());
        let first = self.bring(&mut fleet, id, &dest, asked, |fleet| {
            let name = PACKAGE.parse().map_err(|e| CliError::failed(format!("{e}")))?;
            let source = source.to_string_lossy().into_owned();
            let add = PackageAdd { id, name, source, open: true, platforms: vec!["linux".to_owned()], label: None };
            fleet.admin.post(PACKAGES_PATH, &add)
        })?;
        let first_same = self.compare(&source, &dest)?;

        tree::mirror(&self.new, &source)?;
        let asked = human::now();
        let second = self.bring(&mut fleet, id, &dest, asked, |fleet| {
            fleet.admin.post(&admin::path(PACKAGES_PATH, &[&id.to_string(), "refresh"]), &RefreshRequest::default())
        })?;
        let second_same = self.compare(&source, &dest)?;
        Ok(Figures {
            publish_seconds: first.publish_seconds,
            site_ready_seconds: first.ready_seconds,
            install_seconds: first.install_seconds,
            full_wire_bytes: first.cost.wire_bytes,
            update_publish_seconds: second.publish_seconds,
            update_site_ready_seconds: second.ready_seconds,
            update_install_seconds: second.install_seconds,
            update_wire_bytes: second.cost.wire_bytes,
            update_socket_bytes: second.cost.socket_bytes,
            verified: first_same && second_same,
        })
    }

    /// Publishes what `publish` asks for, and brings it to the agent.
    fn bring(
        &self,
        fleet: &mut Fleet,
        id: PackageId,
        dest: &Path,
        asked: Millis,
        publish: impl FnOnce(&Fleet) -> Result<PackageView, CliError>,
    ) -> Result<Leg, CliError> {
        publish(fleet)?;
        let ready = wait::until_ready(&fleet.admin, self.show.0, &[id], Duration::from_secs(READY_SECS_MAX));
        fleet.check()?;
        let view = ready?.pop().ok_or_else(|| CliError::failed("the hub forgot the package"))?;
        let current = view.versions.last().ok_or_else(|| CliError::failed("the package has no version although it is ready"))?;
        let read = view.last_refresh.as_ref().map_or(0, |refresh| refresh.files_read);
        let publish_seconds = seconds(asked, current.released);
        let word = if current.version == 1 { "publish" } else { "refresh" };
        let said = format!(
            "version {}: {} files, {}; {} read",
            current.version,
            current.files,
            human::size(current.bytes),
            human::count(read)
        );
        self.show.step(word, &said, publish_seconds)?;

        let reported = view.codebases.iter().map(|codebase| codebase.reported).max().unwrap_or(current.released);
        let ready_seconds = seconds(current.released, reported);
        self.show.step("replicate", "the site server has fetched and verified it", ready_seconds)?;

        let install_seconds = fleet.install(PACKAGE, dest)?;
        let cost = cost(fleet, id, current.version)?;
        let word = if current.version == 1 { "install" } else { "update" };
        let share = wait::share(cost.wire_bytes, current.bytes);
        let said = format!("{} over the wire for {} of files: {share}", human::size(cost.wire_bytes), human::size(current.bytes));
        self.show.step(word, &said, install_seconds)?;
        Ok(Leg { publish_seconds, ready_seconds, install_seconds, cost })
    }

    fn compare(&self, source: &Path, dest: &Path) -> Result<bool, CliError> {
        let started = Instant::now();
        let difference = tree::difference(source, dest)?;
        let said = match &difference {
            None => "the installed folder equals the source, byte for byte".to_owned(),
            Some(path) => format!("DIFFERS at {}", path.display()),
        };
        self.show.step("compare", &said, started.elapsed().as_secs_f64())?;
        Ok(difference.is_none())
    }
}

/// Returns what bringing `version` to the agent cost, as the agent reported it.
fn cost(fleet: &mut Fleet, id: PackageId, version: u32) -> Result<Cost, CliError> {
    let started = Instant::now();
    loop {
        let view: PackageView = fleet.admin.get(&admin::path(PACKAGES_PATH, &[&id.to_string()]))?;
        let done = view.installs.iter().map(|machine| &machine.install).find(|install| install.version == version);
        if let Some(cost) = done.filter(|install| install.state == InstallState::Installed).and_then(|install| install.cost) {
            return Ok(cost);
        }
        fleet.check()?;
        if started.elapsed() > Duration::from_secs(REPORT_SECS_MAX) {
            return Err(CliError::failed(format!(
                "the agent's report on version {version} did not reach the hub in {REPORT_SECS_MAX} s"
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of one demo")]
fn seconds(from: Millis, to: Millis) -> f64 {
    to.0.saturating_sub(from.0).max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_fields_are_the_contract() {
        let text = serde_json::to_string(&Figures::default()).unwrap();
        let keys: Vec<_> = text.split('"').skip(1).step_by(2).collect();
        assert_eq!(
            keys,
            [
                "publish_seconds",
                "site_ready_seconds",
                "install_seconds",
                "full_wire_bytes",
                "update_publish_seconds",
                "update_site_ready_seconds",
                "update_install_seconds",
                "update_wire_bytes",
                "update_socket_bytes",
                "verified"
            ]
        );
    }
}
