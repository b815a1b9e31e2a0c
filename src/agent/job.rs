//! One package on this machine: its record, what it is doing, and the task that keeps it current.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use consign_store::restore::Tally;
use tokio::sync::{Mutex, Notify, watch};
use tracing::{info, warn};

use crate::agent::account::{Account, Spent};
use crate::agent::ahead::{Ahead, rest};
use crate::agent::core::Agent;
use crate::agent::error::{Error, OverBudget, Result};
use crate::agent::folder::InstallFolder;
use crate::agent::install::{Aim, Outcome, attempt};
use crate::agent::record::Record;
use crate::agent::view::{PackageView, ProgressView};
use crate::domain::{CodebaseState, Millis, Name, PackageId};
use crate::net::clock;
use crate::net::meter::Reading;
use crate::net::{Meter, blocking};
use crate::policy::{Terms, back_off_millis};
use crate::protocol::fleet::VersionInfo;
use crate::protocol::report::InstallState;

/// Between two looks at what has come.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// What others see of a job.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) view: PackageView,
    /// How many attempts have begun.
    pub(super) begun: u64,
    /// How many of them have ended.
    pub(super) rounds: u64,
    /// How many of them put something in place.
    pub(super) changes: u64,
}

/// What bringing the next version here costs, over all attempts.
#[derive(Debug, Default)]
pub(super) struct Effort {
    pub(super) meter: Arc<Meter>,
    /// Bytes of patches, recipes and chunks.
    pub(super) content_bytes: u64,
    /// What earlier runs of this program took for it.
    pub(super) earlier: Spent,
    /// What content of a full download would cost; 0 before a server said it.
    pub(super) full_wire_bytes: u64,
    /// A version that may not be had on these terms.
    refused: Option<(String, Terms, OverBudget)>,
    /// What came before: the lines that announced it, the question for its name.
    pub(super) early: Reading,
    /// When it was decided to install.
    pub(super) begun: Option<Instant>,
    /// What was begun when a newer version was about to be ready.
    pub(super) ahead: Option<Ahead>,
}

impl Effort {
    /// All that has come.
    pub(super) fn spent(&self) -> Spent {
        let reading = self.meter.read();
        Spent {
            wire_bytes: self.earlier.wire_bytes + self.early.wire_bytes + reading.wire_bytes,
            socket_bytes: self.earlier.socket_bytes + self.early.socket_bytes + reading.socket_bytes,
            content_bytes: self.earlier.content_bytes + self.content_bytes,
        }
    }

    /// Notes that the version under way may not be had on `terms`.
    fn refuse(&mut self, wanted: Option<&VersionInfo>, terms: Terms, over: &OverBudget) {
        self.refused = wanted.map(|version| (version.manifest.clone(), terms, over.clone()));
    }

    /// Why `version` may not be had on `terms`, where that is known: asking again would only cost more.
    pub(super) fn refused_before(&self, version: &VersionInfo, terms: Terms) -> Option<OverBudget> {
        let known = self.refused.as_ref().filter(|(manifest, on, _)| *manifest == version.manifest && *on == terms);
        known.map(|(_, _, over)| over.clone())
    }

    /// All body bytes that have come.
    pub(super) fn spent_wire(&self) -> u64 {
        self.spent().wire_bytes
    }
}

/// What an attempt has done so far, for whoever looks.
#[derive(Debug, Default)]
struct Live {
    meter: Arc<Meter>,
    wire_bytes_before: u64,
    reused_bytes: u64,
    patched_bytes: u64,
}

/// One package.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) package: PackageId,
    pub(super) folder: InstallFolder,
    /// Held by whoever works on the package.
    pub(super) record: Mutex<Record>,
    /// Raw bytes that have arrived.
    pub(super) arrived: Arc<AtomicU64>,
    pub(super) account: Account,
    live: std::sync::Mutex<Live>,
    seen: watch::Sender<Seen>,
    pub(super) wake: Notify,
    /// A newer version is about to be ready.
    pub(super) coming: Notify,
    early: std::sync::Mutex<Reading>,
    /// The next attempt looks at every file, also when the version is in place.
    verify: AtomicBool,
}

impl Job {
    pub(super) fn new(folder: InstallFolder, record: Record) -> Self {
        let account = Account::open(folder.clone(), record.installed.as_ref().map(|installed| installed.version));
        let view = PackageView {
            package: record.package,
            name: record.name.clone(),
            dest: record.dest.display().to_string(),
            state: if record.installed.is_some() { InstallState::Installed } else { InstallState::Waiting },
            installed: record.installed.clone(),
            wanted: record.switching.as_ref().map(|switching| switching.version.clone()),
            done_bytes: 0,
            total_bytes: 0,
            source: None,
            reason: None,
            changes_when: None,
            since: record.since,
            next_attempt: None,
            cost: record.cost,
            blocked: None,
            progress: None,
            max_bytes: account.terms().max_bytes,
            notes: record.notes.clone(),
            totals: record.totals,
        };
        let stopped = account.stopped();
        let view = PackageView {
            state: if stopped.is_some() { InstallState::Failed } else { view.state },
            blocked: stopped.as_ref().map(|_| "over_budget".to_owned()),
            reason: stopped,
            ..view
        };
        Self {
            package: record.package,
            folder,
            record: Mutex::new(record),
            arrived: Arc::default(),
            account,
            live: std::sync::Mutex::default(),
            seen: watch::Sender::new(Seen { view, begun: 0, rounds: 0, changes: 0 }),
            wake: Notify::new(),
            coming: Notify::new(),
            early: std::sync::Mutex::default(),
            verify: AtomicBool::new(false),
        }
    }

    /// Says whether no version is in place yet, or one may be half in place.
    pub(super) fn is_unfinished(&self) -> bool {
        let view = &self.seen.borrow().view;
        view.installed.is_none() || view.wanted.is_some()
    }

    /// What it is doing now, with the bytes as they are at this moment.
    pub(super) fn seen(&self) -> Seen {
        let mut seen = self.seen.borrow().clone();
        seen.view.done_bytes = self.arrived.load(Ordering::Relaxed).min(seen.view.total_bytes);
        seen.view.max_bytes = self.account.terms().max_bytes;
        if matches!(seen.view.state, InstallState::Fetching | InstallState::Switching) {
            let live = self.live();
            seen.view.progress = Some(ProgressView {
                wire_bytes: live.wire_bytes_before + live.meter.read().wire_bytes,
                reused_bytes: live.reused_bytes,
                patched_bytes: live.patched_bytes,
                written_bytes: live.reused_bytes + live.patched_bytes + seen.view.done_bytes,
            });
        }
        seen
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the meter end what would go beyond the budget as it is now: at the begin of an attempt, and when another one was told meanwhile.
    pub(super) fn limit(&self) {
        // Read under the lock, so that whoever comes last sets what was told last.
        let live = self.live();
        let terms = self.account.terms();
        live.meter.limit_wire(terms.max_bytes.map_or(u64::MAX, |max| max.saturating_sub(live.wire_bytes_before)));
    }

    /// The package's name.
    pub(super) fn name(&self) -> Name {
        self.seen.borrow().view.name.clone()
    }

    /// Shows what is not fetched as records.
    pub(super) fn show_taken(&self, tally: &Tally) {
        let mut live = self.live();
        live.reused_bytes = tally.seed_bytes + tally.resumed_bytes;
        live.patched_bytes = tally.patch_bytes;
    }

    /// Shows that a wait for patches is over.
    pub(super) fn show_waited(&self) {
        self.show(|view| (view.reason, view.changes_when, view.next_attempt) = (None, None, None));
    }

    /// Tells people of something that went otherwise than planned.
    pub(super) fn note(&self, text: &str) {
        self.account.note(text);
        let notes = self.account.notes();
        self.show(|view| view.notes = notes);
    }

    /// Learns of each change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Makes the job look at once.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Makes the job look at once, and at every file.
    pub(super) fn verify(&self) {
        self.verify.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Takes an event of `line_bytes` about the package; what is known already wakes nobody.
    pub(super) fn announced(&self, version: u32, codebase: &CodebaseState, line_bytes: u64) {
        let known = {
            let view = &self.seen.borrow().view;
            let current = view.installed.as_ref().is_some_and(|installed| installed.version >= version);
            current && view.state == InstallState::Installed
        };
        if known {
            return;
        }
        self.count(Reading { wire_bytes: line_bytes, socket_bytes: line_bytes });
        match codebase {
            CodebaseState::Ready | CodebaseState::Unknown => self.wake(),
            // Until the content is ready a look would only bring what the event says.
            _ => {
                if *codebase == CodebaseState::Verifying {
                    self.coming.notify_one();
                }
                self.show(|view| {
                    if view.state == InstallState::Waiting {
                        view.reason = Some(format!("the codebase is {}", codebase.word()));
                    }
                });
            }
        }
    }

    /// Adds to what the next version costs.
    pub(super) fn count(&self, bytes: Reading) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        early.wire_bytes += bytes.wire_bytes;
        early.socket_bytes += bytes.socket_bytes;
    }

    fn take_early(&self, effort: &mut Effort) {
        let early = std::mem::take(&mut *self.early.lock().unwrap_or_else(PoisonError::into_inner));
        effort.early.wire_bytes += early.wire_bytes;
        effort.early.socket_bytes += early.socket_bytes;
    }

    /// Changes the view; `since` follows the state.
    pub(super) fn show(&self, change: impl FnOnce(&mut PackageView)) {
        self.seen.send_modify(|seen| {
            let before = seen.view.state;
            change(&mut seen.view);
            if seen.view.state != before {
                seen.view.since = clock::now();
            }
        });
    }

    /// Shows that content of `version` begins to arrive.
    pub(super) fn show_fetching(&self, version: &VersionInfo, source: &str) {
        self.show(|view| {
            view.state = InstallState::Fetching;
            if view.wanted.as_ref() != Some(version) {
                // How much must arrive of this one is not known yet.
                self.arrived.store(0, Ordering::Relaxed);
                view.total_bytes = 0;
            }
            view.wanted = Some(version.clone());
            view.source = Some(source.to_owned());
            (view.reason, view.changes_when, view.next_attempt, view.blocked) = (None, None, None, None);
        });
    }

    /// Shows how much must arrive.
    pub(super) fn show_total(&self, total_bytes: u64) {
        self.arrived.store(0, Ordering::Relaxed);
        self.show(|view| view.total_bytes = total_bytes);
    }

    /// Shows how an attempt ended and when the next begins.
    fn settle(&self, record: &Record, outcome: &Result<Outcome>, next_attempt: Option<Millis>) {
        self.seen.send_modify(|seen| {
            let view = &mut seen.view;
            let before = view.state;
            view.next_attempt = next_attempt;
            view.installed.clone_from(&record.installed);
            view.cost = record.cost;
            view.totals = record.totals;
            (view.reason, view.changes_when, view.blocked) = (None, None, None);
            match outcome {
                Ok(Outcome::Installed { .. } | Outcome::Current | Outcome::Planned(_)) => {
                    view.state = InstallState::Installed;
                    view.wanted = None;
                    view.notes.clone_from(&record.notes);
                }
                Ok(Outcome::Waiting { version, reason, changes_when }) => {
                    view.state = InstallState::Waiting;
                    view.wanted.clone_from(version);
                    view.reason = Some(reason.clone());
                    view.changes_when = Some(changes_when.clone());
                }
                Err(error) => {
                    view.state = InstallState::Failed;
                    view.reason = Some(error.to_string());
                    view.changes_when = error.next_step();
                    view.blocked = error.is_final().then(|| error.to_problem().code);
                }
            }
            let changed = matches!(outcome, Ok(Outcome::Installed { already: false }));
            if view.state != before || changed {
                view.since = clock::now();
            }
            seen.changes += u64::from(changed);
            seen.rounds += 1;
        });
    }

    fn log(&self, outcome: &Result<Outcome>) {
        let view = &self.seen.borrow().view;
        let name = &view.name;
        match outcome {
            Ok(Outcome::Installed { already: false }) => {
                let version = view.installed.as_ref().map_or(0, |version| version.version);
                info!(package = %name, version, "installed");
            }
            Ok(Outcome::Waiting { reason, .. }) => info!(package = %name, reason, "waiting"),
            Ok(_) => {}
            Err(error) => warn!(package = %name, %error, "failed"),
        }
    }
}

/// Keeps the package of `job` current until the task ends: an attempt, then a wait for an event, a request, or the back-off's end.
pub(super) async fn keep_current(agent: Arc<Agent>, job: Arc<Job>, look_at_once: bool) {
    let mut effort = Effort { earlier: job.account.spent(), ..Effort::default() };
    let mut failures = 0;
    if !look_at_once {
        rest(&agent, &job, &mut effort, None).await;
    }
    loop {
        job.seen.send_modify(|seen| seen.begun += 1);
        let aim = if job.verify.swap(false, Ordering::Relaxed) { Aim::Verified } else { Aim::Current };
        job.take_early(&mut effort);
        let Ok(turn) = agent.turns.acquire().await else { return };
        let outcome = counting(&agent, &job, &mut effort, aim).await;
        drop(turn);
        let wait = match &outcome {
            Ok(Outcome::Installed { .. } | Outcome::Current | Outcome::Planned(_)) => {
                effort = Effort::default();
                job.account.close(job.record.lock().await.installed.as_ref().map(|installed| installed.version));
                failures = 0;
                None
            }
            Err(error) if error.waits_for_a_person() => None,
            // A wait is not a failure, but an event may be lost: look again later and later.
            Ok(Outcome::Waiting { .. }) | Err(_) => {
                failures += 1;
                Some(Duration::from_millis(back_off_millis(failures, agent.seed())))
            }
        };
        let next_attempt = wait.map(|wait| clock::now().plus(wait));
        job.settle(&*job.record.lock().await, &outcome, next_attempt);
        job.log(&outcome);
        agent.report_due();
        if rest(&agent, &job, &mut effort, wait).await {
            failures = 0;
        }
    }
}

/// Makes an attempt, and keeps count of what it costs meanwhile and after; another one at once when it stopped at a budget that was changed
/// meanwhile.
async fn counting(agent: &Arc<Agent>, job: &Arc<Job>, effort: &mut Effort, aim: Aim) -> Result<Outcome> {
    loop {
        let terms = job.account.terms();
        let outcome = counted(agent, job, effort, terms, aim).await;
        let stopped = matches!(outcome, Err(Error::Budget(_) | Error::Net(crate::net::Error::OverBudget { .. })));
        let over = if let Err(Error::Budget(over)) = &outcome { Some(over) } else { None };
        if let Some(over) = over {
            effort.refuse(job.seen.borrow().view.wanted.as_ref(), terms, over);
        }
        let (reason, account) = (over.map(ToString::to_string), Arc::clone(job));
        match blocking::run("noting why an install stopped", move || account.account.stop(terms, reason)).await {
            Ok(Ok(false)) if stopped => {}
            Ok(Err(error)) => {
                warn!(package = %job.name(), %error, "why it stopped cannot be noted");
                return outcome;
            }
            _ => return outcome,
        }
    }
}

async fn counted(agent: &Arc<Agent>, job: &Arc<Job>, effort: &mut Effort, terms: Terms, aim: Aim) -> Result<Outcome> {
    let (before, meter) = (effort.spent(), Arc::clone(&effort.meter));
    let read = meter.read();
    let wire_bytes_before = before.wire_bytes - read.wire_bytes;
    *job.live() = Live { meter: Arc::clone(&meter), wire_bytes_before, ..Live::default() };
    job.limit();
    let outcome = {
        let working = attempt(agent, job, effort, terms, aim);
        tokio::pin!(working);
        loop {
            tokio::select! {
                outcome = &mut working => break outcome,
                () = tokio::time::sleep(COUNT_EVERY) => {}
            }
            let more = meter.read() - read;
            // Most of what comes is content; which part is known at the end.
            let spent = Spent {
                wire_bytes: before.wire_bytes + more.wire_bytes,
                socket_bytes: before.socket_bytes + more.socket_bytes,
                content_bytes: before.content_bytes + more.wire_bytes,
            };
            keep_count(job, spent, false).await;
        }
    };
    if !matches!(outcome, Ok(Outcome::Installed { .. } | Outcome::Current)) {
        keep_count(job, effort.spent(), true).await;
    }
    outcome
}

async fn keep_count(job: &Arc<Job>, spent: Spent, all: bool) {
    if !job.account.is_due(spent, all) {
        return;
    }
    let counted = Arc::clone(job);
    let written = blocking::run("keeping count of bytes", move || counted.account.count(spent)).await;
    if let Ok(Err(error)) = written {
        warn!(package = %job.name(), %error, "what has come cannot be noted");
    }
}

/// Says what stands against installing the package of `record` into `dest` now.
pub(super) fn check_dest(record: &Record, dest: &std::path::Path) -> Result<()> {
    if record.dest == dest || (record.installed.is_none() && record.switching.is_none()) {
        return Ok(());
    }
    Err(Error::Elsewhere { package: record.name.clone(), state: "is installed", dest: record.dest.clone() })
}
