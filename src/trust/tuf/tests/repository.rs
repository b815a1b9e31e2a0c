//! The signer.

use super::*;

#[test]
fn every_change_raises_the_versions_it_must() {
    let mut world = world();
    let names = |world: &World| world.repository.files().into_iter().map(|(file, _)| file).collect::<Vec<_>>();
    assert_eq!(names(&world), ["1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"]);
    world.release(1, 1, NOW);
    assert_eq!(names(&world), ["1.root.json", "2.targets.json", "2.snapshot.json", "timestamp.json"]);
    let path = target_path(package(1), 1, &release(1, 1).manifest);
    world.repository = world.repository.retire(&world.keys, &path, NOW).unwrap();
    assert_eq!(names(&world)[1..3], ["3.targets.json", "3.snapshot.json"]);
    assert!(world.repository.trusted_targets().is_empty());
    assert!(matches!(world.repository.retire(&world.keys, &path, NOW), Err(Error::NoTarget { .. })));
}

#[test]
fn a_released_version_never_changes() {
    let mut world = world();
    world.release(1, 1, NOW);
    world.release(1, 1, NOW);
    assert_eq!(world.repository.trusted_targets().len(), 1);
    let changed = Release { length: 5, ..release(1, 1) };
    assert!(matches!(world.repository.release(&world.keys, &[changed], NOW), Err(Error::Immutable { .. })));
    let other = Release { manifest: ManifestId([9; 32]), ..release(1, 1) };
    assert!(matches!(world.repository.release(&world.keys, &[other], NOW), Err(Error::Immutable { .. })));
}

#[test]
fn renewal_keeps_a_fleet_fresh_for_a_year_without_releases() {
    let mut world = world();
    world.release(1, 1, NOW);
    let mut client = world.current_client(NOW);
    let mut now = NOW;
    while now.0 < NOW.plus_secs(360 * DAY_SECS).0 {
        let due = world.repository.renewal_due();
        assert!(due > now, "renewal is due again at once");
        now = due;
        world.repository = world.repository.renew(&world.keys, now).unwrap();
        world.publish();
        world.update(&mut client, now).unwrap();
    }
    assert_eq!(client.targets().unwrap().len(), 1);
}

#[test]
fn stored_metadata_is_opened_only_if_it_is_signed_and_belongs_together() {
    let mut world = world();
    let old = world.repository.clone();
    world.release(1, 1, NOW);
    let new = &world.repository;
    let same = Repository::open(new.root(), new.targets(), new.snapshot(), new.timestamp()).unwrap();
    assert_eq!(same.files(), new.files());
    assert!(matches!(Repository::open(new.root(), old.targets(), new.snapshot(), new.timestamp()), Err(Error::Mismatch { .. })));
    assert!(matches!(Repository::open(new.root(), old.targets(), old.snapshot(), new.timestamp()), Err(Error::Mismatch { .. })));
    let damaged = new.targets().replace("1.0", "6.6");
    assert!(matches!(Repository::open(new.root(), &damaged, new.snapshot(), new.timestamp()), Err(Error::Signatures { .. })));
}

#[test]
fn a_swapped_key_file_is_noticed_before_anything_is_published() {
    let mut world = world();
    std::mem::swap(&mut world.keys.targets, &mut world.keys.snapshot);
    assert!(matches!(world.repository.release(&world.keys, &[release(1, 1)], NOW), Err(Error::Signatures { .. })));
}

#[test]
fn odd_labels_are_read_as_they_were_released() {
    let mut world = world();
    for (version, label) in (1..).zip(["\"quoted\\\"", "cafe\u{301}", "\u{1f980} \u{fc}n\u{ef}", "", "line\nbreak \u{1}\u{7f}"]) {
        let labelled = Release { label: Some(label.to_owned()), ..release(1, version) };
        world.repository = world.repository.release(&world.keys, &[labelled], NOW).unwrap();
        world.publish();
        let client = world.current_client(NOW);
        assert_eq!(client.targets().unwrap().version(package(1), version).unwrap().label.as_deref(), Some(label));
    }
}
