//! What arrives wrong, cut short, or of content that is damaged: it is noticed, named, and told to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use consign_store::ManifestId;

use super::fixture::{Act, client, scripted, within};
use super::plane::{collector, one, world};
use crate::net::data_plane::Limits;
use crate::net::error::Error;
use crate::net::fetch::{Sink, ask_patches, fetch_chunks, fetch_manifest, fetch_patch, fetch_recipes};
use crate::protocol::fleet::{RANGES_TYPE, VERSIONS_PATH};
use crate::protocol::patches::{PatchAnswer, PatchInfo};

fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_server_that_lies_is_named() {
    let world = world(Limits::default()).await;
    let (truth, count) = (world.truth().await, world.count().await);
    let places: Vec<usize> = (0..200).step_by(5).chain((200..truth.len()).step_by(truth.len() / 15)).collect();
    let flipped = places.iter().map(|&place| {
        let mut lie = truth.clone();
        lie[place] ^= 1 << (place % 8);
        Act::Send(answer(&lie))
    });
    let liar = scripted(&world.authority, flipped.collect()).await;
    let ids = world.ids().await;
    let lying = client(&world.authority, liar.address, None);
    let mut lies = 0;
    for place in places {
        let (sink, seen) = collector();
        let fetched = within(fetch_chunks(&lying, world.new.0, &one(0..count), sink, &AtomicU64::new(0))).await;
        let error = fetched.end.expect_err(&format!("a flipped bit at {place} went unnoticed"));
        assert!(matches!(error, Error::Lied { .. } | Error::Cut { .. }), "at {place}: {error:?}");
        assert!(error.to_string().contains(&liar.address.to_string()), "{error}");
        assert!(seen.lock().unwrap().is_subset(&ids));
        lies += u64::from(matches!(error, Error::Lied { .. }));
        // It learns of what arrived wrong, so that it can look.
        assert_eq!(liar.doubts.load(Ordering::SeqCst), lies, "at {place}: {error:?}");
    }
    assert!(lies > 0);
}

#[tokio::test]
async fn more_than_was_asked_for_and_another_kind_are_lies() {
    let world = world(Limits::default()).await;
    let truth = world.truth().await;
    let liar = scripted(&world.authority, vec![Act::Send(answer(&truth)); 2]).await;
    let lying = client(&world.authority, liar.address, None);
    let (sink, _) = collector();
    let more = within(fetch_chunks(&lying, world.new.0, &one(0..1), sink, &AtomicU64::new(0))).await.end.unwrap_err();
    assert!(matches!(more, Error::Lied { .. }), "{more:?}");
    let (sink, seen) = collector();
    let entries = 0..world.manifest().await.totals().entries.try_into().unwrap();
    let other =
        within(fetch_recipes(&lying, &*world.manifest().await, &one(entries), sink, &AtomicU64::new(0))).await.end.unwrap_err();
    assert!(matches!(other, Error::Lied { .. }), "{other:?}");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_source_that_is_cut_is_left_in_mid_file_for_the_next() {
    let world = world(Limits::default()).await;
    let truth = world.truth().await;
    let (whole, ids) = (answer(&truth), world.ids().await);
    let places: Vec<usize> = (100..whole.len()).step_by(whole.len() / 12).collect();
    let acts =
        places.iter().map(|&place| Act::Drop(whole[..place].to_vec())).chain([Act::Send(answer(&truth[..truth.len() - 5]))]);
    let cutter = scripted(&world.authority, acts.collect()).await;
    for _ in 0..=places.len() {
        let (sink, seen) = collector();
        let dying = client(&world.authority, cutter.address, None);
        let cut =
            within(fetch_chunks(&dying, world.new.0, &one(0..world.count().await), Arc::clone(&sink), &AtomicU64::new(0))).await;
        let error = cut.end.unwrap_err();
        assert!(matches!(error, Error::Cut { .. }), "{error:?}");
        assert!(error.is_temporary());
        // Only what is missing is asked of the next source.
        let table = Arc::clone(&world.plane.versions().open(world.new.0).await.unwrap().table);
        let known = seen.lock().unwrap().clone();
        let missing: Vec<_> = (0..table.len())
            .filter(|&ordinal| !known.contains(&table.line(ordinal).unwrap().id))
            .map(|ordinal| ordinal..ordinal + 1)
            .collect();
        within(fetch_chunks(&world.client(), world.new.0, &missing, sink, &AtomicU64::new(0))).await.end.unwrap();
        assert_eq!(seen.lock().unwrap().clone(), ids);
    }
}

#[tokio::test]
async fn a_failing_sink_stops_the_fetch_and_is_the_error() {
    let world = world(Limits::default()).await;
    let sink: Sink = Arc::new(|_| Err(consign_store::Error::Cancelled));
    let failed = within(fetch_chunks(&world.client(), world.new.0, &one(0..world.count().await), sink, &AtomicU64::new(0))).await;
    assert!(matches!(failed.end, Err(Error::Store(consign_store::Error::Cancelled))), "{:?}", failed.end);
}

#[tokio::test]
async fn a_dropped_fetch_lets_go_of_its_sink() {
    let world = world(Limits::default()).await;
    let (began, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
    let sink: Sink = Arc::new(move |_| {
        // Nobody listens any more once the fetch is dropped.
        let _ = began.send(());
        Ok(())
    });
    let (progress, all) = (AtomicU64::new(0), one(0..world.count().await));
    let client = world.client();
    let fetch = fetch_chunks(&client, world.new.0, &all, Arc::clone(&sink), &progress);
    within(async {
        tokio::select! {
            _ = fetch => {}
            _ = has_begun.recv() => {}
        }
    })
    .await;
    within(async {
        while Arc::strong_count(&sink) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn content_that_vanishes_while_it_is_sent_never_looks_complete() {
    let world = world(Limits::default()).await;
    let all = one(0..world.count().await);
    let shorten = |len| {
        for pack in std::fs::read_dir(world.dir.path().join("store/packs")).unwrap() {
            std::fs::OpenOptions::new().write(true).open(pack.unwrap().path()).unwrap().set_len(len).unwrap();
        }
    };
    shorten(5 << 19);
    let (sink, seen) = collector();
    let cut = within(fetch_chunks(&world.client(), world.new.0, &all, sink, &AtomicU64::new(0))).await;
    assert!(matches!(cut.end, Err(Error::Cut { .. })), "{:?}", cut.end);
    assert!(!seen.lock().unwrap().is_empty());
    // What fails at once is told as such.
    shorten(1 << 10);
    let (sink, _) = collector();
    let told = within(fetch_chunks(&world.client(), world.new.0, &all, sink, &AtomicU64::new(0))).await.end.unwrap_err();
    assert_eq!(told.problem().unwrap().code, "unreadable");
    assert!(told.is_temporary());
    assert_eq!(world.doubted(), [world.new.0; 2], "cut, and not begun");
}

#[tokio::test]
async fn a_manifest_that_is_not_the_signed_one_leaves_nothing_behind() {
    let world = world(Limits::default()).await;
    let manifest = world.manifest().await;
    let encoded = zstd::encode_all(manifest.bytes(), 3).unwrap();
    let flip = |place: usize| {
        let mut lie = encoded.clone();
        lie[place] ^= 1;
        lie
    };
    let longer = zstd::encode_all(&[manifest.bytes(), b"x"].concat()[..], 3).unwrap();
    let empty_frames = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0].repeat(100_000);
    let lies = [
        flip(10),
        flip(encoded.len() / 2),
        zstd::encode_all(&manifest.bytes()[1..], 3).unwrap(),
        zstd::encode_all(&vec![0; 50 << 20][..], 3).unwrap(),
        longer,
        [&encoded[..], b"x"].concat(),
        empty_frames,
        b"no frame at all".to_vec(),
        Vec::new(),
    ];
    let count = lies.len();
    let liar = scripted(&world.authority, lies.iter().map(|lie| Act::Send(answer(lie))).collect()).await;
    let lying = client(&world.authority, liar.address, None);
    let into = world.place();
    for number in 0..count {
        let refused = within(fetch_manifest(&lying, world.new.0, world.new.1, None, &into)).await.unwrap_err();
        assert!(matches!(refused, Error::Lied { .. }), "{number}: {refused:?}");
        assert_eq!(std::fs::read_dir(into.parent().unwrap()).unwrap().count(), 0, "{number}");
    }
    assert_eq!(liar.doubts.load(Ordering::SeqCst), count as u64);
    // Cut off, or encoded against what was not offered.
    let whole = answer(&encoded);
    let foreign = [b"HTTP/1.1 200 OK\r\nconsign-base: b3:00\r\n", &whole[17..]].concat();
    let server = scripted(&world.authority, vec![Act::Drop(whole[..whole.len() - 9].to_vec()), Act::Send(foreign)]).await;
    let dying = client(&world.authority, server.address, None);
    let cut = within(fetch_manifest(&dying, world.new.0, world.new.1, None, &into)).await.unwrap_err();
    assert!(matches!(cut, Error::Cut { .. }), "{cut:?}");
    let refused = within(fetch_manifest(&dying, world.new.0, world.new.1, None, &into)).await.unwrap_err();
    assert!(matches!(refused, Error::Lied { .. }), "{refused:?}");
    assert_eq!(std::fs::read_dir(into.parent().unwrap()).unwrap().count(), 0);
}

#[tokio::test]
async fn damaged_tables_are_built_again_and_a_version_is_opened_once() {
    let world = world(Limits::default()).await;
    let (first, second) = tokio::join!(world.plane.versions().open(world.new.0), world.plane.versions().open(world.new.0));
    assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
    let ids = world.ids().await;
    world.plane.versions().forget(world.new.0);
    for file in std::fs::read_dir(world.dir.path().join("tables")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(world.ids().await, ids);
}

#[tokio::test]
async fn a_doubt_is_taken_from_whoever_may_have_the_version_and_from_nobody_else() {
    let world = world(Limits::default()).await;
    let doubt = async |version: ManifestId| {
        let path = format!("{VERSIONS_PATH}/{version}/doubts");
        world.client().post_stream(&path, RANGES_TYPE, Bytes::new()).await.map(drop)
    };
    doubt(world.old.0).await.unwrap();
    assert_eq!(world.doubted(), [world.old.0]);
    world.rights.0.lock().unwrap().remove(&world.old.0);
    assert_eq!(doubt(world.old.0).await.unwrap_err().problem().unwrap().status, 404);
    assert_eq!(world.doubted(), [world.old.0]);
}

/// A patch that rots where it is kept reaches one machine wrong, and none after that.
#[tokio::test]
async fn damaged_patches_are_built_again() {
    let world = world(Limits::default()).await;
    let (old, new, client) = (world.old.0, world.newest, world.client());
    let dir = tempfile::tempdir().unwrap();
    let ask = async |wait| match ask_patches(&client, old, new, wait).await.unwrap() {
        PatchAnswer::Ready { set } => Some(set),
        _ => None,
    };
    let (at_once, built) = (Duration::ZERO, Duration::from_secs(10));
    let fetch = async |patch: &PatchInfo| {
        let digest = patch.read().unwrap().0;
        fetch_patch(&client, old, new, (digest, patch.len), &dir.path().join("patch"), &mut |_| true).await.end
    };
    let set = ask(built).await.unwrap();
    let kept: Vec<_> = world.patch_files().collect();
    assert_eq!(kept.len(), set.len());

    let mut bytes = std::fs::read(&kept[0]).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&kept[0], &bytes).unwrap();
    let mut lies = 0;
    for patch in &set {
        lies += usize::from(matches!(fetch(patch).await, Err(Error::Lied { .. })));
        let _ = std::fs::remove_file(dir.path().join("patch"));
    }
    assert_eq!((lies, world.doubted()), (1, vec![new]));
    within(async {
        while ask(at_once).await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;

    let set = ask(built).await.unwrap();
    for patch in &set {
        fetch(patch).await.unwrap();
        std::fs::remove_file(dir.path().join("patch")).unwrap();
    }

    // Cut short, which a machine would take for a bad line.
    let kept = world.patch_files().next().unwrap();
    std::fs::write(&kept, &bytes[..20]).unwrap();
    assert!(ask(at_once).await.is_none());

    // The disk does not give it back: nobody gets it wrong, and so nobody says so but the server itself.
    let set = ask(built).await.unwrap();
    let kept = world.patch_files().next().unwrap();
    std::fs::remove_file(&kept).unwrap();
    std::fs::create_dir(&kept).unwrap();
    for patch in &set {
        let _ = fetch(patch).await;
        let _ = std::fs::remove_file(dir.path().join("patch"));
    }
    assert_eq!(world.doubted(), [new; 2]);
    within(async {
        while kept.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
