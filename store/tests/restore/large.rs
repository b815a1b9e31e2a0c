//! A file that is too large for one patch: made in parts, resumed, and repaired where a part cannot be made.

use std::fs::{self, File};

use consign_store::delta::{BuiltPatch, Part, Targets, build_set, join_parts, lacks_any, take_into_store};
use consign_store::restore::{Assembly, Tally};
use consign_store::{ManifestId, Store};

use crate::patches::copy;
use crate::support::{Room, noise, put};

const MIB: usize = 1 << 20;

/// Two versions of a large file, mostly holes in noise, the old one installed, and the patches between them.
struct Pair {
    room: Room,
    old: ManifestId,
    new: ManifestId,
    set: Vec<BuiltPatch>,
}

fn pair() -> Pair {
    let room = Room::new();
    let mut image = vec![0; 140 * MIB];
    for number in 0..7 {
        image[number * 20 * MIB..][..6 * MIB].copy_from_slice(&noise(number as u64, 6 * MIB));
    }
    put(&room.path("old"), "image.bin", &image);
    let old = room.publish(&room.path("old")).0.manifest;
    // All that follows moves; a stretch moves from the back to the front; here and there a few bytes are others.
    image.splice(5_000..5_000, noise(100, 70_001));
    let moved: Vec<u8> = image.drain(121 * MIB..124 * MIB).collect();
    image.splice(30 * MIB..30 * MIB, moved);
    (0..140).for_each(|number| image[number * MIB + 77_777] ^= 0x55);
    put(&room.path("new"), "image.bin", &image);
    let new = room.publish(&room.path("new")).0.manifest;
    room.install(old, false, &[]).unwrap();
    let out = room.path("patches");
    fs::create_dir(&out).unwrap();
    let set = build_set(&room.store, &room.manifest(old), &room.manifest(new), &out).unwrap();
    let left: Vec<_> = fs::read_dir(&out).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left.len(), set.len(), "only patches stay: {left:?}");
    Pair { room, old, new, set }
}

impl Pair {
    fn open(&self) -> Assembly {
        Assembly::open(&self.room.target(true), self.room.manifest(self.new)).unwrap()
    }

    fn parts(&self) -> Vec<Part> {
        self.set.iter().filter_map(|patch| patch.scope.part()).collect()
    }

    fn file(&self, patch: &BuiltPatch) -> File {
        File::open(self.room.path("patches").join(patch.digest.to_hex())).unwrap()
    }

    /// Applies some of the patches, as far as they are wanted; returns what each made.
    fn apply<'a>(
        &self,
        assembly: &mut Assembly,
        set: impl IntoIterator<Item = &'a BuiltPatch>,
    ) -> Vec<consign_store::Result<u64>> {
        let seed = self.room.seed(&self.room.path("dest"), self.old);
        let wanted = set.into_iter();
        let mut made = Vec::new();
        for patch in wanted {
            if assembly.wants_patched(&patch.scope).unwrap() {
                made.push(assembly.take_patch(&mut self.file(patch), &patch.scope, &seed));
            }
        }
        assembly.join_parts(&self.parts()).unwrap();
        made
    }

    /// Fetches what is left: recipe pages and their count, then records.
    fn complete(&self, mut assembly: Assembly) -> (u64, Tally) {
        let pages = self.room.add_recipes(&assembly);
        assembly.take_local(&[self.room.seed(&self.room.path("dest"), self.old)]).unwrap();
        let table = self.room.table(assembly.manifest());
        self.room.fill(&assembly, &table, usize::MAX);
        let tally = assembly.finish().unwrap();
        let (made, wanted) =
            (fs::read(self.room.path("dest/image.bin")).unwrap(), fs::read(self.room.path("new/image.bin")).unwrap());
        assert!(made == wanted, "the file is another one");
        (pages, tally)
    }
}

#[test]
fn n3_a_large_file_is_made_in_parts_without_records_and_recipe() {
    let pair = pair();
    let bytes: u64 = pair.set.iter().map(|patch| patch.len).sum();
    assert!(pair.set.len() >= 5 && bytes < 100_000, "{bytes} bytes in {} patches", pair.set.len());
    let mut assembly = pair.open();
    let made: u64 = pair.apply(&mut assembly, &pair.set).into_iter().map(Result::unwrap).sum();
    let (pages, tally) = pair.complete(assembly);
    assert_eq!((pages, tally.record_bytes, tally.patch_bytes), (0, 0, made));
    assert_eq!(made, tally.bytes);
}

#[test]
fn n4_parts_that_were_made_before_a_stop_are_not_made_again() {
    let pair = pair();
    let mut assembly = pair.open();
    // Not in order, and the last one half.
    assert_eq!(pair.apply(&mut assembly, [&pair.set[3], &pair.set[1]]).len(), 2);
    let whole = fs::read(pair.room.path("patches").join(pair.set[0].digest.to_hex())).unwrap();
    let seed = pair.room.seed(&pair.room.path("dest"), pair.old);
    assert!(assembly.take_patch(&mut &whole[..whole.len() / 2], &pair.set[0].scope, &seed).is_err());
    drop(assembly);
    let mut again = pair.open();
    assert_eq!(pair.apply(&mut again, &pair.set).len(), pair.set.len() - 2);
    drop(again);
    let mut last = pair.open();
    assert!(pair.apply(&mut last, &pair.set).is_empty(), "nothing is wanted twice");
    let (pages, tally) = pair.complete(last);
    assert_eq!((pages, tally.record_bytes), (0, 0));
}

#[test]
fn a_part_whose_base_is_damaged_comes_as_records_and_the_others_stay() {
    let pair = pair();
    let path = pair.room.path("dest/image.bin");
    let mut bytes = fs::read(&path).unwrap();
    bytes[61 * MIB..61 * MIB + 100].fill(3);
    fs::write(&path, bytes).unwrap();
    let mut assembly = pair.open();
    let made = pair.apply(&mut assembly, &pair.set);
    assert_eq!(made.iter().filter(|made| made.is_err()).count(), 1, "{made:?}");
    let (pages, tally) = pair.complete(assembly);
    assert!(pages > 0 && tally.record_bytes > 0 && tally.record_bytes < MIB as u64, "{tally:?}");
}

#[test]
fn a_part_that_lies_about_itself_is_refused() {
    let pair = pair();
    let seed = pair.room.seed(&pair.room.path("dest"), pair.old);
    let patch = &pair.set[1];
    let Targets::Part(part) = patch.scope.targets else { panic!("a part") };
    let lies = [
        Part { entry: u32::MAX, ..part },
        Part { from: u64::MAX, ..part },
        Part { from: 140 << 20, ..part },
        Part { len: 0, ..part },
        Part { len: part.len - 1, ..part },
        Part { len: u64::MAX, ..part },
        Part { chunks: part.chunks - 1, ..part },
        Part { digest: pair.parts()[2].digest, ..part },
    ];
    let mut assembly = pair.open();
    for targets in lies {
        let mut scope = patch.scope.clone();
        scope.targets = Targets::Part(targets);
        assert!(assembly.take_patch(&mut pair.file(patch), &scope, &seed).is_err(), "{targets:?}");
        assembly.join_parts(&[targets]).unwrap();
    }
    // A part in the wrong place is not noticed until the file is whole; then its recipe is not believed.
    let mut parts = pair.parts();
    assert!(pair.apply(&mut assembly, &pair.set).iter().all(Result::is_ok));
    drop(assembly);
    let mut again = Assembly::open(&pair.room.target(true), pair.room.manifest(pair.new)).unwrap();
    let (first, second) = (parts[0].digest, parts[1].digest);
    (parts[0].digest, parts[1].digest) = (second, first);
    again.join_parts(&parts).unwrap();
    assert!(pair.apply(&mut again, &pair.set).is_empty());
    assert_eq!(pair.complete(again).0, 0);
}

#[test]
fn n3_a_store_takes_a_large_file_in_parts() {
    let pair = pair();
    let other = Store::open(&pair.room.path("other")).unwrap();
    let (base, target) = (pair.room.manifest(pair.old), pair.room.manifest(pair.new));
    copy(&pair.room.store, &other, &base);
    let mut scratch = || Ok(tempfile::tempfile().unwrap());
    for patch in &pair.set {
        assert!(lacks_any(&other, &target, &patch.scope).unwrap());
        join_parts(&other, &target, &pair.parts()).unwrap();
        take_into_store(&other, &mut pair.file(patch), (&base, &target), &patch.scope, &mut scratch).unwrap();
        assert!(!lacks_any(&other, &target, &patch.scope).unwrap());
    }
    join_parts(&other, &target, &pair.parts()).unwrap();
    let whole = consign_store::delta::Scope { targets: Targets::Files(vec![target.find("image.bin").unwrap()]), bases: vec![] };
    assert!(!lacks_any(&other, &target, &whole).unwrap(), "recipe and chunks are there");
}

/// A file larger than a group, but not too large for one patch: two parts, each from all of the old one, made at once.
#[test]
fn n3_parts_of_a_file_are_made_at_once() {
    let room = Room::new();
    let mut image = vec![0; 40 * MIB];
    (0..10).for_each(|number| image[number * 4 * MIB..][..MIB].copy_from_slice(&noise(number as u64, MIB)));
    put(&room.path("old"), "image.bin", &image);
    let old = room.publish(&room.path("old")).0.manifest;
    // What is in front comes from the back.
    let moved: Vec<u8> = image.drain(36 * MIB..37 * MIB).collect();
    image.splice(5_000..5_000, moved);
    put(&room.path("new"), "image.bin", &image);
    let new = room.publish(&room.path("new")).0.manifest;
    room.install(old, false, &[]).unwrap();
    let out = room.path("patches");
    fs::create_dir(&out).unwrap();
    let set = build_set(&room.store, &room.manifest(old), &room.manifest(new), &out).unwrap();
    let parts: Vec<Part> = set.iter().filter_map(|patch| patch.scope.part()).collect();
    let bytes: u64 = set.iter().map(|patch| patch.len).sum();
    assert!(parts.len() == 2 && bytes < 3_000, "{bytes} bytes in {} parts", parts.len());
    assert!(parts[0].len.abs_diff(parts[1].len) < 1 << 20, "{parts:?}");
    let pair = Pair { room, old, new, set };
    let assembly = pair.open();
    let seed = pair.room.seed(&pair.room.path("dest"), old);
    std::thread::scope(|scope| {
        let made: Vec<_> = pair
            .set
            .iter()
            .map(|patch| scope.spawn(|| assembly.take_patch(&mut pair.file(patch), &patch.scope, &seed)))
            .collect();
        for made in made {
            assert!(made.join().unwrap().is_ok());
        }
    });
    assembly.join_parts(&parts).unwrap();
    let (pages, tally) = pair.complete(assembly);
    assert_eq!((pages, tally.record_bytes, tally.patch_bytes), (0, 0, 40 * MIB as u64));
}
