//! Updates by patches: to an installed tree, and to a store that replicates.

use std::fs::{self, File};
use std::path::PathBuf;

use consign_store::chunk::ChunkKind;
use consign_store::chunk::record::{self, ChunkLine};
use consign_store::delta::{BuiltPatch, Scope, Span, Targets, build_set, build_small_set, take_into_store};
use consign_store::manifest::{ManifestFile, recipe};
use consign_store::restore::{Assembly, Tally};
use consign_store::{ChunkId, ManifestId, Store};

use crate::support::{Room, assert_same, noise, put, sample};
use crate::update::change;

/// Two versions that differ as builds do, the old one installed, and the patches between them.
pub struct Pair {
    pub room: Room,
    pub old: ManifestId,
    pub new: ManifestId,
    pub set: Vec<BuiltPatch>,
}

fn pair() -> Pair {
    pair_of(900_000)
}

/// The same with a program of `len` bytes.
pub fn pair_of(len: usize) -> Pair {
    let room = Room::new();
    for name in ["old", "new"] {
        let folder = room.path(name);
        sample(&folder);
        let mut program = noise(77, len);
        if name == "new" {
            // Relocated here and there, and a stretch put in: chunks change all over, the content hardly.
            program.iter_mut().skip(100).step_by(5_000).for_each(|byte| *byte = byte.wrapping_add(8));
            program.splice(400_000..400_000, noise(78, 1_000));
            change(&folder);
        }
        put(&folder, "bin/program", &program);
        put(&folder, &format!("lib/lib-{name}-1.2.{}.so", name.len()), &[noise(79, 200_000), name.into()].concat());
    }
    let old = room.publish(&room.path("old")).0.manifest;
    let new = room.publish(&room.path("new")).0.manifest;
    room.install(old, false, &[]).unwrap();
    let out = room.path("patches");
    fs::create_dir(&out).unwrap();
    let set = build_set(&room.store, &room.manifest(old), &room.manifest(new), &out).unwrap();
    assert!(!set.is_empty());
    Pair { room, old, new, set }
}

impl Pair {
    pub fn patch(&self, patch: &BuiltPatch) -> PathBuf {
        self.room.path("patches").join(patch.digest.to_hex())
    }

    pub fn open(&self) -> Assembly {
        Assembly::open(&self.room.target(true), self.room.manifest(self.new)).unwrap()
    }

    /// Applies every patch that is still wanted; returns the raw bytes made.
    fn apply(&self, assembly: &mut Assembly) -> consign_store::Result<u64> {
        let seed = self.room.seed(&self.room.path("dest"), self.old);
        let mut made = 0;
        for patch in &self.set {
            if !assembly.wants_patched(&patch.scope)? {
                continue;
            }
            made += assembly.take_patch(&mut File::open(self.patch(patch)).unwrap(), &patch.scope, &seed)?;
        }
        Ok(made)
    }

    fn complete(&self, mut assembly: Assembly) -> Tally {
        let seeds = [self.room.seed(&self.room.path("dest"), self.old)];
        assembly.learn_recipes(&seeds).unwrap();
        self.room.add_recipes(&assembly);
        assembly.take_local(&seeds).unwrap();
        let table = self.room.table(assembly.manifest());
        self.room.fill(&assembly, &table, usize::MAX);
        let tally = assembly.finish().unwrap();
        assert_same(&self.room.path("new"), &self.room.path("dest"));
        assert_eq!(
            tally.kept_bytes + tally.seed_bytes + tally.resumed_bytes + tally.patch_bytes + tally.record_bytes,
            tally.bytes
        );
        tally
    }
}

#[test]
fn n3_patches_make_what_changed_and_need_no_recipe() {
    let pair = pair();
    let mut assembly = pair.open();
    let made = pair.apply(&mut assembly).unwrap();
    let program = assembly.manifest().find("bin/program").unwrap();
    assert!(pair.set.iter().any(|patch| patch.scope.entries().contains(&program)));
    assert!(!assembly.missing_recipes().into_iter().flatten().any(|entry| entry == program), "its recipe came from the patch");
    let tally = pair.complete(assembly);
    assert_eq!(tally.patch_bytes, made);
    let wire: u64 = pair.set.iter().map(|patch| patch.len).sum();
    assert!(wire * 20 < made, "{wire} bytes of patches for {made}");
}

#[test]
fn n4_patched_files_of_an_interrupted_update_are_kept() {
    let pair = pair();
    let mut assembly = pair.open();
    let made = pair.apply(&mut assembly).unwrap();
    drop(assembly);
    let mut again = pair.open();
    assert_eq!(pair.apply(&mut again).unwrap(), 0, "nothing is wanted twice");
    assert_eq!(pair.complete(again).resumed_bytes, made);
}

#[test]
fn a_patch_on_a_changed_file_is_useless_and_records_come_instead() {
    let pair = pair();
    let program = pair.room.path("dest/bin/program");
    let mut bytes = fs::read(&program).unwrap();
    bytes[10_000] ^= 1;
    fs::write(&program, bytes).unwrap();
    let mut assembly = pair.open();
    let refused = pair.apply(&mut assembly).unwrap_err().to_string();
    assert!(refused.contains("records"), "{refused}");
    pair.complete(assembly);
}

#[test]
fn a_damaged_patch_never_makes_a_wrong_byte() {
    let pair = pair();
    let patch = pair.set.iter().max_by_key(|patch| patch.len).unwrap();
    let whole = fs::read(pair.patch(patch)).unwrap();
    let seed = pair.room.seed(&pair.room.path("dest"), pair.old);
    for step in 0..40 {
        let mut bytes = whole.clone();
        let at = step * (bytes.len() - 1) / 39;
        bytes[at] ^= 0x10;
        let assembly = pair.open();
        // A flipped bit may fall where it does not matter; then the right bytes were made.
        let _ = assembly.take_patch(&mut bytes.as_slice(), &patch.scope, &seed);
        drop(assembly);
        let cut = &whole[..at];
        let assembly = pair.open();
        assert!(assembly.take_patch(&mut &*cut, &patch.scope, &seed).is_err(), "cut at {at}");
        drop(assembly);
    }
    pair.complete(pair.open());
}

#[test]
fn a_patch_for_something_else_is_refused() {
    let pair = pair();
    let patch = &pair.set[0];
    let seed = pair.room.seed(&pair.room.path("dest"), pair.old);
    let assembly = pair.open();
    let readme = assembly.manifest().find("readme.txt").unwrap();
    let part = |len| Span::Part { entry: readme, from: 1, len };
    let bytes = fs::read(pair.patch(patch)).unwrap();
    for targets in [vec![readme], vec![u32::MAX], vec![]] {
        let scope = Scope { targets: Targets::Files(targets), ..patch.scope.clone() };
        assert!(assembly.take_patch(&mut bytes.as_slice(), &scope, &seed).is_err());
    }
    for bases in [vec![], vec![Span::File(u32::MAX)], vec![Span::File(readme)], vec![part(u64::MAX)], vec![part(1 << 40)]] {
        let scope = Scope { bases, ..patch.scope.clone() };
        assert!(assembly.take_patch(&mut bytes.as_slice(), &scope, &seed).is_err());
    }
    pair.complete(assembly);
}

#[test]
fn n3_a_store_replicates_by_patches() {
    let pair = pair();
    let dir = pair.room.path("other");
    let other = Store::open(&dir).unwrap();
    let (base, target) = (pair.room.manifest(pair.old), pair.room.manifest(pair.new));
    let mut scratch = || Ok(tempfile::tempfile().unwrap());
    copy(&pair.room.store, &other, &base);
    for patch in &pair.set {
        let mut file = File::open(pair.patch(patch)).unwrap();
        take_into_store(&other, &mut file, (&base, &target), &patch.scope, &mut scratch).unwrap();
    }
    let covered: Vec<u32> = pair.set.iter().flat_map(|patch| patch.scope.entries().to_vec()).collect();
    assert!(lacking(&other, &target).iter().all(|entry| !covered.contains(entry)));
    let damaged = fs::read(pair.patch(&pair.set[0])).unwrap();
    let cut = &damaged[..damaged.len() / 2];
    assert!(take_into_store(&other, &mut &*cut, (&base, &target), &pair.set[0].scope, &mut scratch).is_err());
}

/// Copies a version's chunks and pages from store to store.
pub fn copy(from: &Store, to: &Store, manifest: &ManifestFile) {
    each(from, manifest, &mut |kind, id| {
        let chunk = from.read_chunk(&id, kind).unwrap();
        to.append_encoded(record::encode(kind, &[chunk], 1).unwrap()).unwrap();
    });
}

fn each(store: &Store, manifest: &ManifestFile, take: &mut dyn FnMut(ChunkKind, ChunkId)) {
    let entries = u32::try_from(manifest.totals().entries).unwrap();
    for (size, digest, chunks) in (0..entries).filter_map(|entry| manifest.file_of(entry)) {
        let mut lines = Vec::new();
        let mut page = |id| {
            take(ChunkKind::RecipePage, id);
            Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone())
        };
        let mut line = |line: ChunkLine| {
            lines.push(line.id);
            Ok(())
        };
        recipe::walk(digest, size, chunks, &mut page, &mut line).unwrap();
        for id in lines {
            take(ChunkKind::Content, id);
        }
    }
}

/// Entries whose content `store` does not have whole.
fn lacking(store: &Store, manifest: &ManifestFile) -> Vec<u32> {
    let entries = u32::try_from(manifest.totals().entries).unwrap();
    let whole = |entry: &u32| {
        let Some((size, digest, chunks)) = manifest.file_of(*entry) else { return true };
        let mut page = |id| Ok(store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone());
        let mut line = |line: ChunkLine| {
            if store.contains(&line.id)? { Ok(()) } else { Err(consign_store::Error::NoChunk(line.id)) }
        };
        recipe::walk(digest, size, chunks, &mut page, &mut line).is_ok()
    };
    (0..entries).filter(|entry| !whole(entry)).collect()
}

#[test]
fn what_is_small_is_built_the_same_and_what_is_not_is_left_to_a_worker() {
    let Pair { room, old, new, set } = pair();
    let out = room.path("small");
    fs::create_dir(&out).unwrap();
    let versions = (&room.manifest(old), &room.manifest(new));
    let build = |bytes_max| build_small_set(&room.store, versions, &out, bytes_max).unwrap();
    assert_eq!(build(u64::MAX), Some(set));
    assert_eq!(build(1 << 20), None, "the program alone has more, on both sides");
}
