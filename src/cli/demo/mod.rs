//! `consign demo`: the main job from end to end on this machine.

mod fleet;
mod stop;
pub mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use consign_store::fsx;
use serde::Serialize;
use uuid::Uuid;

use self::fleet::Fleet;
use self::stop::Stop;
use super::error::CliError;
use super::output::{Cell, Output, Paint};
use super::progress::Bar;
use super::wait::{Verdict, judge};
use super::{Context, admin, human, pair, wait};
use crate::domain::{Millis, PackageId};
use crate::protocol::admin::{PACKAGES_PATH, PackageAdd, PackageView, RefreshRequest};
use crate::protocol::report::{Cost, InstallState};

/// Longest wait for one step, seconds.
const STEP_SECS_MAX: u64 = 1_800;
/// Pause between two looks, milliseconds.
const LOOK_MILLIS: u64 = 5;
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
    let told = tell(demo, folder.path(), output);
    if !demo.keep {
        remove(folder.path(), output);
    }
    told
}

/// Tells the story in `root`; its processes have been told to end when it returns.
fn tell(demo: &Demo, root: &Path, output: &Output) -> Result<(), CliError> {
    let stop = Stop::listen()?;
    let show = Show(output);
    show.title(root)?;
    let (old, new) = versions(demo, root, &show)?;
    let story = Story { root: root.to_path_buf(), old, new, show };
    let figures = story.tell(&stop)?;
    output.answer(&figures, |output| table(output, &figures))?;
    if demo.keep && !output.is_json() {
        output.line(&format!("\nkept: {}", root.display()))?;
    }
    if figures.verified { Ok(()) } else { Err(CliError::failed("the installed folder differs from the source").code("differs")) }
}

/// Removes the demo's folder.
fn remove(root: &Path, output: &Output) {
    if let Err(e) = fsx::remove_folder(root) {
        output.warning(&format!("{e}; remove it by hand"));
    }
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
    let said = format!("made one to play with: {}, {}, in two versions", human::things(files, "file"), human::size(bytes));
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

    fn arrival(&self, word: &str, cost: &Cost, seconds: f64) -> Result<(), CliError> {
        let (wire, total) = (human::size(cost.wire_bytes), human::size(cost.total_bytes));
        let share = wait::share(cost.wire_bytes, cost.total_bytes);
        self.step(word, &format!("{wire} over the wire for {total} of files: {share}"), seconds)
    }
}

/// The demo from the first process to the last comparison.
struct Story<'a> {
    root: PathBuf,
    old: PathBuf,
    new: PathBuf,
    show: Show<'a>,
}

/// One version on its way to the site.
struct Leg {
    version: u32,
    publish_seconds: f64,
    ready_seconds: f64,
    /// When it was ready there.
    ready: Millis,
}

impl Story<'_> {
    fn tell(&self, stop: &Stop) -> Result<Figures, CliError> {
        tree::mirror(&self.old, &self.root.join("source"))?;
        let started = Instant::now();
        let mut fleet = Fleet::start(&self.root, stop)?;
        self.show.step("fleet", "hub, site server and agent run, all over TLS", started.elapsed().as_secs_f64())?;
        let told = self.tell_of(&mut fleet);
        if told.is_err() && stop.check().is_ok() {
            self.show.0.note(&fleet.log_tails());
        }
        told
    }

    fn tell_of(&self, fleet: &mut Fleet) -> Result<Figures, CliError> {
        let (source, dest) = (self.root.join("source"), self.root.join("installed"));
        let id = PackageId(Uuid::now_v7());
        let asked = human::now();
        let name = PACKAGE.parse().map_err(|e| CliError::failed(format!("{e}")))?;
        let (from, platforms) = (source.to_string_lossy().into_owned(), vec!["linux".to_owned()]);
        let add = PackageAdd { id, name, source: from, open: true, platforms, label: None };
        let _: PackageView = fleet.admin.post(PACKAGES_PATH, &add)?;
        let ready = self.publish(fleet, id, asked)?;
        let install_seconds = fleet.install(PACKAGE, &dest)?;
        let full = report(fleet, id, ready.version)?.1;
        self.show.arrival("install", &full, install_seconds)?;
        let first_same = self.compare(&source, &dest)?;

        tree::mirror(&self.new, &source)?;
        let asked = human::now();
        let path = admin::path(PACKAGES_PATH, &[&id.to_string(), "refresh"]);
        let _: PackageView = fleet.admin.post(&path, &RefreshRequest::default())?;
        let next = self.publish(fleet, id, asked)?;
        // Nobody asks the agent: the event that the site server is ready makes it update.
        let (update_install_seconds, update) = if next.version == ready.version {
            (0.0, Cost { total_bytes: full.total_bytes, ..Cost::default() })
        } else {
            let (installed, cost) = report(fleet, id, next.version)?;
            (seconds(next.ready, installed).max(millis(cost.millis)), cost)
        };
        self.show.arrival("update", &update, update_install_seconds)?;
        let second_same = self.compare(&source, &dest)?;
        Ok(Figures {
            publish_seconds: ready.publish_seconds,
            site_ready_seconds: ready.ready_seconds,
            install_seconds,
            full_wire_bytes: full.wire_bytes,
            update_publish_seconds: next.publish_seconds,
            update_site_ready_seconds: next.ready_seconds,
            update_install_seconds,
            update_wire_bytes: update.wire_bytes,
            update_socket_bytes: update.socket_bytes,
            verified: first_same && second_same,
        })
    }

    /// Waits until what was asked for at `asked` is released and ready at the site.
    fn publish(&self, fleet: &mut Fleet, id: PackageId, asked: Millis) -> Result<Leg, CliError> {
        let view = self.until_ready(fleet, id)?;
        let current = view.versions.last().ok_or_else(|| CliError::failed("the package has no version although it is ready"))?;
        let last = view.last_refresh.as_ref();
        let unchanged = last.is_some_and(|refresh| refresh.released.is_none());
        let word = if current.version == 1 { "publish" } else { "refresh" };
        let read = human::things(last.map_or(0, |refresh| refresh.files_read), "file");
        if unchanged {
            let publish_seconds = last.map_or(0.0, |refresh| seconds(asked, refresh.ended));
            self.show.step(word, &format!("{read} read: nothing changed"), publish_seconds)?;
            return Ok(Leg { version: current.version, publish_seconds, ready_seconds: 0.0, ready: asked });
        }
        let publish_seconds = seconds(asked, current.released);
        let said = format!(
            "version {}: {} of {} read, {}",
            current.version,
            read,
            human::count(current.files),
            human::size(current.bytes)
        );
        self.show.step(word, &said, publish_seconds)?;
        let ready = view.codebases.iter().map(|codebase| codebase.reported).max().unwrap_or(current.released);
        let ready_seconds = seconds(current.released, ready);
        self.show.step("replicate", "the site server has fetched and verified it", ready_seconds)?;
        Ok(Leg { version: current.version, publish_seconds, ready_seconds, ready })
    }

    fn until_ready(&self, fleet: &mut Fleet, id: PackageId) -> Result<PackageView, CliError> {
        let started = Instant::now();
        let bar = Bar::start(self.show.0, "queued");
        loop {
            let view: PackageView = fleet.admin.get(&admin::path(PACKAGES_PATH, &[&id.to_string()]))?;
            match judge(&view) {
                Verdict::Ready => return Ok(view),
                Verdict::Failed(reason) => return Err(CliError::failed(format!("the refresh failed: {reason}"))),
                Verdict::Pending { why, done_bytes, total_bytes } => {
                    bar.show(&why, done_bytes, total_bytes);
                    late(fleet, started, &why)?;
                }
            }
        }
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

/// Returns when `version` was in place at the agent, and what that cost, as the agent reported it.
fn report(fleet: &mut Fleet, id: PackageId, version: u32) -> Result<(Millis, Cost), CliError> {
    let started = Instant::now();
    loop {
        let view: PackageView = fleet.admin.get(&admin::path(PACKAGES_PATH, &[&id.to_string()]))?;
        let seen = view.installs.iter().map(|machine| &machine.install).find(|install| install.version == version);
        if let Some((install, cost)) = seen.and_then(|install| Some((install, install.cost?)))
            && install.state == InstallState::Installed
        {
            return Ok((install.since, cost));
        }
        let why = seen.and_then(|install| install.reason.clone());
        late(fleet, started, &why.unwrap_or_else(|| format!("the agent has not reported version {version} yet")))?;
    }
}

/// Pauses between two looks; fails when it has taken too long, a process ended, or the demo was asked to stop.
fn late(fleet: &mut Fleet, started: Instant, why: &str) -> Result<(), CliError> {
    fleet.check()?;
    if started.elapsed() > Duration::from_secs(STEP_SECS_MAX) {
        return Err(CliError::not_ready(format!("waited {STEP_SECS_MAX} s: {why}")));
    }
    std::thread::sleep(Duration::from_millis(LOOK_MILLIS));
    Ok(())
}

/// Ends the story for people: the two ways side by side.
fn table(output: &Output, figures: &Figures) -> Result<(), CliError> {
    let row = |what: &str, publish: f64, ready: f64, install: f64, wire: u64| {
        let times = [publish, ready, install].map(|seconds| Cell::number(human::duration(seconds)));
        [vec![Cell::painted(what, Paint::Bold)], times.to_vec(), vec![Cell::number(human::size(wire))]].concat()
    };
    output.line("")?;
    let full = row("full", figures.publish_seconds, figures.site_ready_seconds, figures.install_seconds, figures.full_wire_bytes);
    let (publish, ready) = (figures.update_publish_seconds, figures.update_site_ready_seconds);
    let update = row("update", publish, ready, figures.update_install_seconds, figures.update_wire_bytes);
    output.table(2, &["", "PUBLISH", "SITE READY", "INSTALL", "OVER THE WIRE"], vec![full, update])?;
    let share = wait::share(figures.update_wire_bytes, figures.full_wire_bytes);
    output.line(&format!("\n  The update sent {share} of what the full install sent; every byte was verified on the way."))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of one demo")]
fn millis(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

fn seconds(from: Millis, to: Millis) -> f64 {
    millis(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
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
