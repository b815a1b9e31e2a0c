//! A story: the recorded life of a folder, and the proof over the images of it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::check::{Checked, Promise};
use super::disk::{Cut, Image, Op};
use super::record::Recording;
use super::trace;
use super::{micros_now, strace};
use crate::common::process::Role;
use crate::common::{Dice, holds, soaked, until};

/// Passes over a story in an ordinary test run: a few ways of cutting, spread over all moments.
const PASSES: u64 = 8;
/// Passes without a new image after which a story has no more.
const FRUITLESS_MAX: u64 = 40;

/// Where images are put.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// Each in a folder of its own below this one, by several threads.
    Fresh(&'a Path),
    /// All in this folder, one after the other: its path is part of the content.
    Fixed(&'a Path),
}

/// A folder whose every write was recorded, and what was promised about it at which operation.
pub struct Story {
    recording: Recording,
    told: Vec<(u64, Promise)>,
    traces: tempfile::TempDir,
    runs: u32,
}

impl Story {
    /// Begins with `root` as it is; `other`, a folder in it, counts as a file system of its own.
    pub fn of(root: &Path, other: Option<&Path>) -> Self {
        let traces = tempfile::Builder::new().prefix("consign-trace-").tempdir().expect("a folder");
        Self { recording: Recording::start(root, other), told: Vec::new(), traces, runs: 0 }
    }

    pub fn next_trace(&mut self) -> PathBuf {
        self.runs += 1;
        self.traces.path().join(self.runs.to_string())
    }

    /// Makes `role` be recorded from its next start on; returns where.
    pub fn record(&mut self, role: &mut Role) -> PathBuf {
        let trace = self.next_trace();
        let words = strace(&trace);
        role.run_by(&words.iter().map(String::as_str).collect::<Vec<_>>());
        trace
    }

    /// Adds what the process with this id had done, now that it has ended.
    pub fn ended(&mut self, trace: &Path, pid: u32) {
        let start = format!("{pid} ");
        let text = until("strace to end", || {
            let text = fs::read_to_string(trace).unwrap_or_default();
            let last = text.lines().last().unwrap_or_default();
            let over = last.starts_with(&start) && last.contains("+++") && text.ends_with('\n');
            holds(over, last).map(|()| text)
        });
        self.recording.add(&trace::calls(&text));
    }

    /// Adds what was promised, and when, microseconds since 1970.
    pub fn told(&mut self, promises: Vec<(u64, Promise)>) {
        self.told.extend(promises);
    }

    /// Notes what has just been promised.
    pub fn promise(&mut self, promise: Promise) {
        self.told.push((micros_now(), promise));
    }

    /// Makes everything that was done never durable, as a disk that forgets its syncs.
    pub fn forget_syncs(&mut self) {
        self.recording.ops.retain(|(op, _)| !matches!(op, Op::Sync { .. }));
    }

    /// Makes `count` distinct images of what a power cut may leave, checks each, and says so.
    pub fn prove(&self, what: &str, count: u64, seed: u64, place: Place<'_>, check: &Check<'_>) {
        let started = Instant::now();
        let images = self.examine(count, seed, place, check).unwrap_or_else(|error| panic!("{what}: {error}"));
        let syncs = self.recording.ops.iter().filter(|(op, _)| matches!(op, Op::Sync { .. })).count();
        eprintln!(
            "{what}: {images} images of {} operations with {syncs} syncs, {} promises, {} s, {} a second",
            self.recording.ops.len(),
            self.told.len(),
            started.elapsed().as_secs(),
            u128::from(images) * 1000 / started.elapsed().as_millis().max(1)
        );
        soaked(what, images, seed);
    }

    /// Checks up to `count` distinct images; returns how many there were.
    ///
    /// # Errors
    /// What was wrong with the first that was wrong.
    pub fn examine(&self, count: u64, seed: u64, place: Place<'_>, check: &Check<'_>) -> Result<u64, String> {
        let threads = match place {
            Place::Fixed(_) => 1,
            Place::Fresh(_) => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let proof = Proof {
            recording: &self.recording,
            promised: self.told.iter().map(|(when, promise)| (self.recording.done_at(*when), promise.clone())).collect(),
            count,
            seed,
            place,
            check,
            next_pass: AtomicU64::new(0),
            fruitful_pass: AtomicU64::new(0),
            over: AtomicBool::new(false),
            seen: Mutex::default(),
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| proof.passes())).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
        })?;
        Ok(proof.seen.into_inner().expect("no panic").len() as u64)
    }
}

/// Looks at an image: its folder, what was promised by then, and its number.
pub type Check<'a> = dyn Fn(&Path, &[Promise], u64) -> Checked + Sync + 'a;

struct Proof<'a> {
    recording: &'a Recording,
    /// After how many operations, what.
    promised: Vec<(usize, Promise)>,
    count: u64,
    seed: u64,
    place: Place<'a>,
    check: &'a Check<'a>,
    next_pass: AtomicU64,
    /// The last pass that found an image that was new.
    fruitful_pass: AtomicU64,
    over: AtomicBool,
    seen: Mutex<HashSet<blake3::Hash>>,
}

impl Proof<'_> {
    fn passes(&self) -> Checked {
        while !self.over.load(Ordering::Relaxed) {
            let pass = self.next_pass.fetch_add(1, Ordering::Relaxed);
            if pass > self.fruitful_pass.load(Ordering::Relaxed) + FRUITLESS_MAX {
                break;
            }
            self.pass(pass).inspect_err(|_| self.over.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    /// Lives through the story once, and cuts the power at every moment, or at as many as are wanted, spread over all of it.
    fn pass(&self, pass: u64) -> Checked {
        let mut dice = Dice::new(self.seed ^ pass << 32);
        let mut disk = self.recording.start.clone();
        let ops = &self.recording.ops;
        for (number, (op, _)) in ops.iter().enumerate() {
            disk.apply(op);
            if dice.below(ops.len() as u64) >= self.count.div_ceil(PASSES) {
                continue;
            }
            let cut = Cut::way(pass, &mut dice);
            let image = disk.image(&cut, &mut dice);
            let Some(place) = self.is_new(&image) else { continue };
            self.fruitful_pass.fetch_max(pass, Ordering::Relaxed);
            self.look(&image, place, number + 1).map_err(|error| {
                let done = ops[number.saturating_sub(6)..=number].iter().map(|(op, _)| format!("{op:.200?}"));
                let done = done.collect::<Vec<_>>().join("\n");
                format!("seed {}, pass {pass}, operation {number}, {cut:?}: {error}\n{done}\n{}", self.seed, image.list())
            })?;
            if self.over.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }

    /// Returns the number of an image that nobody has seen yet.
    fn is_new(&self, image: &Image) -> Option<u64> {
        let mut seen = self.seen.lock().expect("no panic");
        if seen.len() as u64 >= self.count || !seen.insert(image.digest) {
            return None;
        }
        let number = seen.len() as u64;
        self.over.fetch_or(number == self.count, Ordering::Relaxed);
        Some(number)
    }

    fn look(&self, image: &Image, number: u64, done: usize) -> Checked {
        let kept: Vec<_> = self.promised.iter().filter(|(at, _)| *at <= done).map(|(_, promise)| promise.clone()).collect();
        match self.place {
            Place::Fixed(root) => {
                image.write(root);
                (self.check)(root, &kept, number)
            }
            Place::Fresh(folder) => {
                let root = folder.join(number.to_string());
                image.write(&root);
                let checked = (self.check)(&root, &kept, number);
                // Threads of the catalog may still be closing it there; the whole room goes in the end.
                let _ = fs::remove_dir_all(&root);
                checked
            }
        }
    }
}
