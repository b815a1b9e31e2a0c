//! What a refresh reads again, and what not.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use consign_store::Store;
use consign_store::ingest::{Options, ingest};

use crate::support::{Bench, noise, now, options};

fn filled() -> Bench {
    let bench = Bench::new();
    bench.write("a", b"one");
    bench.write("b/c", b"two");
    bench.write("b/large", &noise(3 << 20, 2));
    bench.write("b-d", b"");
    bench
}

#[test]
fn an_unchanged_source_is_not_read() {
    let bench = filled();
    let first = bench.refresh();
    assert_eq!(first.files_read, 4);
    let again = bench.refresh();
    assert_eq!((again.manifest, again.files_read, again.new_stored_bytes), (first.manifest, 0, 0));
    assert_eq!((again.files, again.bytes, again.chunks), (first.files, first.bytes, first.chunks));
}

#[test]
fn only_what_changed_is_read() {
    let bench = filled();
    bench.refresh();
    bench.write("b/c", b"new");
    bench.write("b/new", b"more");
    fs::remove_file(bench.source().join("a")).expect("removed");
    let again = bench.refresh();
    assert_eq!(again.files_read, 2);
    bench.assert_holds_source(again.manifest);
    assert_eq!(bench.refresh().files_read, 0);
}

#[test]
fn a_change_that_hides_its_size_and_time_is_noticed() {
    let bench = filled();
    let first = bench.refresh();
    let at = bench.source().join("a");
    let mtime = fs::metadata(&at).expect("there").modified().expect("mtime");
    fs::write(&at, b"onf").expect("written");
    File::options().write(true).open(&at).and_then(|file| file.set_modified(mtime)).expect("mtime set back");
    let again = bench.refresh();
    assert_ne!(again.manifest, first.manifest);
    assert_eq!(again.files_read, 1);
    bench.assert_holds_source(again.manifest);
}

#[test]
fn a_changed_mode_is_a_new_version_without_new_content() {
    let bench = filled();
    let first = bench.refresh();
    fs::set_permissions(bench.source().join("a"), fs::Permissions::from_mode(0o700)).expect("mode");
    let again = bench.refresh();
    assert_ne!(again.manifest, first.manifest);
    assert_eq!(again.new_chunks, 0);
}

#[test]
fn verify_reads_everything() {
    let bench = filled();
    let first = bench.refresh();
    let again = bench.refresh_with(|options| options.verify = true);
    assert_eq!((again.files_read, again.manifest), (4, first.manifest));
    assert_eq!(bench.refresh().files_read, 0);
}

#[test]
fn files_changed_just_before_the_scan_are_not_trusted() {
    let bench = filled();
    bench.refresh_with(|options| options.now_unix_nanos = now());
    assert_eq!(bench.refresh().files_read, 4);
    assert_eq!(bench.refresh().files_read, 0);
    // Touched into the future: never trusted.
    let future = std::time::SystemTime::now() + Duration::from_hours(1);
    let at = bench.source().join("a");
    File::options().write(true).open(at).and_then(|file| file.set_modified(future)).expect("touched");
    assert_eq!(bench.refresh().files_read, 1);
    assert_eq!(bench.refresh().files_read, 1);
}

#[test]
fn a_damaged_cache_is_an_empty_one() {
    let bench = filled();
    let first = bench.refresh();
    let good = fs::read(bench.cache()).expect("cache");
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(bench.cache(), &bad).expect("written");
        let again = bench.refresh();
        assert_eq!((again.files_read, again.manifest), (4, first.manifest), "byte {at}");
    }
    for len in [0, 10, 55, 56, good.len() - 1] {
        fs::write(bench.cache(), &good[..len]).expect("written");
        assert_eq!(bench.refresh().files_read, 4, "cut to {len}");
    }
}

#[test]
fn the_cache_is_not_trusted_for_content_that_the_store_lacks() {
    let bench = filled();
    let first = bench.refresh();
    let store = Store::open(&bench.dir.path().join("other")).expect("store");
    let options = Options { stat_cache: Some(bench.cache()), now_unix_nanos: now() + 60_000_000_000, ..options() };
    let other = ingest(&store, &bench.source(), &options).expect("ingested");
    // The empty file needs no content.
    assert_eq!((other.manifest, other.files_read), (first.manifest, 3));
    assert_eq!(other.new_stored_bytes, first.new_stored_bytes);
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_with_its_name() {
    let bench = filled();
    let options = Options { stat_cache: Some(bench.dir.path().join("absent/cache")), ..options() };
    let error = ingest(&bench.store, &bench.source(), &options).expect_err("no folder").to_string();
    assert!(error.contains("absent"), "{error}");
}
