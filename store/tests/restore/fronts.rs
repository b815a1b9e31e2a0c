//! Content of which a patch makes the front and records bring the rest.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use consign_store::delta::{Front, Part, Scope, Share, Targets};
use consign_store::restore::{Assembly, Seed, Tally, stream_local};

use crate::patches::{Pair, pair_of};
use crate::support::assert_same;

/// Enough for several records, which come whole here.
const PROGRAM_BYTES: usize = 8_000_000;

/// An update of which everything that is here was taken.
struct Update {
    pair: Pair,
    seed: Seed,
    scope: Scope,
    patch: Vec<u8>,
    assembly: Assembly,
}

fn update() -> Update {
    let pair = pair_of(PROGRAM_BYTES);
    let seed = pair.room.seed(&pair.room.path("dest"), pair.old);
    let largest = pair.set.iter().max_by_key(|patch| patch.scope.raw_bytes(&pair.room.manifest(pair.new))).unwrap();
    let (scope, patch) = (largest.scope.clone(), fs::read(pair.patch(largest)).unwrap());
    let mut assembly = pair.open();
    assembly.learn_recipes(std::slice::from_ref(&seed)).unwrap();
    pair.room.add_recipes(&assembly);
    assembly.take_local(std::slice::from_ref(&seed)).unwrap();
    Update { pair, seed, scope, patch, assembly }
}

impl Update {
    fn fronts(&self, scope: &Scope, permille: u32) -> Vec<Arc<Front>> {
        let share = Share { scope: scope.clone(), permille };
        self.assembly.fronts(&[share]).into_iter().flatten().map(Arc::new).collect()
    }

    /// Makes a front, and returns its raw bytes, each distinct chunk once.
    fn take(&self, patch: &[u8], front: &Front) -> consign_store::Result<u64> {
        let new = AtomicU64::new(0);
        let progress = |bytes| {
            new.fetch_add(bytes, Ordering::Relaxed);
        };
        self.assembly.take_front(&mut &*patch, (&self.scope, front), &self.seed, &progress).map(|_| new.into_inner())
    }

    /// Brings records, raw bytes.
    fn fetch(&self, ranges: &[Range<u32>]) -> u64 {
        let table = self.pair.room.table(self.assembly.manifest());
        let mut new = 0;
        stream_local(&self.pair.room.store, &table, self.assembly.layout(), ranges, &mut |record| {
            new += self.assembly.accept(&record)?;
            Ok(())
        })
        .unwrap();
        new
    }

    fn finish(self) -> Tally {
        self.fetch(&self.assembly.missing());
        let tally = self.assembly.finish().unwrap();
        assert_same(&self.pair.room.path("new"), &self.pair.room.path("dest"));
        let sum = tally.kept_bytes + tally.seed_bytes + tally.resumed_bytes + tally.patch_bytes + tally.record_bytes;
        assert_eq!(sum, tally.bytes);
        tally
    }
}

fn chunks(ranges: &[Range<u32>]) -> u32 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[test]
fn n3_a_patch_makes_the_front_while_records_bring_the_rest() {
    let update = update();
    let all = update.assembly.missing_bytes();
    let fronts = update.fronts(&update.scope, 500);
    let behind = update.assembly.missing_behind(&fronts);
    assert!(chunks(&behind) < chunks(&update.assembly.missing()));
    let (made, fetched) = thread::scope(|scope| {
        let made = scope.spawn(|| update.take(&update.patch, &fronts[0]).unwrap());
        let fetched = update.fetch(&behind);
        (made.join().unwrap(), fetched)
    });
    assert!(fronts[0].is_done() && update.assembly.missing().is_empty());
    assert_eq!(made + fetched, all);
    assert!(made > all / 4 && fetched > all / 4, "{made} made and {fetched} fetched of {all}");
    assert!(update.finish().patch_bytes >= made);
}

#[test]
fn what_a_patch_has_not_made_is_handed_over_half_by_half() {
    let update = update();
    let fronts = update.fronts(&update.scope, 1000);
    let handed = AtomicU64::new(0);
    // As soon as it has made something, all that can be is taken from it.
    let progress = |_| {
        let mut left = chunks(&update.assembly.missing_behind(&fronts));
        while update.assembly.hand_over(&fronts) {
            let now = chunks(&update.assembly.missing_behind(&fronts));
            assert!(now > left, "nothing was handed over");
            (left, _) = (now, handed.fetch_add(1, Ordering::Relaxed));
        }
    };
    update.assembly.take_front(&mut &*update.patch, (&update.scope, &fronts[0]), &update.seed, &progress).unwrap();
    let handed = handed.into_inner();
    assert!((4..8).contains(&handed), "{handed} times");
    let behind = update.assembly.missing_behind(&fronts);
    assert!(!behind.is_empty() && update.assembly.missing() == behind, "it made what was left to it and nothing else");
    assert!(update.finish().patch_bytes > 0);
}

#[test]
fn a_patch_that_has_made_nothing_gives_up_what_little_is_left_to_it() {
    let update = update();
    let fronts = update.fronts(&update.scope, 1000);
    let mut handed = 0;
    while update.assembly.hand_over(&fronts) {
        handed += 1;
    }
    assert!((4..12).contains(&handed), "{handed} times");
    assert!(fronts[0].is_done());
    assert_eq!(update.assembly.missing_behind(&fronts), update.assembly.missing());
    update.finish();
}

/// They are made one after the other: what is last in line is taken first, whole.
#[test]
fn of_several_patches_the_last_hands_over_first() {
    let update = update();
    let share = Share { scope: update.scope.clone(), permille: 1000 };
    let fronts: Vec<_> = update.assembly.fronts(&[share.clone(), share]).into_iter().flatten().map(Arc::new).collect();
    let all = update.assembly.missing_behind(&fronts);
    assert!(update.assembly.hand_over(&fronts));
    assert!(!fronts[0].is_done() && fronts[1].is_done());
    assert_eq!(update.assembly.missing_behind(&fronts), all, "the first still makes all of it");
    assert!(update.assembly.hand_over(&fronts));
    assert!(chunks(&update.assembly.missing_behind(&fronts)) > chunks(&all) && !fronts[0].is_done());
    update.finish();
}

#[test]
fn a_front_that_is_given_up_comes_as_records() {
    let update = update();
    let fronts = update.fronts(&update.scope, 700);
    fronts[0].give_up();
    assert_eq!(update.assembly.missing_behind(&fronts), update.assembly.missing());
    // What it is made of is not even read.
    let (program, away) = (update.pair.room.path("dest/bin/program"), update.pair.room.path("away"));
    fs::rename(&program, &away).unwrap();
    assert_eq!(update.take(&update.patch, &fronts[0]).unwrap(), 0);
    fs::rename(&away, &program).unwrap();
    assert!(!update.assembly.hand_over(&fronts));
    update.finish();
}

#[test]
fn a_damaged_patch_makes_no_wrong_byte_of_a_front_and_leaves_the_rest_to_records() {
    let mut useless = 0;
    for place in [0, 12, 60, 700, 1100] {
        let update = update();
        let fronts = update.fronts(&update.scope, 900);
        let mut damaged = update.patch.clone();
        damaged[place] ^= 0x41;
        if update.take(&damaged, &fronts[0]).is_err() {
            useless += 1;
            assert!(fronts[0].is_done(), "it is left to a patch that failed");
            assert_eq!(update.assembly.missing_behind(&fronts), update.assembly.missing());
        }
        let again = update.fronts(&update.scope, 900);
        let cut = &update.patch[..update.patch.len() / 3];
        assert!(again.iter().all(|front| update.take(cut, front).is_err()), "cut short");
        update.finish();
    }
    assert!(useless >= 2, "{useless} of 5 places of a patch matter");
}

#[test]
fn an_installed_file_that_was_changed_costs_its_front_only() {
    let update = update();
    let program = update.pair.room.path("dest/bin/program");
    let mut bytes = fs::read(&program).unwrap();
    bytes[10_000] ^= 1;
    fs::write(&program, bytes).unwrap();
    let fronts = update.fronts(&update.scope, 900);
    let error = update.take(&update.patch, &fronts[0]).unwrap_err().to_string();
    assert!(error.contains("records"), "{error}");
    update.finish();
}

#[test]
fn what_no_builder_would_say_has_no_front() {
    let update = update();
    let none = |targets: Targets| {
        let scope = Scope { targets, bases: update.scope.bases.clone() };
        assert!(update.fronts(&scope, 500).is_empty(), "{:?}", scope.targets);
    };
    let Targets::Files(files) = update.scope.targets.clone() else { panic!("it makes files") };
    let twice = [files.clone(), files.clone()].concat();
    none(Targets::Files(twice));
    none(Targets::Files(vec![u32::MAX]));
    let entry = update.assembly.manifest().find("bin/program").unwrap();
    let digest = update.assembly.manifest().file_of(entry).unwrap().1;
    for (from, len) in [(1, 100), (0, u64::MAX), (u64::MAX, u64::MAX), (0, 5)] {
        none(Targets::Part(Part { entry, from, len, chunks: 2, digest }));
    }
    assert!(update.fronts(&update.scope, 0).is_empty(), "nothing is left to it");
    update.finish();
}

#[test]
fn what_patches_and_records_share_is_surveyed_as_it_will_be() {
    let pair = pair_of(PROGRAM_BYTES);
    let seed = pair.room.seed(&pair.room.path("dest"), pair.old);
    let target = pair.room.target(true);
    let assembly = pair.open();
    assembly.learn_recipes(std::slice::from_ref(&seed)).unwrap();
    pair.room.add_recipes(&assembly);
    let installed = Some((&seed, target.work.as_path()));
    let shares: Vec<_> = pair.set.iter().map(|patch| Share { scope: patch.scope.clone(), permille: 400 }).collect();
    let [alone, both] = [&[][..], &shares].map(|shares| assembly.survey(installed, &HashSet::new(), shares).unwrap());
    assert_eq!(both.patched.bytes + both.records.bytes, alone.records.bytes);
    assert_eq!((both.kept, both.local), (alone.kept, alone.local));
    assert!(both.patched.bytes > alone.records.bytes / 4 && chunks(&both.missing) < chunks(&alone.missing));
}
