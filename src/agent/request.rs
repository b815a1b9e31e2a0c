//! Installing by hand: find the package, give it a job, and tell how the job fares.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Sender;

use crate::agent::control::Reply;
use crate::agent::core::Agent;
use crate::agent::error::{Error, Result};
use crate::agent::install::{Aim, Outcome, attempt};
use crate::agent::job::{Effort, Job};
use crate::agent::record::Record;
use crate::agent::view::{InstalledView, PackageView};
use crate::domain::{Name, PackageId};
use crate::net::clock;
use crate::net::meter::Reading;
use crate::net::{Meter, blocking};
use crate::policy::{Terms, back_off_millis};
use crate::protocol::fleet::{PACKAGES_PATH, Resolution};
use crate::protocol::problem::Problem;
use crate::protocol::report::{Cost, InstallState};

/// How often progress is told, milliseconds.
const TELL_MILLIS: u64 = 200;
/// A right that was just given needs a moment to reach the site: a package that no server knows is asked for this often before it is absent.
const ABSENT_ASKS: u32 = 3;
/// Between these, milliseconds.
const ABSENT_WAIT_MILLIS: u64 = 700;
/// What stands for itself in a part of a URL path (RFC 3986, unreserved).
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRequest {
    /// Name or id of the package.
    pub package: String,
    /// Where to, absolute; where it is or belongs if none.
    pub dest: Option<PathBuf>,
    /// Only tell what would have to be fetched.
    #[serde(default)]
    pub plan: bool,
    /// What to spare, and what it may cost.
    #[serde(default)]
    pub terms: Terms,
}

impl Agent {
    /// Installs the current version of a package, or updates to it, and verifies it; tells its progress to `replies` and ends when it is in
    /// place. Gives up when nobody listens to `replies` any more; the job goes on.
    ///
    /// # Errors
    /// What only a person can change: see [`Error::is_final`]. Everything else is waited for.
    pub async fn install(self: &Arc<Self>, request: &InstallRequest, replies: &Sender<Reply>) -> Result<()> {
        let dest = request.dest.as_deref();
        if let Some(dest) = dest.filter(|dest| !dest.is_absolute() || dest.to_str().is_none()) {
            let why = "it must be an absolute path in UTF-8";
            return Err(Error::Destination { dest: dest.to_path_buf(), why });
        }
        let known = self.find_job(&request.package);
        let (package, name, early) = match &known {
            Some(job) => (job.package, job.seen().view.name, Reading::default()),
            None => match self.locate(&request.package, replies).await? {
                Some(located) => located,
                None => return Ok(()),
            },
        };
        if request.plan {
            return self.plan(known, package, name, request, replies).await;
        }
        let (agent, wanted, terms) = (Arc::clone(self), request.dest.clone(), request.terms);
        let job = blocking::run("recording a wish", move || agent.want(package, &name, wanted.as_deref(), terms)).await??;
        job.count(early);
        self.watch(&job, replies).await
    }

    /// Asks the servers for a package until one knows it; `None` when nobody waits for it any more.
    async fn locate(&self, package: &str, replies: &Sender<Reply>) -> Result<Option<(PackageId, Name, Reading)>> {
        let meter = Arc::new(Meter::default());
        let path = format!("{PACKAGES_PATH}/{}", utf8_percent_encode(package, PATH_PART));
        let mut link = self.watch_link();
        let (mut failures, mut absent) = (0, 0);
        loop {
            link.mark_unchanged();
            let mut reasons = Vec::new();
            let mut all_absent = true;
            for server in self.servers() {
                let client = self.member.client(&server, Arc::clone(&meter))?;
                match client.get_json::<Resolution>(&path).await {
                    Ok(found) => return Ok(Some((found.package, found.name, meter.read()))),
                    Err(error) => {
                        all_absent &= error.problem().is_some_and(|problem| problem.code == "not_found");
                        reasons.push(error.to_string());
                    }
                }
            }
            let wait = if all_absent && !reasons.is_empty() {
                absent += 1;
                if absent >= ABSENT_ASKS {
                    return Err(Error::Absent { package: package.to_owned() });
                }
                ABSENT_WAIT_MILLIS
            } else {
                failures += 1;
                back_off_millis(failures, self.seed())
            };
            let next_attempt = clock::now().plus(Duration::from_millis(wait));
            let waiting = Reply::Waiting { reason: Error::Sources(reasons).to_string(), next_attempt };
            if replies.send(waiting).await.is_err() {
                return Ok(None);
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                // A connection that comes up is as good as the wait's end.
                _ = link.wait_for(|link| link.connection.connected), if !link.borrow().connection.connected => {}
                () = replies.closed() => return Ok(None),
            }
        }
    }

    /// Tells how `job` fares until its version is in place.
    async fn watch(self: &Arc<Self>, job: &Arc<Job>, replies: &Sender<Reply>) -> Result<()> {
        let mut changes = job.subscribe();
        let before = changes.borrow_and_update().clone();
        let mut rounds = before.rounds;
        job.verify();
        self.start_job(job, true);
        let mut tell = tokio::time::interval(Duration::from_millis(TELL_MILLIS));
        let mut shown: Option<PackageView> = None;
        loop {
            tokio::select! {
                told = changes.changed() => if told.is_err() { return Ok(()) },
                _ = tell.tick() => {}
                () = replies.closed() => return Ok(()),
            }
            let seen = job.seen();
            if seen.rounds != rounds {
                rounds = seen.rounds;
                if let Some(installed) = installed(&seen.view, seen.changes == before.changes) {
                    // Whether or not it is heard, it is done.
                    let _ = replies.send(Reply::Installed(Box::new(installed))).await;
                    return Ok(());
                }
                // An attempt that had begun before it was asked may have been refused on other terms.
                if let Some(code) = seen.view.blocked.as_ref().filter(|_| rounds > before.begun) {
                    let problem = Problem::new(409, code, seen.view.reason.unwrap_or_default());
                    return Err(Error::Refused(match seen.view.changes_when {
                        Some(step) => problem.hint(step),
                        None => problem,
                    }));
                }
            }
            if shown.as_ref() != Some(&seen.view) {
                if replies.send(Reply::Progress(Box::new(seen.view.clone()))).await.is_err() {
                    return Ok(());
                }
                shown = Some(seen.view);
            }
        }
    }

    async fn plan(
        &self,
        known: Option<Arc<Job>>,
        package: PackageId,
        name: Name,
        request: &InstallRequest,
        replies: &Sender<Reply>,
    ) -> Result<()> {
        // A package that is nowhere yet may be planned for anywhere.
        let settled = known.filter(|job| request.dest.is_none() || job.seen().view.installed.is_some());
        let job = settled.unwrap_or_else(|| {
            let dest = request.dest.clone().unwrap_or_else(|| self.folder.default_dest(&name));
            // Recorded nowhere: a plan is no wish.
            Arc::new(Job::new(self.folder.install(package), Record::new(package, name, dest, clock::now())))
        });
        let plan = match attempt(self, &job, &mut Effort::default(), request.terms, Aim::Planned).await? {
            Outcome::Planned(plan) => plan,
            Outcome::Waiting { reason, .. } => return Err(Error::Unplanned { package: job.name(), reason }),
            // A plan looks at every file, so what is there already is planned too, at no cost; only an older offer ends here.
            Outcome::Installed { .. } | Outcome::Current => {
                let reason = "a newer version is installed than any server offers".to_owned();
                return Err(Error::Unplanned { package: job.name(), reason });
            }
        };
        let _ = replies.send(Reply::Planned(plan)).await;
        Ok(())
    }
}

fn installed(view: &PackageView, already: bool) -> Option<InstalledView> {
    let version = view.installed.as_ref().filter(|_| view.state == InstallState::Installed)?;
    Some(InstalledView {
        package: view.package,
        name: view.name.clone(),
        version: version.version,
        label: version.label.clone(),
        manifest: version.manifest.clone(),
        dest: view.dest.clone(),
        source: view.source.clone().filter(|_| !already),
        already,
        cost: view.cost.unwrap_or_default(),
        saved_bytes: view.cost.as_ref().map_or(0, Cost::saved_bytes),
        notes: view.notes.clone(),
    })
}
