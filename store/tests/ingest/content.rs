//! What an ingest stores, and that it is the same every time.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use consign_store::ingest::{Options, ingest, survey};
use consign_store::manifest::{ChunkTable, EntryKind, Layout, ManifestFile};
use consign_store::{Error, Store};

use crate::support::{Bench, noise, options};

/// A tree with every kind of thing, and files on each side of each size limit.
fn fill(bench: &Bench) {
    bench.write("empty", b"");
    bench.write("bin/tool", b"#!/bin/sh\n");
    fs::set_permissions(bench.source().join("bin/tool"), fs::Permissions::from_mode(0o750)).expect("mode");
    symlink("tool", bench.source().join("bin/tool-1")).expect("link");
    symlink("../bin", bench.source().join("bin/self")).expect("link");
    fs::create_dir(bench.source().join("void")).expect("folder");
    for (name, len) in
        [("a", 16 << 10), ("b", 256 << 10), ("c", (256 << 10) + 1), ("d", 1 << 20), ("e", (1 << 20) + 1), ("f", 9 << 20)]
    {
        bench.write(&format!("size/{name}.bin"), &noise(len, len as u64));
    }
    for n in 0..500u32 {
        bench.write(&format!("many/{}/{n}.txt", n % 7), format!("file number {n}\n").repeat(n as usize % 50).as_bytes());
    }
}

#[test]
fn everything_comes_back() {
    let bench = Bench::new();
    fill(&bench);
    let done = bench.ingest().expect("ingested");
    bench.assert_holds_source(done.manifest);
    let manifest = bench.manifest(done.manifest);
    assert_eq!(
        (done.files, done.bytes, done.chunks),
        (manifest.totals().files, manifest.totals().bytes, manifest.totals().chunks)
    );
    assert_eq!((done.sha256, done.manifest_len), (manifest.sha256(), manifest.bytes().len() as u64));
    assert_eq!(done.files_read, done.files);
    let tool = manifest.entry(manifest.find("bin/tool").expect("there"));
    assert_eq!(tool.attributes.mode, 0o750);
    let packs = fs::read_dir(bench.store.dir().join("packs")).expect("packs").count();
    assert_eq!(packs, 1);
    assert_eq!(fs::read_dir(bench.store.dir().join("tmp")).expect("tmp").count(), 0);
}

#[test]
fn an_empty_folder_is_a_version() {
    let bench = Bench::new();
    let done = bench.ingest().expect("ingested");
    assert_eq!((done.files, done.bytes, done.chunks), (0, 0, 0));
    bench.assert_holds_source(done.manifest);
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_workers() {
    let bench = Bench::new();
    fill(&bench);
    let mut first = None;
    for workers in [1, 2, 7] {
        let dir = bench.dir.path().join(format!("store-{workers}"));
        let store = Store::open(&dir).expect("store");
        let done = ingest(&store, &bench.source(), &Options { workers, ..options() }).expect("ingested");
        let stats = store.stats().expect("stats");
        let at = store.locate(&consign_store::FileDigest::from(done.manifest).into()).expect("located").expect("there");
        let pack = fs::read(store.pack_path(at.record.pack).expect("pack")).expect("read");
        let found = (done, stats, pack);
        let first = first.get_or_insert_with(|| found.clone());
        assert!(*first == found, "{workers} workers");
    }
}

#[test]
fn repeated_content_is_stored_once() {
    let bench = Bench::new();
    let content = noise(3 << 20, 1);
    for name in ["a", "b/c", "d"] {
        bench.write(name, &content);
    }
    let first = bench.ingest().expect("ingested");
    assert_eq!(first.chunks, 3 * first.new_chunks);
    assert!(first.new_stored_bytes < (3 << 20) + (64 << 10));
    let again = bench.ingest().expect("again");
    assert_eq!((again.manifest, again.new_chunks, again.new_stored_bytes), (first.manifest, 0, 0));
}

#[test]
fn a_small_change_of_a_large_file_adds_few_chunks() {
    let bench = Bench::new();
    let mut content = noise(12 << 20, 5);
    bench.write("disk.img", &content);
    let first = bench.ingest().expect("ingested");
    content.splice(6 << 20..6 << 20, *b"inserted");
    bench.write("disk.img", &content);
    let second = bench.ingest().expect("ingested");
    assert!(second.new_chunks <= 3, "{} new chunks", second.new_chunks);
    assert_ne!(first.manifest, second.manifest);
    bench.assert_holds_source(second.manifest);
}

#[test]
fn survey_names_the_same_manifest_and_lists_every_chunk() {
    let bench = Bench::new();
    fill(&bench);
    let done = bench.ingest().expect("ingested");
    let (manifest_at, table_at) = (bench.dir.path().join("m\u{fc}"), bench.dir.path().join("table"));
    let id = survey(&bench.source(), &options(), &manifest_at, &table_at).expect("surveyed");
    assert_eq!(id, done.manifest);
    let manifest = ManifestFile::open(&manifest_at, id).expect("manifest");
    let table = ChunkTable::open(&table_at, &manifest).expect("table");
    let layout = Layout::of(&manifest).expect("layout");
    assert_eq!(u64::from(table.len()), done.chunks);
    for file in layout.files() {
        let EntryKind::File { size, .. } = manifest.entry(file.entry).kind else { panic!("a folder in the layout") };
        let sum: u64 = (file.first..file.first + file.chunks).map(|at| u64::from(table.line(at).expect("known").len)).sum();
        assert_eq!(sum, size);
    }
}

#[test]
fn progress_ends_at_the_totals() {
    let bench = Bench::new();
    fill(&bench);
    let options = options();
    let done = ingest(&bench.store, &bench.source(), &options).expect("ingested");
    let progress = &options.progress;
    assert_eq!((progress.files_total.load(Relaxed), progress.files_done.load(Relaxed)), (done.files, done.files));
    assert_eq!((progress.bytes_total.load(Relaxed), progress.bytes_done.load(Relaxed)), (done.bytes, done.bytes));
}

#[test]
fn cancelling_ends_it() {
    let bench = Bench::new();
    fill(&bench);
    let before = options();
    before.progress.cancel.store(true, Relaxed);
    assert!(matches!(ingest(&bench.store, &bench.source(), &before), Err(Error::Cancelled)));
    // In the middle: 16 GiB of holes would take many seconds.
    fs::File::create(bench.source().join("endless")).and_then(|file| file.set_len(16 << 30)).expect("a sparse file");
    let during = options();
    let progress = during.progress.clone();
    thread::scope(|scope| {
        scope.spawn(|| {
            while progress.files_done.load(Relaxed) == 0 {
                thread::yield_now();
            }
            progress.cancel.store(true, Relaxed);
        });
        assert!(matches!(ingest(&bench.store, &bench.source(), &during), Err(Error::Cancelled)));
    });
    fs::remove_file(bench.source().join("endless")).expect("removed");
    bench.assert_holds_source(bench.ingest().expect("the store is as good as before").manifest);
}
