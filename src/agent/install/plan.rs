//! The plan of an install: what would travel, by kind, and whether that keeps its budget.

use std::sync::Arc;
use std::time::Duration;

use consign_store::restore::{Amount, Survey};

use super::content::Content;
use super::patches::{Choice, Offer, shares_of};
use crate::agent::error::{Error, OverBudget, Result};
use crate::agent::job::{Effort, Job};
use crate::agent::record::Record;
use crate::agent::view::{PatchesView, PlanPart, PlanView};
use crate::net::clock;
use crate::net::fetch::chunks_cost;
use crate::net::{Client, blocking};
use crate::policy::{Prefer, Terms, Verdict};
use crate::protocol::fleet::VersionInfo;
use crate::protocol::patches::PatchAnswer;

/// What an install would bring.
#[derive(Debug)]
pub(super) struct Plan {
    survey: Survey,
    offer: Offer,
    record_bytes: u64,
}

impl Plan {
    /// What content would still come, bytes on the wire.
    fn content_bytes(&self) -> u64 {
        self.offer.patch_bytes().saturating_add(self.record_bytes)
    }
}

impl Content {
    /// Plans with the patches of `offer`; nothing is written but the recipes that are needed for it.
    ///
    /// # Errors
    /// The source failed, or I/O.
    pub(super) async fn plan(&self, client: &Client, offer: Offer, effort: &mut Effort) -> Result<Plan> {
        let patched = offer.makes_whole(self.assembly.manifest());
        self.fetch_recipes(client, &patched, effort).await?;
        let (assembly, seeds, work) = (Arc::clone(&self.assembly), Arc::clone(&self.seeds), self.work.clone());
        let shares = shares_of(&offer.share);
        let survey = move || assembly.survey(seeds.first().map(|seed| (seed, work.as_path())), &patched, &shares);
        let survey = blocking::run("planning", survey).await??;
        let record_bytes = if survey.missing.is_empty() {
            0
        } else {
            chunks_cost(client, self.assembly.manifest().id(), &survey.missing).await?
        };
        Ok(Plan { survey, offer, record_bytes })
    }

    /// Finds the patches to take, and sees to it that the plan keeps the budget: by waiting for patches, where they are under construction and
    /// nothing else would.
    ///
    /// # Errors
    /// [`Error::Budget`]; as [`Content::plan`] where there is a budget.
    pub(super) async fn agree(&self, client: &Client, job: &Job, mut choice: Choice<'_>, effort: &mut Effort) -> Result<Offer> {
        let mut offer = self.offer(client, job, choice, self.patience(choice, effort).await?).await?;
        let Some(max_bytes) = choice.terms.max_bytes.filter(|_| !self.assembly.is_resumed()) else { return Ok(offer) };
        let mut last = false;
        loop {
            let building = matches!(offer.answer, PatchAnswer::Building { .. });
            let plan = self.plan(client, offer, effort).await?;
            let (spent_bytes, planned_bytes) = (effort.spent_wire(), plan.content_bytes());
            let verdict = choice.terms.judge(spent_bytes, planned_bytes, building);
            if verdict == Verdict::Go {
                return Ok(plan.offer);
            }
            if last {
                let (package, planned_bytes) = (job.name(), Some(planned_bytes));
                return Err(Error::Budget(OverBudget { package, spent_bytes, planned_bytes, max_bytes, begun: false, building }));
            }
            // Where bytes are what matters, each patch that is smaller than its records is worth its time.
            choice.terms.prefer = Some(Prefer::Bytes);
            let wait = if verdict == Verdict::AwaitPatches { choice.terms.patience_for_budget() } else { Duration::ZERO };
            offer = self.offer(client, job, choice, wait).await?;
            last = true;
        }
    }

    /// Says whether the install of `plan` would wait for patches under construction: because that ends sooner, or keeps the budget.
    ///
    /// # Errors
    /// The process is stopping.
    pub(super) async fn would_wait(&self, choice: Choice<'_>, plan: &Plan, effort: &Effort) -> Result<bool> {
        let PatchAnswer::Building { millis } = plan.offer.answer else { return Ok(false) };
        let patience = self.patience(choice, effort).await?;
        let over = choice.terms.judge(effort.spent_wire(), plan.content_bytes(), true) == Verdict::AwaitPatches;
        Ok(over || Duration::from_millis(millis) < patience)
    }

    /// Sees to it that the records that are still missing keep the budget.
    ///
    /// # Errors
    /// [`Error::Budget`]; the source failed.
    pub(super) async fn check_records(&self, client: &Client, job: &Job, terms: Terms, effort: &Effort) -> Result<()> {
        let missing = self.missing().await?;
        let Some(max_bytes) = terms.max_bytes.filter(|_| !missing.is_empty()) else { return Ok(()) };
        let planned = chunks_cost(client, self.assembly.manifest().id(), &missing).await?;
        if terms.allows(effort.spent_wire(), planned) {
            return Ok(());
        }
        let (package, spent_bytes, planned_bytes) = (job.name(), effort.spent_wire(), Some(planned));
        Err(Error::Budget(OverBudget { package, spent_bytes, planned_bytes, max_bytes, begun: true, building: false }))
    }
}

/// Shows a plan.
pub(super) fn view(
    plan: &Plan,
    (record, version): (&Record, &VersionInfo),
    source: &str,
    effort: &Effort,
    choice: Choice<'_>,
    waits: bool,
) -> PlanView {
    let Survey { kept, local, patched, records, .. } = &plan.survey;
    // The recipes that the plan has asked for are content, as they are in an install.
    let record_bytes = plan.record_bytes.saturating_add(effort.content_bytes);
    let metadata_bytes = effort.spent_wire().saturating_sub(effort.content_bytes);
    let part = |kind: &str, amount: &Amount, wire_bytes| PlanPart {
        kind: kind.to_owned(),
        files: amount.files,
        raw_bytes: amount.bytes,
        wire_bytes,
    };
    let manifest = Amount { files: 0, bytes: version.manifest_len };
    let patch_bytes = plan.offer.patch_bytes();
    let planned_wire_bytes = metadata_bytes.saturating_add(patch_bytes).saturating_add(record_bytes);
    let (taken, by_records) = (plan.offer.patches(), plan.offer.records_bytes());
    PlanView {
        package: record.package,
        name: record.name.clone(),
        version: version.version,
        dest: record.dest.display().to_string(),
        source: source.to_owned(),
        files: version.files,
        total_bytes: version.bytes,
        kept_bytes: kept.bytes,
        reused_bytes: local.bytes,
        patched_bytes: patched.bytes,
        fetched_bytes: records.bytes,
        full_wire_bytes: effort.full_wire_bytes.saturating_add(metadata_bytes),
        chunk_wire_bytes: metadata_bytes.saturating_add(record_bytes).saturating_add(by_records),
        planned_wire_bytes,
        parts: vec![
            part("kept", kept, 0),
            part("local", local, 0),
            part("patch", patched, patch_bytes),
            part("records", records, record_bytes),
            part("metadata", &manifest, metadata_bytes),
        ],
        patches: match &plan.offer.answer {
            PatchAnswer::Ready { set } => PatchesView::Ready { offered: set.len() as u64, taken },
            PatchAnswer::Building { millis } => {
                PatchesView::Building { until: clock::now().plus(Duration::from_millis(*millis)), waits }
            }
            PatchAnswer::None { reason } => PatchesView::None { reason: reason.clone() },
            PatchAnswer::Unknown => {
                PatchesView::None { reason: "the server is in a state that a newer Consign knows".to_owned() }
            }
        },
        max_bytes: choice.terms.max_bytes,
    }
}
