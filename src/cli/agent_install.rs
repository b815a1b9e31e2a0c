//! `consign agent install`: asks the agent that runs, or is the agent for as long as it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::Context;
use super::agent::{FOLDER_DEFAULT, runtime, state_word};
use super::error::CliError;
use super::human;
use super::output::{Output, Paint};
use super::parts;
use super::prefer::PreferWord;
use super::progress::Bar;
use crate::agent::control::{self, Ask, Reply};
use crate::agent::view::{InstalledView, PackageView, PatchesView, PlanView};
use crate::agent::{self, Agent, Care, InstallRequest};
use crate::policy::{Prefer, Terms};
use crate::protocol::report::InstallState;

/// Between two looks for whoever holds the folder but does not answer yet, or no more.
const TURN_WAIT: Duration = Duration::from_millis(50);
/// Replies that wait to be shown.
const REPLIES_MAX: usize = 8;

/// Installs.
#[derive(Debug, Args)]
pub struct Install {
    /// Name or id of the package
    pub package: String,
    /// Where to (default: where it is, else a folder of the package's name in the agent's folder)
    #[arg(long, value_name = "DIR")]
    pub dest: Option<PathBuf>,
    /// The agent's folder
    #[arg(long, value_name = "DIR", env = "CONSIGN_AGENT", default_value = FOLDER_DEFAULT)]
    pub agent_dir: PathBuf,
    /// Give up waiting after this many seconds; a running agent goes on
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub wait: u64,
    /// Only show what would travel, by kind; nothing is changed
    #[arg(long)]
    pub plan: bool,
    /// Never let more than this come over the wire, such as 20M; refused at once if that cannot be
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    pub max_bytes: Option<u64>,
    /// What to spare where there is a choice (default: what the agent runs with)
    #[arg(long, value_enum)]
    pub prefer: Option<PreferWord>,
    /// Never wait for patches that are being built
    #[arg(long, conflicts_with = "prefer")]
    pub urgent: bool,
}

impl Install {
    fn terms(&self) -> Terms {
        Terms { prefer: self.prefer.map(Into::into), urgent: self.urgent, max_bytes: self.max_bytes }
    }
}

/// Runs the command.
pub fn run(install: &Install, context: &Context) -> Result<(), CliError> {
    let dest = install.dest.as_deref().map(|dest| std::path::absolute(dest).map_err(|error| CliError::io("find", dest, &error)));
    let request =
        InstallRequest { package: install.package.clone(), dest: dest.transpose()?, plan: install.plan, terms: install.terms() };
    let runtime = runtime()?;
    let mut screen = Screen::new(&context.output);
    let ended = runtime.block_on(until_done(&install.agent_dir, &request, Duration::from_secs(install.wait), &mut screen));
    // What a gone install still does on other threads is taken up by the next one.
    runtime.shutdown_background();
    let late = screen.late();
    drop(screen);
    match ended? {
        Some(Reply::Installed(view)) => context.output.answer(&view, |output| show_installed(output, &view)),
        Some(Reply::Planned(view)) => context.output.answer(&view, |output| show_plan(output, &view)),
        Some(Reply::Refused(problem)) => Err(problem.into()),
        _ => Err(CliError::not_ready(format!("{} is not installed after {} s: {late}", install.package, install.wait))
            .hint("a running agent goes on; look with `consign agent status`")),
    }
}

/// Asks until the last reply came, from whoever is the agent; `None` if the time is over.
async fn until_done(
    dir: &Path,
    request: &InstallRequest,
    wait: Duration,
    screen: &mut Screen<'_>,
) -> Result<Option<Reply>, CliError> {
    let deadline = Instant::now() + wait;
    loop {
        if let Some(asking) = control::connect(dir, &Ask::Install(request.clone())).await? {
            match through_socket(asking, deadline, screen).await? {
                Heard::Last(reply) => return Ok(Some(*reply)),
                Heard::Late => return Ok(None),
                Heard::Gone => {}
            }
        } else {
            let started = if request.plan {
                // A plan neither follows nor reports.
                Agent::open(dir, Prefer::Time).map(Started::Opened)
            } else {
                agent::start(dir, Care::Asked, Prefer::Time).map(Started::Running)
            };
            match started {
                Ok(started) => {
                    let reply = in_this_process(started.agent(), request, deadline, screen).await;
                    if let Started::Running(running) = started {
                        running.stop().await;
                    }
                    return reply;
                }
                Err(agent::Error::Store(error @ consign_store::Error::Locked(_))) if Instant::now() >= deadline => {
                    return Err(error.into());
                }
                // Somebody is starting or ending.
                Err(agent::Error::Store(consign_store::Error::Locked(_))) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        sleep(TURN_WAIT).await;
    }
}

/// The agent of this process.
enum Started {
    Opened(Arc<Agent>),
    Running(agent::Running),
}

impl Started {
    const fn agent(&self) -> &Arc<Agent> {
        match self {
            Self::Opened(agent) => agent,
            Self::Running(running) => running.agent(),
        }
    }
}

enum Heard {
    Last(Box<Reply>),
    Late,
    Gone,
}

async fn through_socket(mut asking: control::Asking, deadline: Instant, screen: &mut Screen<'_>) -> Result<Heard, CliError> {
    loop {
        match timeout_at(deadline, asking.next()).await {
            Err(_) => return Ok(Heard::Late),
            Ok(reply) => match reply? {
                None => return Ok(Heard::Gone),
                Some(reply) if reply.is_last() => return Ok(Heard::Last(Box::new(reply))),
                Some(reply) => screen.show(reply),
            },
        }
    }
}

async fn in_this_process(
    agent: &Arc<Agent>,
    request: &InstallRequest,
    deadline: Instant,
    screen: &mut Screen<'_>,
) -> Result<Option<Reply>, CliError> {
    let (sender, mut replies) = mpsc::channel(REPLIES_MAX);
    let agent = Arc::clone(agent);
    let request = request.clone();
    let work = tokio::spawn(async move {
        let refused = agent.install(&request, &sender).await.err();
        if let Some(error) = refused {
            // The screen may be gone.
            let _ = sender.send(Reply::Refused(error.to_problem())).await;
        }
    });
    let mut last = None;
    while let Ok(Some(reply)) = timeout_at(deadline, replies.recv()).await {
        if reply.is_last() {
            last = Some(reply);
            break;
        }
        screen.show(reply);
    }
    work.abort();
    Ok(last)
}

/// What is shown while it takes its time.
struct Screen<'a> {
    output: &'a Output,
    bar: Option<Bar>,
    reason: String,
    state: InstallState,
}

impl<'a> Screen<'a> {
    fn new(output: &'a Output) -> Self {
        Self { output, bar: None, reason: String::new(), state: InstallState::Waiting }
    }

    fn show(&mut self, reply: Reply) {
        match reply {
            Reply::Progress(view) => self.progress(&view),
            Reply::Waiting { reason, .. } => self.waits(InstallState::Waiting, reason),
            _ => {}
        }
    }

    fn progress(&mut self, view: &PackageView) {
        if let Some(reason) = &view.reason {
            let changes = view.changes_when.as_ref().map(|when| format!("; changes when {when}")).unwrap_or_default();
            self.waits(view.state, format!("{reason}{changes}"));
            return;
        }
        self.state = view.state;
        self.reason.clear();
        let from = view.source.as_deref().unwrap_or("the nearest server");
        let word = match (view.state, view.progress) {
            (InstallState::Fetching, Some(progress)) if view.total_bytes > 0 => {
                format!("fetching, {} came", human::size(progress.wire_bytes))
            }
            (InstallState::Fetching, _) => format!("fetching from {from}"),
            (other, _) => state_word(other).to_owned(),
        };
        let output = self.output;
        self.bar.get_or_insert_with(|| Bar::start(output, &word)).show(&word, view.done_bytes, view.total_bytes);
    }

    fn waits(&mut self, state: InstallState, reason: String) {
        self.state = state;
        if self.reason == reason {
            return;
        }
        self.bar = None;
        if self.output.draws_progress() {
            self.output.note(&format!("{}: {reason}", state_word(state)));
        }
        self.reason = reason;
    }

    /// Says what it was waiting for last.
    fn late(&self) -> String {
        if self.reason.is_empty() { format!("it is {}", state_word(self.state)) } else { self.reason.clone() }
    }
}

fn show_installed(output: &Output, view: &InstalledView) -> Result<(), CliError> {
    let version = view
        .label
        .as_ref()
        .map_or_else(|| format!("version {}", view.version), |label| format!("{label} (version {})", view.version));
    let name = output.paint(Paint::Bold, view.name.as_str());
    let cost = &view.cost;
    if view.already {
        return output.line(&format!(
            "{name} {version} is installed in {} already; all {} are in place",
            view.dest,
            human::size(cost.total_bytes)
        ));
    }
    output.line(&format!("{} {name} {version} in {}", output.paint(Paint::Good, "installed"), view.dest))?;
    output.line(&format!(
        "  {}: {} kept, {} reused, {} patched, {} fetched; {} written",
        human::size(cost.total_bytes),
        human::size(cost.kept_bytes),
        human::size(cost.reused_bytes),
        human::size(cost.patched_bytes),
        human::size(cost.fetched_bytes),
        human::size(cost.written_bytes)
    ))?;
    let source = view.source.as_ref().map(|source| format!(" from {source}")).unwrap_or_default();
    output.line(&format!(
        "  {} over the wire{source} ({} metadata, {} content) in {}",
        human::size(cost.wire_bytes),
        human::size(cost.metadata_bytes),
        human::size(cost.content_bytes),
        human::millis(cost.millis)
    ))?;
    if view.saved_bytes > 0 {
        output.line(&format!("  {} saved against a full download", human::size(view.saved_bytes)))?;
    }
    for note in &view.notes {
        output.line(&format!("  {} {note}", output.paint(Paint::Busy, "note:")))?;
    }
    Ok(())
}

fn show_plan(output: &Output, view: &PlanView) -> Result<(), CliError> {
    output.line(&format!(
        "{} version {} in {}, from {}; nothing is changed by looking",
        output.paint(Paint::Bold, view.name.as_str()),
        view.version,
        view.dest,
        view.source
    ))?;
    parts::table(output, &view.parts)?;
    output.line(&parts::comparison(view.planned_wire_bytes, view.chunk_wire_bytes, view.full_wire_bytes))?;
    output.line(&format!("  patches: {}", patches_words(&view.patches)))?;
    let Some(max_bytes) = view.max_bytes else { return Ok(()) };
    let (max, over) = (human::size(max_bytes), view.planned_wire_bytes > max_bytes);
    let (word, paint) = if over { ("is over", Paint::Bad) } else { ("keeps", Paint::Good) };
    output.line(&format!("  {} the budget of {max}", output.paint(paint, word)))
}

fn patches_words(patches: &PatchesView) -> String {
    match patches {
        PatchesView::Ready { offered: 0, .. } => "built; none is smaller than its records".to_owned(),
        PatchesView::Ready { offered, taken } if offered == taken => format!("{} built, all taken", human::count(*offered)),
        PatchesView::Ready { offered, taken } => {
            format!("{taken} of {offered} taken; the others end later than records on this link")
        }
        PatchesView::Building { until, waits } => {
            let then = if *waits { "an install would wait for them" } else { "an install would not wait; --prefer bytes does" };
            format!("under construction until about {}, not counted here; {then}", human::time(*until))
        }
        PatchesView::None { reason } => format!("none: {reason}"),
    }
}
