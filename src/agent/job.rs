//! One package on this machine: its record, what it is doing, and the task that keeps it current.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify, watch};
use tracing::{info, warn};

use crate::agent::core::Agent;
use crate::agent::error::{Error, Result};
use crate::agent::folder::InstallFolder;
use crate::agent::install::{Aim, Outcome, attempt};
use crate::agent::record::Record;
use crate::agent::view::PackageView;
use crate::domain::{CodebaseState, Millis, PackageId};
use crate::net::Meter;
use crate::net::clock;
use crate::net::meter::Reading;
use crate::policy::back_off_millis;
use crate::protocol::fleet::VersionInfo;
use crate::protocol::report::InstallState;

/// What others see of a job.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) view: PackageView,
    /// How many attempts have ended.
    pub(super) rounds: u64,
    /// How many of them put something in place.
    pub(super) changes: u64,
}

/// What bringing the next version here costs, over all attempts.
#[derive(Debug, Default)]
pub(super) struct Effort {
    pub(super) meter: Arc<Meter>,
    /// Bytes of recipes and chunks.
    pub(super) content_bytes: u64,
    /// What came before: the lines that announced it, the question for its name.
    pub(super) early: Reading,
    /// When it was decided to install.
    pub(super) begun: Option<Instant>,
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
    seen: watch::Sender<Seen>,
    wake: Notify,
    early: std::sync::Mutex<Reading>,
    /// The next attempt looks at every file, also when the version is in place.
    verify: AtomicBool,
}

impl Job {
    pub(super) fn new(folder: InstallFolder, record: Record) -> Self {
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
        };
        Self {
            package: record.package,
            folder,
            record: Mutex::new(record),
            arrived: Arc::default(),
            seen: watch::Sender::new(Seen { view, rounds: 0, changes: 0 }),
            wake: Notify::new(),
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
        seen
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
            _ => self.show(|view| {
                if view.state == InstallState::Waiting {
                    view.reason = Some(format!("the codebase is {}", codebase.word()));
                }
            }),
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
            (view.reason, view.changes_when, view.blocked) = (None, None, None);
            match outcome {
                Ok(Outcome::Installed { .. } | Outcome::Current | Outcome::Planned(_)) => {
                    view.state = InstallState::Installed;
                    view.wanted = None;
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
    let mut effort = Effort::default();
    let mut failures = 0;
    if !look_at_once {
        job.wake.notified().await;
    }
    loop {
        let aim = if job.verify.swap(false, Ordering::Relaxed) { Aim::Verified } else { Aim::Current };
        job.take_early(&mut effort);
        let Ok(turn) = agent.turns.acquire().await else { return };
        let outcome = attempt(&agent, &job, &mut effort, aim).await;
        drop(turn);
        let wait = match &outcome {
            Ok(Outcome::Installed { .. } | Outcome::Current | Outcome::Planned(_)) => {
                effort = Effort::default();
                failures = 0;
                None
            }
            // A wait is not a failure, but an event may be lost: look again later and later.
            Ok(Outcome::Waiting { .. }) | Err(_) => {
                failures += 1;
                Some(Duration::from_millis(back_off_millis(failures, agent.seed())))
            }
        };
        let next_attempt = wait.map(|wait| clock::now().plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)));
        job.settle(&*job.record.lock().await, &outcome, next_attempt);
        job.log(&outcome);
        agent.report_due();
        let woken = tokio::select! {
            () = job.wake.notified() => true,
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => false,
        };
        if woken {
            failures = 0;
        }
    }
}

/// Says what stands against installing the package of `record` into `dest` now.
pub(super) fn check_dest(record: &Record, dest: &std::path::Path) -> Result<()> {
    if record.dest == dest || (record.installed.is_none() && record.switching.is_none()) {
        return Ok(());
    }
    Err(Error::Elsewhere { package: record.name.clone(), state: "is installed", dest: record.dest.clone() })
}
