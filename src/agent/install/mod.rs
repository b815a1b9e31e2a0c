//! The walk of one package: which version → signed → manifest → recipes → what is here → what is missing → in place.
//!
//! Servers are asked in turn. A source that fails, stalls or lies is noted with its reason and left for the next one, which brings what is
//! still missing. What goes wrong on this machine ends the attempt: no other source would help.

mod content;
mod crew;
mod patches;
mod place;
mod plan;
mod shared;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consign_store::ManifestId;

use crate::agent::core::Agent;
use crate::agent::error::{Error, OverBudget, Result};
use crate::agent::job::{Effort, Job};
use crate::agent::record::Record;
use crate::agent::view::PlanView;
use crate::domain::Millis;
use crate::net::Client;
use crate::net::fetch::full_cost;
use crate::policy::Terms;
use crate::protocol::fleet::{Endpoint, PACKAGES_PATH, Resolution, VersionInfo};
use crate::trust::tuf::TargetInfo;
use content::Content;
pub(super) use content::{LOOK_AGE_MAX, Prepared};
use patches::Choice;

/// How far an attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// The current version is in place; one that is recorded so is believed.
    Current,
    /// Also every file of it is looked at.
    Verified,
    /// It is known what would have to be fetched; nothing is put in place.
    Planned,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The version is in place, verified.
    Installed {
        /// It was before.
        already: bool,
    },
    /// There is nothing newer than what is installed.
    Current,
    /// No server has content to offer yet.
    Waiting {
        /// The version waited for, if one is named.
        version: Option<VersionInfo>,
        /// Why.
        reason: String,
        /// What will change it.
        changes_when: String,
    },
    /// See [`Aim::Planned`].
    Planned(Box<PlanView>),
}

/// The version that an attempt brings.
struct Chosen {
    version: VersionInfo,
    target: TargetInfo,
}

struct Walk<'a> {
    agent: &'a Agent,
    job: &'a Job,
    record: &'a mut Record,
    effort: &'a mut Effort,
    terms: Terms,
    aim: Aim,
    chosen: Option<Chosen>,
    /// The installed version, from when it is known that another one comes.
    prepared: Option<Prepared>,
    content: Option<Content>,
    plan: Option<Box<PlanView>>,
    /// Sources that failed, with their reason.
    failures: Vec<Error>,
    waiting: Option<Resolution>,
    absent: bool,
}

/// Brings the current version of the package of `job` here, or finds that it is here, as far as `aim` says.
///
/// # Errors
/// This machine cannot take it, or every source failed; what is staged is kept for the next attempt.
pub(super) async fn attempt(agent: &Agent, job: &Job, effort: &mut Effort, terms: Terms, aim: Aim) -> Result<Outcome> {
    let ended = walk(agent, job, effort, terms, aim).await;
    match (ended, terms.max_bytes) {
        (Err(Error::Net(crate::net::Error::OverBudget { .. })), Some(max_bytes)) => {
            let (package, spent_bytes) = (job.name(), effort.spent_wire());
            let over = OverBudget {
                package,
                spent_bytes,
                planned_bytes: None,
                max_bytes,
                begun: effort.content_bytes > 0,
                building: false,
            };
            Err(Error::Budget(over))
        }
        (ended, _) => ended,
    }
}

async fn walk(agent: &Agent, job: &Job, effort: &mut Effort, terms: Terms, aim: Aim) -> Result<Outcome> {
    let mut record = job.record.lock().await;
    if aim != Aim::Planned {
        place::settle_interrupted(job, &mut record).await?;
    }
    let record = &mut *record;
    let (chosen, prepared, content, plan, failures, waiting) = (None, None, None, None, Vec::new(), None);
    let mut walk =
        Walk { agent, job, record, effort, terms, aim, chosen, prepared, content, plan, failures, waiting, absent: false };
    let map = agent.link().map;
    if map.expires <= agent.trust.lock().await.now() {
        return Ok(Walk::wait_for_map(map.expires));
    }
    for server in agent.servers() {
        if let Some(outcome) = walk.turn_to(&server).await? {
            return Ok(outcome);
        }
    }
    walk.give_up()
}

impl<'a> Walk<'a> {
    /// Asks one server where the package is, and fetches from the codebases it names; `None` if that came to nothing.
    ///
    /// # Errors
    /// Only what another server could not mend.
    async fn turn_to(&mut self, server: &Endpoint) -> Result<Option<Outcome>> {
        let connected = self.effort.ahead.as_ref().and_then(|ahead| ahead.client(server)).cloned();
        let client = connected.map_or_else(|| self.client(server), Ok)?;
        let path = format!("{PACKAGES_PATH}/{}", self.job.package);
        let resolution: Resolution = match client.get_json(&path).await {
            Ok(resolution) => resolution,
            Err(error) => {
                self.absent |= error.problem().is_some_and(|problem| problem.code == "not_found");
                self.noted(Err(error.into()))?;
                return Ok(None);
            }
        };
        let Some(version) = resolution.version.clone() else {
            self.waiting.get_or_insert(resolution);
            return Ok(None);
        };
        if self.has(&version) {
            return Ok(Some(Outcome::Current));
        }
        if self.aim == Aim::Current
            && let Some(over) = self.effort.refused_before(&version, self.terms)
        {
            return Err(Error::Budget(over));
        }
        if resolution.codebases.is_empty() {
            self.waiting.get_or_insert(resolution);
            return Ok(None);
        }
        let chosen = self.choose(&resolution, version, &client).await;
        if !self.noted(chosen)? {
            return Ok(None);
        }
        for source in &resolution.codebases {
            let client = if source == server { client.clone() } else { self.client(source)? };
            // Boxed: it holds everything that is open.
            let fetched = Box::pin(self.fetch_from(&client)).await;
            if self.noted(fetched)? {
                return self.arrive().await.map(Some);
            }
        }
        Ok(None)
    }

    fn client(&self, server: &Endpoint) -> Result<Client> {
        Ok(self.agent.member.client(server, Arc::clone(&self.effort.meter))?)
    }

    /// Says whether there is nothing to do for `version`: it is installed (and that is believed), or older than what is.
    fn has(&self, version: &VersionInfo) -> bool {
        self.record.installed.as_ref().is_some_and(|installed| {
            let same = installed.manifest == version.manifest;
            installed.version > version.version || (same && self.aim == Aim::Current)
        })
    }

    /// Fixes what this attempt brings; a later server must offer the same.
    async fn choose(&mut self, resolution: &Resolution, version: VersionInfo, client: &Client) -> Result<()> {
        if let Some(chosen) = &self.chosen {
            let why = || format!("offers version {} and not {}", version.version, chosen.version.version);
            let same = chosen.version.manifest == version.manifest;
            return if same { Ok(()) } else { Err(Error::Useless { server: client.server().to_owned(), why: why() }) };
        }
        self.job.show_fetching(&version, client.server());
        self.effort.begun.get_or_insert_with(Instant::now);
        self.prepared.get_or_insert_with(|| prepare(self.job, self.record, self.effort, self.aim));
        let keep = self.aim != Aim::Planned;
        let target = self.agent.trust.lock().await.release(resolution, &version, client, keep).await?;
        self.chosen = Some(Chosen { version, target });
        Ok(())
    }

    /// Notes a failure that another source may mend; true when there was none.
    ///
    /// # Errors
    /// A failure of this machine.
    fn noted(&mut self, result: Result<()>) -> Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(error) if is_ours(&error) => Err(error),
            Err(error) => {
                tracing::warn!(package = %self.record.name, %error, "source left");
                self.failures.push(error);
                Ok(false)
            }
        }
    }

    /// Brings what is still missing from one source.
    async fn fetch_from(&mut self, client: &Client) -> Result<()> {
        let Some(chosen) = &self.chosen else { return Ok(()) };
        self.job.show_fetching(&chosen.version, client.server());
        let content = if let Some(content) = self.content.take() {
            content
        } else {
            let prepared = self.prepared.take().unwrap_or_else(|| prepare(self.job, self.record, self.effort, self.aim));
            Content::open(self.job, (&chosen.target, self.aim), prepared, self.record, client).await?
        };
        let manifest = chosen.target.manifest;
        self.ask_full_cost(client, manifest).await?;
        if self.aim == Aim::Planned {
            return self.make_plan(content, client).await;
        }
        let choice = self.choice();
        let mut offer = match content.agree(client, self.job, choice, self.effort).await {
            Ok(offer) => offer,
            Err(error) => {
                if matches!(error, Error::Budget(_)) {
                    content.discard().await?;
                }
                return Err(error);
            }
        };
        let share = std::mem::take(&mut offer.share);
        let content = content.take_patches(client, self.job, (offer, self.terms), self.effort).await?;
        let recipes = content.fetch_recipes(client, &HashSet::new(), self.effort).await;
        let content = match recipes {
            Ok(()) => content.take_local(self.job).await?,
            Err(error) => {
                self.content = Some(content);
                return Err(error);
            }
        };
        let content = self.content.insert(content);
        content.check_records(client, self.job, self.terms, self.effort).await?;
        content.fetch_shared(client, self.job, share, &self.agent.rate, self.effort).await?;
        content.fetch_chunks(client, self.job, &self.agent.rate, self.effort).await
    }

    fn choice(&self) -> Choice<'a> {
        Choice { prefer: self.agent.prefer, terms: self.terms, rate: &self.agent.rate }
    }

    /// Learns what a full download would cost, once; that a server cannot say it is no error.
    async fn ask_full_cost(&mut self, client: &Client, manifest: ManifestId) -> Result<()> {
        if self.effort.full_wire_bytes == 0 {
            match full_cost(client, manifest).await {
                Ok(bytes) => self.effort.full_wire_bytes = bytes,
                Err(error @ crate::net::Error::OverBudget { .. }) => return Err(error.into()),
                Err(error) => tracing::debug!(%error, "no word of what a full download costs"),
            }
        }
        Ok(())
    }

    /// Tells what an install would bring, and brings nothing.
    async fn make_plan(&mut self, content: Content, client: &Client) -> Result<()> {
        let Some(chosen) = &self.chosen else { return Ok(()) };
        let choice = self.choice();
        let offer = content.offer(client, self.job, choice, Duration::ZERO).await?;
        let plan = content.plan(client, offer, self.effort).await?;
        let waits = content.would_wait(choice, &plan, self.effort).await?;
        let what = (&*self.record, &chosen.version);
        self.plan = Some(Box::new(plan::view(&plan, what, client.server(), self.effort, choice, waits)));
        Ok(())
    }

    /// Everything is here: puts it in place, or tells the plan.
    async fn arrive(&mut self) -> Result<Outcome> {
        if let Some(plan) = self.plan.take() {
            return Ok(Outcome::Planned(plan));
        }
        let (Some(chosen), Some(content)) = (self.chosen.take(), self.content.take()) else {
            return Err(Error::Sources(vec!["the walk ended before it began".to_owned()]));
        };
        place::put(self.job, self.record, self.effort, chosen.version, content).await
    }

    /// An expired site map names nobody who may be asked for content.
    fn wait_for_map(expired: Millis) -> Outcome {
        let reason = format!("the site map expired at {}, and no server has brought a newer one", expired.to_rfc3339());
        Outcome::Waiting { version: None, reason, changes_when: "a server of the site has reached the hub again".to_owned() }
    }

    /// Says why no server was of use.
    fn give_up(self) -> Result<Outcome> {
        if let Some(resolution) = self.waiting {
            let failures = self.failures.iter().map(ToString::to_string);
            let reason = std::iter::once(resolution.reason).chain(failures).collect::<Vec<_>>().join("; ");
            return Ok(Outcome::Waiting { version: resolution.version, reason, changes_when: resolution.changes_when });
        }
        let only_absent =
            self.failures.iter().all(|f| matches!(f, Error::Net(e) if e.problem().is_some_and(|p| p.code == "not_found")));
        if self.absent && only_absent {
            return Err(Error::Absent { package: self.record.name.to_string() });
        }
        if self.failures.is_empty() {
            return Err(Error::Sources(vec!["the site has no server, and the hub may not stand in".to_owned()]));
        }
        Err(Error::Sources(self.failures.iter().map(ToString::to_string).collect()))
    }
}

/// Takes the look at what is installed that was begun when the version was about to be ready, or begins now. Whoever asks for a look at every file
/// means one from now on.
fn prepare(job: &Job, record: &Record, effort: &mut Effort, aim: Aim) -> Prepared {
    let ahead = effort.ahead.take().map(|ahead| ahead.prepared);
    let ahead = ahead.filter(|prepared| aim == Aim::Current && prepared.serves(record));
    ahead.unwrap_or_else(|| Prepared::begin(&job.folder, record, aim))
}

/// Says whether a failure is this machine's, so that no other source would fare better.
fn is_ours(error: &Error) -> bool {
    match error {
        Error::Net(crate::net::Error::Store(error)) => matches!(error, consign_store::Error::Io { .. }),
        Error::Net(crate::net::Error::Stopped(_) | crate::net::Error::OverBudget { .. }) => true,
        Error::Net(_) | Error::Unsigned { .. } | Error::Useless { .. } => false,
        Error::Trust(error) => matches!(error, crate::trust::Error::Io { .. }),
        _ => true,
    }
}
