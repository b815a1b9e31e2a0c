//! One test an attack: what a hostile or broken source may serve, and why it gets nowhere.

use super::super::model::{Root, Snapshot, TargetFile, Targets, Timestamp};
use super::*;

fn timestamp_of(world: &World, version: u64, snapshot_version: u64, snapshot: &[u8]) -> Document<Timestamp> {
    let body = Timestamp { meta: naming(Role::Snapshot, snapshot_version, snapshot), signed: None };
    signed(version, NOW.plus_secs(DAY_SECS), &body, &world.keys.timestamp)
}

fn serve_snapshot(world: &mut World, version: u64, body: &Snapshot, expires: Millis) {
    let snapshot = signed(version, expires, body, &world.keys.snapshot);
    let timestamp = timestamp_of(world, 50, version, snapshot.text.as_bytes());
    world.put(&format!("{version}.snapshot.json"), &snapshot);
    world.put("timestamp.json", &timestamp);
}

fn serve_targets(world: &mut World, version: u64, body: &Targets, expires: Millis) {
    let targets = signed(version, expires, body, &world.keys.targets);
    world.put(&format!("{version}.targets.json"), &targets);
    let body = Snapshot { meta: naming(Role::Targets, version, targets.text.as_bytes()) };
    serve_snapshot(world, version, &body, NOW.plus_secs(DAY_SECS));
}

fn refused(world: &World, client: &mut Client, now: Millis) -> Error {
    let before = client.targets().cloned();
    let error = world.update(client, now).unwrap_err();
    assert!(client.targets().is_none() || client.targets() == before.as_ref(), "a refused update changed the targets");
    error
}

#[test]
fn another_first_root_than_the_join_string_names_is_refused() {
    let text = world().repository.root().to_owned();
    assert!(matches!(Client::new(&text, &[0; 32]), Err(Error::Mismatch { .. })));
}

#[test]
fn rollback_of_the_timestamp_is_refused() {
    let mut world = world();
    let old = world.source["timestamp.json"].clone();
    world.release(1, 1, NOW);
    let mut client = world.current_client(NOW);
    world.source.insert("timestamp.json".to_owned(), old);
    let error = refused(&world, &mut client, NOW);
    assert!(matches!(error, Error::Rollback { found: 1, trusted: 2, .. }), "{error}");
    assert_eq!(client.targets().unwrap().len(), 1);
}

#[test]
fn rollback_of_the_snapshot_by_a_newer_timestamp_is_refused() {
    let mut world = world();
    let old = world.source["1.snapshot.json"].clone();
    world.release(1, 1, NOW);
    let mut client = world.current_client(NOW);
    let timestamp = timestamp_of(&world, 9, 1, &old);
    world.put("timestamp.json", &timestamp);
    let error = refused(&world, &mut client, NOW);
    assert!(matches!(&error, Error::Rollback { what, found: 1, trusted: 2, .. } if what == "snapshot.json"), "{error}");
}

#[test]
fn rollback_of_the_targets_by_a_newer_snapshot_is_refused() {
    let mut world = world();
    let old = world.source["1.targets.json"].clone();
    world.release(1, 1, NOW);
    let mut client = world.current_client(NOW);
    serve_snapshot(&mut world, 3, &Snapshot { meta: naming(Role::Targets, 1, &old) }, NOW.plus_secs(DAY_SECS));
    let error = refused(&world, &mut client, NOW);
    assert!(matches!(&error, Error::Rollback { what, found: 1, trusted: 2, .. } if what == "targets.json"), "{error}");
}

#[test]
fn a_snapshot_that_drops_a_file_is_refused() {
    let mut world = world();
    let mut client = world.current_client(NOW);
    serve_snapshot(&mut world, 3, &Snapshot { meta: BTreeMap::new() }, NOW.plus_secs(DAY_SECS));
    assert!(matches!(refused(&world, &mut client, NOW), Error::Rollback { found: 0, trusted: 1, .. }));
}

#[test]
fn freeze_an_old_timestamp_is_refused_once_it_expired() {
    let world = world();
    let mut client = world.current_client(NOW);
    let error = refused(&world, &mut client, NOW.plus_secs(DAY_SECS));
    assert!(matches!(&error, Error::Expired { file, .. } if file == "timestamp.json"), "{error}");
    let mut fresh = world.client();
    assert!(matches!(refused(&world, &mut fresh, NOW.plus_secs(2 * DAY_SECS)), Error::Expired { .. }));
}

#[test]
fn freeze_with_the_clock_turned_back_is_refused_by_the_floor() {
    let mut world = world();
    let old = world.source.clone();
    let later = NOW.plus_secs(5 * DAY_SECS);
    world.release(1, 1, later);
    let client = world.current_client(later);
    assert_eq!(client.floor(), later);
    // The machine comes back with its clock five days behind, and its newer metadata lost, but not its floor.
    let mut state = serde_json::to_value(client.state()).unwrap();
    state["timestamp"] = serde_json::Value::Null;
    state["snapshot"] = serde_json::Value::Null;
    let mut client = Client::load(&serde_json::from_value(state).unwrap()).unwrap();
    world.source = old;
    assert!(matches!(refused(&world, &mut client, NOW), Error::Expired { .. }));
}

#[test]
fn freeze_an_expired_snapshot_or_targets_or_root_is_refused() {
    let expired = NOW.plus_secs(-1);
    let mut world = world();
    let targets = world.source["1.targets.json"].clone();
    serve_snapshot(&mut world, 2, &Snapshot { meta: naming(Role::Targets, 1, &targets) }, expired);
    let error = refused(&world, &mut world.client(), NOW);
    assert!(matches!(&error, Error::Expired { file, .. } if file == "snapshot.json"), "{error}");

    let mut world = super::world();
    serve_targets(&mut world, 2, &Targets { targets: BTreeMap::new() }, expired);
    let error = refused(&world, &mut world.client(), NOW);
    assert!(matches!(&error, Error::Expired { file, .. } if file == "targets.json"), "{error}");

    let world = super::world();
    let error = refused(&world, &mut world.client(), NOW.plus_secs(366 * DAY_SECS));
    assert!(matches!(&error, Error::Expired { file, .. } if file == "root.json"), "{error}");
}

#[test]
fn mix_and_match_of_snapshots_is_refused() {
    let mut world = world();
    let old = world.source["1.snapshot.json"].clone();
    world.release(1, 1, NOW);
    world.source.insert("2.snapshot.json".to_owned(), old);
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Mismatch { what: "SHA-256" | "length", .. }));
}

#[test]
fn mix_and_match_of_targets_is_refused() {
    let mut world = world();
    world.release(1, 1, NOW);
    let mut other = super::world();
    other.release(2, 1, NOW);
    // Same keys, same version, same length, other content.
    world.source.insert("2.targets.json".to_owned(), other.source["2.targets.json"].clone());
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Mismatch { what: "SHA-256", .. }));
}

#[test]
fn mix_and_match_is_refused_by_version_where_no_hash_is_named() {
    let mut world = world();
    let old = world.source["1.targets.json"].clone();
    let mut meta = naming(Role::Targets, 2, b"");
    for named in meta.values_mut() {
        (named.length, named.hashes) = (None, None);
    }
    serve_snapshot(&mut world, 2, &Snapshot { meta }, NOW.plus_secs(DAY_SECS));
    world.source.insert("2.targets.json".to_owned(), old);
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Mismatch { what: "version", .. }));
}

#[test]
fn endless_data_is_refused_at_each_file() {
    for (file, bytes_max) in [
        ("2.root.json", ROOT_BYTES_MAX),
        ("timestamp.json", TIMESTAMP_BYTES_MAX),
        ("1.snapshot.json", world().source["1.snapshot.json"].len() as u64),
        ("1.targets.json", world().source["1.targets.json"].len() as u64),
    ] {
        let mut world = world();
        world.source.insert(file.to_owned(), vec![b' '; usize::try_from(bytes_max).unwrap() + 1]);
        let error = refused(&world, &mut world.client(), NOW);
        assert!(matches!(&error, Error::TooLong { what, bytes_max: limit } if what == file && *limit == bytes_max), "{error}");
    }
}

#[test]
fn endless_data_is_refused_whatever_length_a_signer_names() {
    let mut world = world();
    let mut meta = naming(Role::Targets, 2, b"");
    for named in meta.values_mut() {
        named.length = Some(u64::MAX);
    }
    serve_snapshot(&mut world, 2, &Snapshot { meta }, NOW.plus_secs(DAY_SECS));
    let mut client = world.client();
    let mut update = client.update(NOW);
    while let Some(request) = update.next_request() {
        if request.file == "2.targets.json" {
            assert_eq!(request.bytes_max, TARGETS_BYTES_MAX);
            return;
        }
        update.accept(world.source.get(&request.file).map(Vec::as_slice)).unwrap();
    }
    panic!("the targets were never asked for");
}

#[test]
fn every_changed_byte_of_every_file_is_refused() {
    let mut good = world();
    good.release(1, 1, NOW);
    for file in ["timestamp.json", "2.snapshot.json", "2.targets.json"] {
        for at in (0..good.source[file].len()).step_by(7) {
            let mut bytes = good.source[file].clone();
            bytes[at] ^= 1;
            let bad = World { source: good.source.clone(), repository: good.repository.clone(), ..world() };
            let bad = World { source: bad.source.into_iter().chain([(file.to_owned(), bytes)]).collect(), ..bad };
            assert!(bad.update(&mut bad.client(), NOW).is_err(), "{file} changed at {at} was accepted");
        }
    }
}

#[test]
fn metadata_without_or_with_a_strangers_signature_is_refused() {
    let mut world = world();
    world.tamper("timestamp.json", "\"signatures\":[", "\"signatures\":[],\"was\":[");
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Signatures { valid: 0, threshold: 1, .. }));

    let mut world = super::world();
    world.keys.timestamp = PrivateKey::generate();
    let timestamp = timestamp_of(&world, 2, 1, b"");
    world.put("timestamp.json", &timestamp);
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Signatures { valid: 0, .. }));
}

#[test]
fn one_roles_key_cannot_sign_for_another() {
    let mut world = world();
    std::mem::swap(&mut world.keys.targets, &mut world.keys.snapshot);
    serve_targets(&mut world, 2, &Targets { targets: BTreeMap::new() }, NOW.plus_secs(DAY_SECS));
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Signatures { role: "snapshot", .. }));
}

#[test]
fn metadata_of_one_kind_cannot_stand_for_another() {
    let root_key = PrivateKey::of_seed(1);
    let one = PrivateKey::of_seed(2);
    // A fleet that uses one key for two roles: the kind is what tells the files apart.
    let keys = OnlineKeys { targets: PrivateKey::of_seed(2), snapshot: PrivateKey::of_seed(2), timestamp: one };
    let repository = Repository::create(&root_key, &keys, NOW).unwrap();
    let mut world = World { root_key, keys, repository, source: BTreeMap::new() };
    world.publish();
    let snapshot = world.source["1.snapshot.json"].clone();
    world.source.insert("timestamp.json".to_owned(), snapshot);
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Malformed { why, .. } if why.contains("not timestamp")));
}

#[test]
fn a_doubled_signature_is_refused() {
    let mut world = world();
    let text = String::from_utf8(world.source["timestamp.json"].clone()).unwrap();
    let list = &text["{\"signatures\":[".len()..text.find("],\"signed\"").unwrap()];
    world.source.insert("timestamp.json".to_owned(), text.replace(list, &format!("{list},{list}")).into_bytes());
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Malformed { why, .. } if why.contains("one a key")));
}

#[test]
fn a_flood_of_signatures_is_refused_before_any_is_checked() {
    let mut world = world();
    let many: Vec<String> = (0..=SIGNATURES_MAX).map(|n| format!("{{\"keyid\":\"{n}\",\"sig\":\"00\"}}")).collect();
    world.tamper("timestamp.json", "\"signatures\":[", &format!("\"signatures\":[{},", many.join(",")));
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Malformed { why, .. } if why.contains("at most")));
}

#[test]
fn an_unsigned_field_is_refused_and_a_signed_unknown_field_is_accepted() {
    let mut world = world();
    world.tamper("timestamp.json", "\"_type\"", "\"extra\":1,\"_type\"");
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Signatures { .. }));

    let text = String::from_utf8(super::world().source["timestamp.json"].clone()).unwrap();
    let at = text.find("\"signed\":").unwrap() + "\"signed\":".len();
    let signed = text[at..text.len() - 1].replace("\"_type\"", "\"a-newer-field\":{\"x\":[1]},\"_type\"");
    let canonical =
        super::super::canonical::canonical("t", &serde_json::from_str::<serde_json::Value>(&signed).unwrap()).unwrap();
    let signature = hex::encode(world.keys.timestamp.sign(&canonical));
    let old = &text[text.find("\"sig\":\"").unwrap() + 7..][..128];
    // Served in another order and spacing than it was signed in.
    let served = format!("{} \n \"signed\": {signed}}}", text[..at - "\"signed\":".len()].replace(old, &signature));
    world.source.insert("timestamp.json".to_owned(), served.into_bytes());
    world.update(&mut world.client(), NOW).unwrap();
}

#[test]
fn a_field_doubled_by_unicode_composition_or_repetition_cannot_hide_behind_the_signature() {
    let world = world();
    let mut targets = Targets { targets: BTreeMap::new() };
    let file = TargetFile { length: 1, hashes: BTreeMap::new(), custom: None };
    targets.targets.insert("caf\u{e9}".to_owned(), file);
    let targets = signed(2, NOW.plus_secs(DAY_SECS), &targets, &world.keys.targets);
    let root = Document::<Root>::verify_first_root("1.root.json", world.repository.root().as_bytes()).unwrap();
    let read = |text: &str| Document::<Targets>::verify("2.targets.json", text.as_bytes(), &root.body);
    // A signer that normalizes gives both names one form, and the signature would fit.
    let composed = targets.text.replace("\"caf\u{e9}\":", "\"cafe\u{301}\":{\"hashes\":{},\"length\":666},\"caf\u{e9}\":");
    assert_ne!(composed, targets.text);
    assert!(matches!(read(&composed), Err(Error::Signatures { .. })));
    // Of a repeated name one counts, for the signature and for the meaning alike.
    let repeated = targets.text.replace("\"caf\u{e9}\":", "\"caf\u{e9}\":{\"hashes\":{},\"length\":666},\"caf\u{e9}\":");
    assert_eq!(read(&repeated).unwrap().body.targets["caf\u{e9}"].length, 1);
}

#[test]
fn wrong_specifications_times_and_versions_are_refused() {
    for (from, to) in [
        ("\"spec_version\":\"1.0.33\"", "\"spec_version\":\"2.0.0\""),
        ("\"spec_version\":\"1.0.33\"", "\"spec_version\":\"10.0.0\""),
        ("\"version\":1,", "\"version\":0,"),
        ("\"version\":1,", "\"version\":-1,"),
        ("\"version\":1,", "\"version\":1.5,"),
        ("\"expires\":\"20", "\"expires\":\"soon 20"),
    ] {
        let mut world = world();
        let text = String::from_utf8(world.source["timestamp.json"].clone()).unwrap();
        let at = text.find("\"signed\":").unwrap() + "\"signed\":".len();
        let signed = text[at..text.len() - 1].replace(from, to);
        let signature = hex::encode(world.keys.timestamp.sign(signed.as_bytes()));
        let old = &text[text.find("\"sig\":\"").unwrap() + 7..][..128];
        let served = format!("{}{signed}}}", text[..at].replace(old, &signature));
        assert_ne!(served, text, "{from}");
        world.source.insert("timestamp.json".to_owned(), served.into_bytes());
        let error = refused(&world, &mut world.client(), NOW);
        assert!(matches!(error, Error::Malformed { .. }), "{to}: {error}");
    }
}

#[test]
fn garbage_and_deep_nesting_are_refused() {
    let deep = format!("{{\"signatures\":[],\"signed\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    for text in ["", "{}", "null", "{\"signatures\":[]}", "\u{0}", deep.as_str()] {
        let mut world = world();
        world.source.insert("timestamp.json".to_owned(), text.as_bytes().to_vec());
        assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Malformed { .. }));
    }
    let mut world = world();
    world.source.insert("timestamp.json".to_owned(), vec![0xff, 0xfe]);
    assert!(matches!(refused(&world, &mut world.client(), NOW), Error::Malformed { .. }));
}

#[test]
fn a_target_whose_path_and_custom_object_disagree_is_no_target() {
    let mut world = world();
    let good = release(1, 1);
    let custom = serde_json::json!({"package": package(2), "version": 1, "manifest": good.manifest.to_string(), "released": 0});
    let hashes = BTreeMap::from([("sha256".to_owned(), "00".repeat(32))]);
    let file = TargetFile { length: 1, hashes, custom: Some(custom) };
    let path = target_path(package(1), 1, &good.manifest);
    let body = Targets { targets: BTreeMap::from([(path.clone(), file)]) };
    serve_targets(&mut world, 2, &body, NOW.plus_secs(DAY_SECS));
    let client = world.current_client(NOW);
    assert!(client.targets().unwrap().is_empty() && client.targets().unwrap().target(&path).is_none());
}
