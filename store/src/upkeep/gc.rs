//! Garbage collection: mark, condemn, and sweep what was condemned long enough ago.

use std::sync::Arc;

use super::condemned::{Batch, Condemned, Place, Places};
use super::mark::Marks;
use super::survey::{Before, Survey};
use super::sweep::Sweep;
use crate::error::Result;
use crate::id::ManifestId;
use crate::pack::Pack;
use crate::store::Store;

/// Part of [`crate::store::Limits::pack_bytes_max`] below which a pack is small: several such are merged.
const SMALL_PART: u64 = 8;
/// Bytes copied in one run unless said otherwise.
pub const REWRITE_BYTES_MAX: u64 = 4 << 30;
/// Live part of a pack below which it is written anew, unless said otherwise.
const POOR_PERCENT: u8 = 50;
/// Most condemned chunks that are kept in mind, 8 bytes and a bit each; what is dead besides waits for a later run.
const CONDEMNED_CHUNKS_MAX: usize = 8 << 20;

/// Most condemnations of one pack that are told apart.
const BATCHES_MAX: usize = 8;
/// Stands for the next lease until what is condemned takes effect.
const FRESH: u64 = u64::MAX;

/// How to collect.
#[derive(Debug, Clone, Copy)]
pub struct GcOptions {
    /// The caller's wall clock, milliseconds since 1970.
    pub now_millis: i64,
    /// How long a chunk stays condemned before it is swept, milliseconds.
    pub grace_millis: i64,
    /// Most bytes copied out of poor packs in this run.
    pub rewrite_bytes_max: u64,
    /// Packs of which a smaller part is live are written anew, percent.
    pub poor_percent: u8,
    /// Change nothing, only say what would be done.
    pub dry_run: bool,
}

impl GcOptions {
    /// Collects what has been dead for `grace_millis` at `now_millis`, within the default limit.
    #[must_use]
    pub fn new(now_millis: i64, grace_millis: i64) -> Self {
        Self { now_millis, grace_millis, rewrite_bytes_max: REWRITE_BYTES_MAX, poor_percent: POOR_PERCENT, dry_run: false }
    }
}

/// What a run has done, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcReport {
    /// Bytes of the packs that were unlinked, less those of the records copied out of them.
    pub freed_bytes: u64,
    /// Bytes of the records copied.
    pub copied_bytes: u64,
    /// Packs unlinked with nothing to be copied.
    pub packs_unlinked: u64,
    /// Packs unlinked after what was needed of them was copied.
    pub packs_rewritten: u64,
    /// Chunks that are no longer found.
    pub chunks_swept: u64,
    /// Chunks that are dead and wait: for their grace period, a lease, or for their pack to become poor.
    pub chunks_waiting: u64,
    /// Raw bytes of those.
    pub waiting_raw_bytes: u64,
    /// Packs that stay although they should go: something in them cannot be read, or was looked up meanwhile. A scrub says more.
    pub packs_kept: u64,
    /// Chunks of live versions that the store does not have, repetitions counted.
    pub chunks_missing: u64,
}

/// The versions that a store is kept for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Versions that are all there: one that cannot be read ends the run.
    pub whole: Vec<ManifestId>,
    /// Versions of which a part is there: that part stays as far as manifest and recipes tell, and what is missing is no error.
    pub partial: Vec<ManifestId>,
}

/// Collects what no version needs that `live` names: as [`gc_paced`], without pauses.
///
/// # Errors
/// As [`gc_paced`].
pub fn gc(store: &Store, options: &GcOptions, live: impl FnOnce() -> Result<Vec<ManifestId>>) -> Result<GcReport> {
    gc_paced(store, options, &mut |_| Ok(()), || live().map(|whole| Live { whole, partial: Vec::new() }))
}

/// Collects what no version needs that `live` names.
///
/// `pace` is called with the bytes read since the last time, and may wait to hold a rate; an error of it ends the run at a place where that does no
/// harm. `live` is called after the run has begun; whoever published under a lease that ended before must be among what it returns. A chunk is swept when it
/// has been condemned for the grace period, no lease that is older than that was alive when this run began, and nobody looked it up since.
/// Appending and reading go on meanwhile; a kill at any instant leaves a valid store, and the next run goes on.
///
/// # Errors
/// What `live` and `pace` return; a whole live version whose manifest or recipes cannot be read (nothing is collected then); opened for reading only; I/O (what
/// was not unlinked is collected by a later run).
pub fn gc_paced(
    store: &Store,
    options: &GcOptions,
    pace: &mut dyn FnMut(u64) -> Result<()>,
    live: impl FnOnce() -> Result<Live>,
) -> Result<GcReport> {
    store.inner.check_writable()?;
    let _turn = store.inner.upkeep_turn();
    let leases = &store.inner.leases;
    let began = Began { oldest: leases.oldest(), next: leases.next() };
    let live = live()?;
    let packs = store.inner.packs.all();
    let marks = Marks::of(store, &live, pace)?;
    let surveys = {
        // Look-ups hold it in the same way, and who changes it waits for this run.
        let old = store.inner.condemned();
        let fresh_max = CONDEMNED_CHUNKS_MAX.saturating_sub(old.len());
        let mut before = Before { marks: &marks, condemned: &old, fresh_max };
        let mut surveys = Vec::with_capacity(packs.len());
        for pack in &packs {
            let survey = Survey::of(store, pack, &before, pace)?;
            before.fresh_max -= survey.fresh.places.len();
            surveys.push(survey);
        }
        surveys
    };
    let mut report = GcReport { chunks_missing: marks.missing, ..GcReport::default() };
    drop(marks);
    let next_lease = condemn(store, options, &surveys)?;
    let plans = plan(store, packs.into_iter().zip(surveys), &Due { options, began, next_lease }, &mut report);
    Sweep::new(store, options.dry_run, pace, &mut report).run(plans)?;
    Ok(report)
}

/// Condemns what is dead; returns the lease that is next when that takes effect.
fn condemn(store: &Store, options: &GcOptions, surveys: &[Survey]) -> Result<u64> {
    if options.dry_run {
        return Ok(store.inner.leases.next());
    }
    let mut condemned = Condemned::default();
    for survey in surveys {
        let old = survey.condemned.iter();
        let old = old.map(|(&(since, next_lease), dead)| Batch::new(since, next_lease, Arc::clone(&dead.places)));
        let mut batches = join(old.collect());
        if !survey.fresh.places.is_empty() {
            batches.push(Batch::new(options.now_millis, FRESH, Arc::clone(&survey.fresh.places)));
        }
        condemned.packs.insert(survey.pack, batches);
    }
    condemned.packs.retain(|_, batches| !batches.is_empty());
    condemned.store(store.dir())?;
    let mut current = store.inner.condemned_mut();
    let next_lease = store.inner.leases.next();
    condemned.inherit(&current, |batch| batch.next_lease != FRESH);
    for batch in condemned.packs.values_mut().flatten().filter(|batch| batch.next_lease == FRESH) {
        batch.next_lease = next_lease;
    }
    *current = condemned;
    Ok(next_lease)
}

/// Joins the oldest of too many batches; all of a joined one waits as long as its youngest.
fn join(mut batches: Vec<Batch>) -> Vec<Batch> {
    let surplus = batches.len().saturating_sub(BATCHES_MAX);
    if surplus == 0 {
        return batches;
    }
    let rest = batches.split_off(surplus + 1);
    let since_millis = batches.iter().map(|batch| batch.since_millis).max().unwrap_or_default();
    let next_lease = batches.iter().map(|batch| batch.next_lease).max().unwrap_or_default();
    let mut places: Vec<_> = batches.iter().flat_map(|batch| batch.places.iter().copied()).collect();
    places.sort_unstable();
    std::iter::once(Batch::new(since_millis, next_lease, places.into())).chain(rest).collect()
}

/// The leases when a run began.
#[derive(Debug, Clone, Copy)]
struct Began {
    /// The oldest alive.
    oldest: u64,
    /// The next one.
    next: u64,
}

/// What may be carried out in this run.
#[derive(Debug, Clone, Copy)]
struct Due<'a> {
    options: &'a GcOptions,
    began: Began,
    /// The lease that was next when this run condemned.
    next_lease: u64,
}

impl Due<'_> {
    /// Says whether chunks condemned at `since_millis`, when `next_lease` was next, may be swept: everybody who may have looked them up before
    /// has ended before the live versions were asked for.
    fn is_due(&self, since_millis: i64, next_lease: u64) -> bool {
        let Began { oldest, next } = self.began;
        let nobody_came = oldest == next && next_lease == next;
        let waited = self.options.now_millis.saturating_sub(since_millis) >= self.options.grace_millis;
        waited && (next_lease <= oldest || nobody_came)
    }
}

/// A pack that goes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) pack: Pack,
    /// What is not copied, by when it was condemned.
    doomed: Vec<Places>,
    /// What of that is copied all the same, sorted: it was looked up since.
    pub(super) spared: Vec<Place>,
    /// Raw bytes of what is found in it and copied.
    kept_bytes: u64,
    /// About how many bytes the copies take.
    copy_bytes: u64,
    /// Too little of it is live.
    is_poor: bool,
    /// Small, and otherwise good.
    is_small: bool,
}

impl Plan {
    /// Copies everything that is found in `pack`.
    pub(super) fn copy_all(pack: Pack) -> Self {
        let stored = pack.stored_bytes();
        Self {
            pack,
            doomed: Vec::new(),
            spared: Vec::new(),
            kept_bytes: stored,
            copy_bytes: stored,
            is_poor: true,
            is_small: false,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.kept_bytes == 0
    }

    /// Says whether the chunk at `place` goes with the pack.
    pub(super) fn dooms(&self, place: Place) -> bool {
        self.doomed.iter().any(|places| places.binary_search(&place).is_ok()) && self.spared.binary_search(&place).is_err()
    }
}

/// Chooses the packs that go, as many as may be copied in one run.
fn plan(store: &Store, packs: impl Iterator<Item = (Pack, Survey)>, due: &Due<'_>, report: &mut GcReport) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (pack, survey) in packs.filter(|(_, survey)| survey.raw_bytes > 0) {
        let is_kept = survey.kept;
        let plan = plan_pack(store, pack, survey, due, report);
        if !is_kept {
            plans.push(plan);
        } else if plan.is_poor {
            report.packs_kept += 1;
        }
    }
    let several_are_small = plans.iter().filter(|plan| plan.is_small && !plan.is_poor).count() > 1;
    plans.retain(|plan| plan.is_poor || (plan.is_small && several_are_small));
    plans.sort_by_key(|plan| (!plan.is_poor, plan.copy_bytes));
    let mut left = due.options.rewrite_bytes_max;
    plans.retain(|plan| {
        let fits = plan.copy_bytes <= left;
        left -= if fits { plan.copy_bytes } else { 0 };
        fits
    });
    plans
}

fn plan_pack(store: &Store, pack: Pack, survey: Survey, due: &Due<'_>, report: &mut GcReport) -> Plan {
    let fresh = ((due.options.now_millis, due.next_lease), survey.fresh);
    let (mut doomed, mut doomed_bytes) = (Vec::new(), 0);
    for ((since_millis, next_lease), dead) in survey.condemned.into_iter().chain([fresh]) {
        report.chunks_waiting += dead.places.len() as u64;
        report.waiting_raw_bytes += dead.raw_bytes;
        if due.is_due(since_millis, next_lease) {
            doomed.push(dead.places);
            doomed_bytes += dead.raw_bytes;
        }
    }
    let kept_bytes = survey.found_bytes.saturating_sub(doomed_bytes);
    let small_max = u64::from(store.inner.limits.pack_bytes_max) / SMALL_PART;
    Plan {
        doomed,
        spared: Vec::new(),
        kept_bytes,
        copy_bytes: part(survey.stored_bytes, kept_bytes, survey.raw_bytes),
        is_small: matches!(pack, Pack::Sealed(_)) && survey.stored_bytes < small_max,
        is_poor: kept_bytes.saturating_mul(100) < survey.raw_bytes.saturating_mul(due.options.poor_percent.into()),
        pack,
    }
}

/// Returns `whole` times `numerator / denominator`.
fn part(whole: u64, numerator: u64, denominator: u64) -> u64 {
    let part = u128::from(whole) * u128::from(numerator) / u128::from(denominator.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_batches_are_joined_and_none_waits_less() {
        let count = i64::try_from(BATCHES_MAX).unwrap() + 3;
        let joined = join((0..count).map(|n| Batch::new(n, n.unsigned_abs(), vec![100 - n.unsigned_abs()].into())).collect());
        assert_eq!(joined.len(), BATCHES_MAX);
        assert_eq!((joined[0].since_millis, joined[0].next_lease), (3, 3));
        assert_eq!(*joined[0].places, [97, 98, 99, 100]);
        assert_eq!(joined[1].since_millis, 4);
        assert_eq!(part(10, 1, 0), 10);
    }
}
