//! The ordinary way.

use super::*;

#[test]
fn a_first_update_brings_what_is_released() {
    let mut world = world();
    world.release(1, 1, NOW);
    world.release(1, 2, NOW);
    world.release(2, 1, NOW);
    let mut client = world.client();
    assert!(client.targets().is_none());
    let asked = world.update(&mut client, NOW).unwrap();
    assert_eq!(asked, ["2.root.json", "timestamp.json", "4.snapshot.json", "4.targets.json"]);
    let targets = client.targets().unwrap();
    let wanted = release(1, 2);
    let path = target_path(wanted.package, 2, &wanted.manifest);
    let found = targets.target(&path).unwrap();
    assert_eq!((found.manifest, found.length, found.sha256), (wanted.manifest, wanted.length, wanted.sha256));
    assert_eq!((found.label.as_deref(), found.released), (Some("2.0"), NOW));
    assert_eq!(targets.current(package(1)), Some(found));
    assert_eq!(targets.manifest(package(1), &wanted.manifest), Some(found));
    assert_eq!(targets.versions(package(1)).map(|i| i.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((targets.len(), targets.current(package(9))), (3, None));
    assert!(targets.target(&target_path(wanted.package, 2, &ManifestId([0; 32]))).is_none());
    assert!(targets.target("packages/x").is_none());
}

#[test]
fn with_an_unchanged_timestamp_nothing_else_is_fetched() {
    let mut world = world();
    world.release(1, 1, NOW);
    let mut client = world.current_client(NOW);
    assert_eq!(world.update(&mut client, NOW).unwrap(), ["2.root.json", "timestamp.json"]);
    assert_eq!(client.targets().unwrap().len(), 1);
}

#[test]
fn a_renewed_timestamp_alone_is_fetched_alone() {
    let mut world = world();
    let mut client = world.current_client(NOW);
    let later = NOW.plus_secs(DAY_SECS);
    world.repository = world.repository.renew(&world.keys, later).unwrap();
    world.publish();
    assert_eq!(world.update(&mut client, later).unwrap(), ["2.root.json", "timestamp.json"]);
    assert_eq!(client.fresh_until(), Some(later.plus_secs(DAY_SECS)));
}

#[test]
fn a_state_survives_storage_and_goes_on_from_there() {
    let mut world = world();
    world.release(1, 1, NOW);
    let client = world.current_client(NOW);
    let stored = serde_json::to_string(&client.state()).unwrap();
    let mut loaded = Client::load(&serde_json::from_str(&stored).unwrap()).unwrap();
    assert_eq!((loaded.targets(), loaded.floor()), (client.targets(), client.floor()));
    assert_eq!(loaded.state(), client.state());
    world.release(1, 2, NOW);
    let asked = world.update(&mut loaded, NOW).unwrap();
    assert_eq!(asked, ["2.root.json", "timestamp.json", "3.snapshot.json", "3.targets.json"]);
    assert_eq!(loaded.targets().unwrap().current(package(1)).unwrap().version, 2);
}

#[test]
fn an_interrupted_update_is_finished_by_the_next() {
    let mut world = world();
    let mut client = world.current_client(NOW);
    world.release(1, 1, NOW);
    let withheld = world.source.remove("2.targets.json").unwrap();
    assert!(matches!(world.update(&mut client, NOW), Err(Error::Missing { file }) if file == "2.targets.json"));
    assert!(client.targets().is_none(), "outdated targets stay in use while the new ones are held back");
    let mut client = Client::load(&client.state()).unwrap();
    assert!(client.targets().is_none());
    world.source.insert("2.targets.json".to_owned(), withheld);
    assert_eq!(world.update(&mut client, NOW).unwrap(), ["2.root.json", "timestamp.json", "2.targets.json"]);
    assert_eq!(client.targets().unwrap().len(), 1);
}

#[test]
fn a_damaged_stored_state_is_fetched_again() {
    let mut world = world();
    world.release(1, 1, NOW);
    let client = world.current_client(NOW);
    let stored = serde_json::to_string(&client.state()).unwrap().replace("1.0\\\"", "6.6\\\"");
    let mut client = Client::load(&serde_json::from_str(&stored).unwrap()).unwrap();
    assert!(client.targets().is_none());
    assert!(world.update(&mut client, NOW).unwrap().contains(&"2.targets.json".to_owned()));
    assert_eq!(client.targets().unwrap().len(), 1);
}

#[test]
fn golden_metadata_is_written_and_read_byte_for_byte() {
    let mut world = world();
    world.release(1, 1, NOW);
    let golden = [
        ("1.root.json", include_str!("golden/1.root.json")),
        ("2.targets.json", include_str!("golden/2.targets.json")),
        ("2.snapshot.json", include_str!("golden/2.snapshot.json")),
        ("timestamp.json", include_str!("golden/timestamp.json")),
    ];
    for (file, text) in golden {
        assert_eq!(std::str::from_utf8(&world.source[file]).unwrap(), text, "{file}");
    }
    assert_eq!(world.current_client(NOW).targets().unwrap().len(), 1);
}
