//! Sources that change while they are read: noticed and read again, else a clear error, never a mixed version.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use consign_store::Error;
use consign_store::ingest::ingest;

use crate::support::{Bench, noise, options};

/// Runs an ingest while `change` is called over and over.
fn while_changing(bench: &Bench, mut change: impl FnMut() + Send) -> consign_store::Result<consign_store::ingest::Ingested> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                change();
            }
        });
        let done = bench.ingest();
        ended.store(true, Relaxed);
        done
    })
}

#[test]
fn a_file_that_keeps_growing_is_named() {
    let bench = Bench::new();
    bench.write("calm", b"calm");
    let at = bench.source().join("log");
    // So large that it is written to many times while it is read once.
    let mut log = File::create(&at).expect("created");
    log.set_len(128 << 20).expect("sparse");
    let error = while_changing(&bench, || {
        log.write_all(b"line\n").expect("written");
    })
    .expect_err("unstable");
    assert!(matches!(&error, Error::Unstable { path, .. } if *path == at), "{error}");
    assert!(error.to_string().contains("keeps changing"), "{error}");
    drop(log);
    bench.assert_holds_source(bench.ingest().expect("calm now").manifest);
}

#[test]
fn a_file_that_shrinks_and_grows_is_never_mixed() {
    let bench = Bench::new();
    let whole = noise(2 << 20, 9);
    bench.write("file", &whole);
    let at = bench.source().join("file");
    let file = File::options().write(true).open(&at).expect("opened");
    let mut short = false;
    let done = while_changing(&bench, || {
        short = !short;
        file.set_len(if short { 1 << 20 } else { 3 << 20 }).expect("resized");
    });
    // Whatever moment it caught, it is one the file was in: the first megabyte, then zeros up to one of the two lengths.
    match done {
        Ok(done) => {
            let manifest = bench.manifest(done.manifest);
            let (size, digest, chunks) = manifest.file_of(manifest.find("file").expect("there")).expect("a file");
            let content = bench.content(digest, size, chunks);
            assert!(content[..1 << 20] == whole[..1 << 20]);
            assert!(content.len() == 1 << 20 || content.len() == 3 << 20 || content == whole);
        }
        Err(error) => assert!(matches!(error, Error::Unstable { .. }), "{error}"),
    }
}

#[test]
fn files_that_vanish_during_the_reading_are_left_out() {
    let bench = Bench::new();
    for n in 0..2000 {
        bench.write(&format!("{}/{n}", n % 10), &noise(5000, n));
    }
    let options = options();
    let progress = options.progress.clone();
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            while progress.files_done.load(Relaxed) == 0 {
                thread::yield_now();
            }
            fs::remove_dir_all(bench.source().join("3")).expect("removed");
        });
        ingest(&bench.store, &bench.source(), &options)
    });
    match done {
        Ok(done) => bench.assert_holds_source(done.manifest),
        Err(error) => assert!(matches!(error, Error::Unstable { .. }), "{error}"),
    }
    bench.assert_holds_source(bench.ingest().expect("calm now").manifest);
}

#[test]
fn a_folder_that_becomes_a_link_is_not_followed() {
    let bench = Bench::new();
    bench.write("dir/file", b"inside");
    let outside = bench.dir.path().join("outside");
    fs::create_dir(&outside).expect("folder");
    fs::write(outside.join("file"), b"outside").expect("written");
    let (dir, moved) = (bench.source().join("dir"), bench.source().join("moved"));
    let error = while_changing(&bench, || {
        fs::rename(&dir, &moved).expect("moved");
        std::os::unix::fs::symlink(&outside, &dir).expect("link");
        fs::remove_file(&dir).expect("removed");
        fs::rename(&moved, &dir).expect("moved back");
    });
    match error {
        Ok(done) => {
            let manifest = bench.manifest(done.manifest);
            for entry in manifest.entries() {
                assert!(["dir", "moved", "dir/file", "moved/file"].contains(&entry.path.as_str()));
            }
            let outside_id = consign_store::ChunkId::of_content(b"outside");
            assert!(
                (0..).zip(manifest.entries()).all(|(n, _)| manifest.file_of(n).is_none_or(|file| file.1 != outside_id.into()))
            );
        }
        Err(Error::Unstable { .. }) => {}
        Err(Error::Refused { why, .. }) => assert!(why.contains("absolute"), "{why}"),
        Err(other) => panic!("{other}"),
    }
}
