//! The agent of a folder: identity, trust, servers, jobs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use consign_store::error::At as _;
use consign_store::fsx::{self, FolderLock};
use tokio::sync::{Notify, Semaphore, watch};

use crate::agent::error::{Error, Result};
use crate::agent::folder::Folder;
use crate::agent::job::{Job, Seen, check_dest, keep_current};
use crate::agent::record::{self, PACKAGES_MAX, Record};
use crate::agent::report::Numbers;
use crate::agent::servers;
use crate::agent::trust::Trust;
use crate::agent::view::{AgentView, ConnectionView};
use crate::domain::{Name, PackageId};
use crate::net::blocking;
use crate::net::clock;
use crate::net::member::{self, Member};
use crate::net::rate::Rate;
use crate::net::task::Task;
use crate::policy::{Prefer, Terms};
use crate::protocol::fleet::{Endpoint, SiteMap};
use crate::protocol::hello::Role;
use crate::protocol::signed::{Signed, Statement};

/// Most packages that are worked on at once.
const ATTEMPTS_MAX: usize = 4;

/// Jobs, with their tasks once they are started.
type Jobs = BTreeMap<PackageId, (Arc<Job>, Option<Task>)>;

/// What is known of the servers.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) map: Arc<Statement<SiteMap>>,
    /// The server whose events arrive.
    pub(super) server: Option<Endpoint>,
    pub(super) connection: ConnectionView,
}

/// An agent at work on its folder, which it holds against other processes.
#[derive(Debug)]
pub struct Agent {
    pub(super) member: Member,
    pub(super) folder: Folder,
    pub(super) prefer: Prefer,
    /// How fast content arrives.
    pub(super) rate: Rate,
    pub(super) trust: tokio::sync::Mutex<Trust>,
    /// Who may work now: at a reconnect every package looks at once.
    pub(super) turns: Semaphore,
    /// How many installed versions may be kept open for an update that is about to come.
    pub(super) ahead: Arc<Semaphore>,
    link: watch::Sender<Link>,
    jobs: Mutex<Jobs>,
    report: Notify,
    pub(super) numbers: tokio::sync::Mutex<Numbers>,
    _lock: FolderLock,
}

impl Agent {
    /// Opens the folder of an agent and takes it for this process.
    ///
    /// # Errors
    /// Not joined, in use by another process, damaged, or I/O.
    pub fn open(dir: &Path, prefer: Prefer) -> Result<Arc<Self>> {
        // Records name destinations for good, whatever folder the next process starts in.
        let dir = std::path::absolute(dir).at("resolve", dir)?;
        let member = Member::open(&dir, Role::Agent)?;
        let lock = fsx::lock(&dir)?;
        let folder = Folder::new(&dir);
        let map = Arc::new(member.site_map()?);
        let connection = ConnectionView {
            server: None,
            server_id: None,
            choice: String::new(),
            connected: false,
            since: clock::now(),
            reason: None,
            next_attempt: None,
        };
        let jobs = record::read_all(&folder)?.into_iter().map(|record| {
            let job = Job::new(folder.install(record.package), record);
            (job.package, (Arc::new(job), None))
        });
        Ok(Arc::new(Self {
            trust: tokio::sync::Mutex::new(Trust::open(folder.tuf_state(), &member)?),
            turns: Semaphore::new(ATTEMPTS_MAX),
            ahead: Arc::new(Semaphore::new(ATTEMPTS_MAX)),
            jobs: Mutex::new(jobs.collect()),
            link: watch::Sender::new(Link { map, server: None, connection }),
            report: Notify::new(),
            numbers: tokio::sync::Mutex::new(Numbers::open(folder.report())?),
            member,
            rate: Rate::kept_in(folder.rate()),
            folder,
            prefer,
            _lock: lock,
        }))
    }

    /// Returns the servers to turn to, best first: the one that is connected before all others.
    pub(super) fn servers(&self) -> Vec<Endpoint> {
        let link = self.link.borrow();
        let mut order = servers::order(&link.map.body, self.member.id());
        if let Some(place) = order.iter().position(|server| Some(server) == link.server.as_ref()) {
            order[..=place].rotate_right(1);
        }
        order
    }

    /// What is known of the servers now.
    pub(super) fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// Learns when the connection or the map changes.
    pub(super) fn watch_link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    pub(super) fn set_link(&self, change: impl FnOnce(&mut Link)) {
        self.link.send_modify(change);
    }

    /// Believes a site map that a server relayed, if it bears all checks; durable on return.
    pub(super) async fn accept_site_map(self: &Arc<Self>, signed: Signed) -> Result<()> {
        let now = self.trust.lock().await.now();
        let agent = Arc::clone(self);
        let accepted = blocking::run("keeping the site map", move || agent.member.accept_site_map(&signed, now));
        let map = Arc::new(accepted.await??);
        self.set_link(|link| link.map = map);
        Ok(())
    }

    /// Spreads this machine's waits from those of others.
    pub(super) fn seed(&self) -> u64 {
        self.member.id().0.as_u64_pair().1
    }

    /// Asks for a report soon.
    pub(super) fn report_due(&self) {
        self.report.notify_one();
    }

    pub(super) async fn report_wanted(&self) {
        self.report.notified().await;
    }

    /// All jobs.
    pub(super) fn jobs(&self) -> Vec<Arc<Job>> {
        self.locked_jobs().values().map(|(job, _)| Arc::clone(job)).collect()
    }

    pub(super) fn job(&self, package: PackageId) -> Option<Arc<Job>> {
        self.locked_jobs().get(&package).map(|(job, _)| Arc::clone(job))
    }

    /// Finds a job by the package's name or id.
    pub(super) fn find_job(&self, package: &str) -> Option<Arc<Job>> {
        let jobs = self.locked_jobs();
        let found = jobs.values().find(|(job, _)| job.package.to_string() == package || job.seen().view.name.as_str() == package);
        found.map(|(job, _)| Arc::clone(job))
    }

    /// Starts the task of a job unless it runs. A job with a half-done switch looks at once, others when they are woken.
    pub(super) fn start_job(self: &Arc<Self>, job: &Arc<Job>, look_at_once: bool) {
        let mut jobs = self.locked_jobs();
        if let Some((_, task @ None)) = jobs.get_mut(&job.package) {
            *task = Some(Task::spawn(keep_current(Arc::clone(self), Arc::clone(job), look_at_once)));
        }
    }

    /// Ends all tasks of jobs.
    pub(super) fn stop_jobs(&self) {
        for (_, task) in self.locked_jobs().values_mut() {
            *task = None;
        }
    }

    /// Makes or changes the job of a package so that it goes to `dest`, or where it is or belongs, on `terms`; durable on return.
    ///
    /// # Errors
    /// It is installed elsewhere, something else is there, too many packages, or I/O.
    pub(super) fn want(&self, package: PackageId, name: &Name, dest: Option<&Path>, terms: Terms) -> Result<Arc<Job>> {
        if let Some(job) = self.job(package) {
            if let Some(dest) = dest {
                self.move_job(&job, dest)?;
            }
            job.account.agree(terms)?;
            job.limit();
            return Ok(job);
        }
        let dest = dest.map_or_else(|| self.folder.default_dest(name), Path::to_path_buf);
        self.check_free(package, &dest)?;
        let folder = self.folder.install(package);
        let record = Record::new(package, name.clone(), dest, clock::now());
        fsx::create_dir_durable(folder.path())?;
        record.write(&folder)?;
        let mut jobs = self.locked_jobs();
        if jobs.len() >= PACKAGES_MAX {
            return Err(Error::Limit { what: "the number of installed packages", limit: PACKAGES_MAX });
        }
        let (job, _) = jobs.entry(package).or_insert_with(|| (Arc::new(Job::new(folder, record)), None));
        let job = Arc::clone(job);
        drop(jobs);
        job.account.agree(terms)?;
        Ok(job)
    }

    fn move_job(&self, job: &Job, dest: &Path) -> Result<()> {
        let Ok(mut record) = job.record.try_lock() else {
            let view = job.seen().view;
            let same = Path::new(&view.dest) == dest;
            let dest = PathBuf::from(view.dest);
            return if same { Ok(()) } else { Err(Error::Elsewhere { package: view.name, state: "is being installed", dest }) };
        };
        check_dest(&record, dest)?;
        if record.dest != dest {
            self.check_free(job.package, dest)?;
            record.dest = dest.to_path_buf();
            record.write(&job.folder)?;
            job.show(|view| view.dest = dest.display().to_string());
        }
        Ok(())
    }

    /// Refuses a destination that is, holds or lies in another package's, or the agent's own folder.
    fn check_free(&self, package: PackageId, dest: &Path) -> Result<()> {
        let dir = self.member.dir();
        let own = dest == dir || dir.starts_with(dest) || (dest.starts_with(dir) && !dest.starts_with(dir.join("packages")));
        if own {
            let why = "it is part of the agent's own folder; choose another";
            return Err(Error::Destination { dest: dest.to_path_buf(), why });
        }
        let clash = self.jobs().into_iter().filter(|job| job.package != package).map(|job| job.seen().view).find(|view| {
            let other = Path::new(&view.dest);
            other.starts_with(dest) || dest.starts_with(other)
        });
        clash.map_or(Ok(()), |view| Err(Error::Taken { dest: dest.to_path_buf(), owner: view.name }))
    }

    /// Shows the agent.
    #[must_use]
    pub fn view(&self) -> AgentView {
        let link = self.link();
        view(&self.member, &link.map, Some(std::process::id()), Some(link.connection), self.jobs().iter().map(|job| job.seen()))
    }

    fn locked_jobs(&self) -> std::sync::MutexGuard<'_, Jobs> {
        // Nothing is ever half changed under this lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows what is on disk of an agent that does not run.
///
/// # Errors
/// Not joined, damaged, or I/O.
pub fn view_on_disk(dir: &Path) -> Result<AgentView> {
    let member = Member::open(dir, Role::Agent)?;
    let map = member.site_map()?;
    let folder = Folder::new(dir);
    let records = record::read_all(&folder)?;
    let seen = records.into_iter().map(|record| Job::new(folder.install(record.package), record).seen());
    Ok(view(&member, &map, None, None, seen))
}

fn view(
    member: &Member,
    map: &Statement<SiteMap>,
    pid: Option<u32>,
    connection: Option<ConnectionView>,
    seen: impl Iterator<Item = Seen>,
) -> AgentView {
    let mut packages: Vec<_> = seen.map(|seen| seen.view).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    let config: &member::MemberConfig = member.config();
    AgentView {
        machine: config.id,
        name: config.name.clone(),
        site: map.body.site_name.clone(),
        pid,
        site_map_expires: map.expires,
        connection,
        packages,
    }
}
