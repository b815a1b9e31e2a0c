//! Patches and records at the same time: what takes longer to make than to fetch is made from the front and fetched from the back, until both meet.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use consign_store::delta::Front;

use super::content::Content;
use super::crew::{Crew, Patch};
use super::patches::{Pair, Shared, patch_path, shares_of};
use crate::agent::error::Result;
use crate::agent::job::{Effort, Job};
use crate::net::fetch::Arriving;
use crate::net::rate::Rate;
use crate::net::{Client, blocking};

/// A patch, and what is left to it.
type Fronted = (Shared, Arc<Front>);

impl Content {
    /// Brings what is missing by records, but for what the patches `shared` make meanwhile. Call it once what is here was taken; what a patch could
    /// not make is missing after it.
    ///
    /// # Errors
    /// The source failed or lied; I/O.
    pub(super) async fn fetch_shared(
        &self,
        client: &Client,
        job: &Job,
        shared: Vec<Shared>,
        rate: &Rate,
        effort: &mut Effort,
    ) -> Result<()> {
        let Some(pair) = self.pair().filter(|_| !shared.is_empty()) else { return Ok(()) };
        let (assembly, all) = (Arc::clone(&self.assembly), shares_of(&shared));
        let fronts = blocking::run("sharing out what is missing", move || assembly.fronts(&all)).await?;
        let fronted: Vec<Fronted> =
            shared.into_iter().zip(fronts).filter_map(|(shared, front)| Some((shared, Arc::new(front?)))).collect();
        let fronts: Vec<_> = fronted.iter().map(|(_, front)| Arc::clone(front)).collect();
        let (mut by_patches, mut by_records, begun) = (0, 0, Instant::now());
        let making = self.make_fronts(client, job, pair, fronted, &mut by_patches);
        let fetching = async {
            let fetched = self.fetch_behind(client, job, &fronts, &mut by_records).await;
            (fetched, begun.elapsed())
        };
        let (made, (fetched, elapsed)) = tokio::join!(making, fetching);
        // The link carried both.
        rate.saw(by_patches + by_records, elapsed);
        effort.content_bytes += by_patches + by_records;
        made.and(fetched)
    }

    /// Fetches patches and applies them as they arrive, as far as something is left to them.
    async fn make_fronts(
        &self,
        client: &Client,
        job: &Job,
        pair: Pair,
        fronted: Vec<Fronted>,
        wire_bytes: &mut u64,
    ) -> Result<()> {
        let mut crew = Crew::default();
        let begun = self.begin_fronts(client, job, pair, fronted, (&mut crew, wire_bytes)).await;
        // Whatever came of that: nobody is left at work on the assembly.
        begun.and(crew.end(job, &self.assembly).await)
    }

    async fn begin_fronts(
        &self,
        client: &Client,
        job: &Job,
        pair: Pair,
        fronted: Vec<Fronted>,
        (crew, wire_bytes): (&mut Crew, &mut u64),
    ) -> Result<()> {
        for (Shared { info, digest, share }, front) in fronted {
            if front.is_done() {
                continue;
            }
            let (files, name, path) = (self.files_of(&info), info.digest.clone(), patch_path(job, digest)?);
            let (arriving, reader) = Arriving::begin(&path)?;
            let front_of = Some((Arc::clone(&front), reader));
            let work = Patch { path: path.clone(), scope: share.scope, files: files.clone(), name, front: front_of };
            crew.begin(job, (&self.assembly, &self.seeds), work).await?;
            // What it does not make any more need not come.
            let mut arrived = |len| {
                arriving.arrived(len);
                !front.is_done()
            };
            let fetched = self.fetch_patch(client, job, pair, (digest, info.len, &files), &path, &mut arrived).await;
            // What has come of it stays until the version is in place: a restart goes on with it.
            let fetched = fetched.inspect_err(|_| front.give_up())?;
            *wire_bytes += fetched.wire_bytes;
            if !fetched.whole {
                front.give_up();
            }
        }
        Ok(())
    }

    /// Fetches what is behind the fronts, and then half of what is left to them, again and again, until that is little.
    async fn fetch_behind(&self, client: &Client, job: &Job, fronts: &[Arc<Front>], wire_bytes: &mut u64) -> Result<()> {
        let mut asked = Vec::new();
        loop {
            let (assembly, all) = (Arc::clone(&self.assembly), fronts.to_vec());
            let next = blocking::run("looking for chunks", move || {
                let missing = assembly.missing_behind(&all);
                if missing.is_empty() && assembly.hand_over(&all) { assembly.missing_behind(&all) } else { missing }
            });
            let next = next.await?;
            if next.is_empty() {
                return Ok(());
            }
            // What was asked for is here by now, or never.
            self.all_came(!overlap(&next, &asked), client, "chunks").inspect_err(|_| give_up(fronts))?;
            let fetched = self.fetch_ranges(client, job, &next).await;
            *wire_bytes += fetched.wire_bytes;
            if let Err(error) = fetched.end {
                // Another source would bring what is missing: the patches go no further.
                give_up(fronts);
                return Err(error.into());
            }
            asked = next;
        }
    }
}

fn give_up(fronts: &[Arc<Front>]) {
    for front in fronts {
        front.give_up();
    }
}

/// Says whether ascending ranges have a number in common.
fn overlap(some: &[Range<u32>], others: &[Range<u32>]) -> bool {
    some.iter().any(|range| {
        let at = others.partition_point(|other| other.end <= range.start);
        others.get(at).is_some_and(|other| other.start < range.end)
    })
}
