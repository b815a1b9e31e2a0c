//! Root rotation, good and hostile.

use super::super::model::{Key, RoleKeys, Root};
use super::*;

/// A root that names `keys` with `threshold` for the root role, and the world's online keys.
fn root(world: &World, keys: &[&PrivateKey], threshold: u32) -> Root {
    let mut root = Root { consistent_snapshot: true, keys: BTreeMap::new(), roles: BTreeMap::new() };
    let mut put = |role: Role, keys: &[&PrivateKey], threshold| {
        let named: Vec<Key> = keys.iter().map(|key| Key::of(key.public())).collect();
        let keyids: Vec<String> = named.iter().map(|key| key.id().unwrap()).collect();
        root.keys.extend(keyids.iter().cloned().zip(named));
        root.roles.insert(role.word().to_owned(), RoleKeys { keyids, threshold });
    };
    put(Role::Root, keys, threshold);
    put(Role::Targets, &[&world.keys.targets], 1);
    put(Role::Snapshot, &[&world.keys.snapshot], 1);
    put(Role::Timestamp, &[&world.keys.timestamp], 1);
    root
}

fn serve(world: &mut World, version: u64, root: &Root, signers: &[&PrivateKey]) {
    let document = Document::sign(version, NOW.plus_secs(DAY_SECS), root, signers).unwrap();
    world.put(&format!("{version}.root.json"), &document);
}

fn keys(n: u8) -> PrivateKey {
    PrivateKey::of_seed(100 + n)
}

#[test]
fn a_chain_of_roots_is_followed_and_remembered() {
    let mut world = world();
    let first = PrivateKey::of_seed(1);
    let second = root(&world, &[&keys(2)], 1);
    serve(&mut world, 2, &second, &[&first, &keys(2)]);
    let third = root(&world, &[&keys(3)], 1);
    serve(&mut world, 3, &third, &[&keys(2), &keys(3)]);
    let mut client = world.client();
    let asked = world.update(&mut client, NOW).unwrap();
    assert_eq!(asked[..3], ["2.root.json", "3.root.json", "4.root.json"]);
    let mut client = Client::load(&client.state()).unwrap();
    assert_eq!(world.update(&mut client, NOW).unwrap(), ["4.root.json", "timestamp.json"]);
}

#[test]
fn a_root_that_the_old_keys_did_not_sign_is_refused() {
    let mut world = world();
    let next = root(&world, &[&keys(2)], 1);
    serve(&mut world, 2, &next, &[&keys(2)]);
    assert!(matches!(world.update(&mut world.client(), NOW), Err(Error::Signatures { role: "root", valid: 0, .. })));
}

#[test]
fn a_root_that_its_own_keys_did_not_sign_is_refused() {
    let mut world = world();
    let next = root(&world, &[&keys(2)], 1);
    serve(&mut world, 2, &next, &[&PrivateKey::of_seed(1)]);
    assert!(matches!(world.update(&mut world.client(), NOW), Err(Error::Signatures { role: "root", valid: 0, .. })));
}

#[test]
fn a_root_of_the_same_or_a_later_version_than_the_next_is_refused() {
    let mut world = world();
    let body = root(&world, &[&PrivateKey::of_seed(1)], 1);
    serve(&mut world, 3, &body, &[&PrivateKey::of_seed(1)]);
    let skipping = world.source["3.root.json"].clone();
    world.source.insert("2.root.json".to_owned(), skipping);
    assert!(matches!(world.update(&mut world.client(), NOW), Err(Error::Malformed { .. })));
    let first = world.source["1.root.json"].clone();
    world.source.insert("2.root.json".to_owned(), first);
    assert!(matches!(world.update(&mut world.client(), NOW), Err(Error::Rollback { found: 1, trusted: 1, .. })));
}

#[test]
fn a_threshold_counts_distinct_keys() {
    let mut world = world();
    let two = root(&world, &[&keys(2), &keys(3)], 2);
    serve(&mut world, 2, &two, &[&PrivateKey::of_seed(1), &keys(2)]);
    assert!(matches!(world.update(&mut world.client(), NOW), Err(Error::Signatures { valid: 1, threshold: 2, .. })));
    serve(&mut world, 2, &two, &[&PrivateKey::of_seed(1), &keys(2), &keys(3)]);
    world.update(&mut world.client(), NOW).unwrap();
}

#[test]
fn one_key_under_two_ids_counts_once() {
    let mut world = world();
    let mut body = root(&world, &[&keys(2)], 1);
    body.keys.insert("alias".to_owned(), Key::of(keys(2).public()));
    let role = body.roles.get_mut("root").unwrap();
    role.keyids.push("alias".to_owned());
    role.threshold = 2;
    serve(&mut world, 2, &body, &[&PrivateKey::of_seed(1), &keys(2)]);
    let text = String::from_utf8(world.source["2.root.json"].clone()).unwrap();
    let id = Key::of(keys(2).public()).id().unwrap();
    let at = text.find(&format!("{{\"keyid\":\"{id}\"")).unwrap();
    let one = text[at..=at + text[at..].find('}').unwrap()].to_owned();
    let doubled = text.replace(&one, &format!("{one},{}", one.replace(&id, "alias")));
    world.source.insert("2.root.json".to_owned(), doubled.into_bytes());
    assert!(matches!(world.update(&mut world.client(), NOW), Err(Error::Signatures { valid: 1, threshold: 2, .. })));
}

#[test]
fn a_root_without_a_sound_threshold_or_role_is_refused() {
    let old = PrivateKey::of_seed(1);
    let breaks: [fn(&mut Root); 4] = [
        |root| root.roles.get_mut("targets").unwrap().threshold = 0,
        |root| root.roles.get_mut("timestamp").unwrap().threshold = 2,
        |root| {
            let role = root.roles.get_mut("snapshot").unwrap();
            role.keyids.push(role.keyids[0].clone());
            role.threshold = 2;
        },
        |root| drop(root.roles.remove("snapshot")),
    ];
    for break_it in breaks {
        let mut world = world();
        let mut body = root(&world, &[&old], 1);
        break_it(&mut body);
        serve(&mut world, 2, &body, &[&old]);
        assert!(matches!(world.update(&mut world.client(), NOW), Err(Error::Malformed { .. })));
    }
}

#[test]
fn an_expired_root_in_the_middle_of_the_chain_does_not_matter_but_the_last_does() {
    let mut world = world();
    let old = PrivateKey::of_seed(1);
    let body = root(&world, &[&old], 1);
    let expired = Document::sign(2, NOW.plus_secs(-1), &body, &[&old]).unwrap();
    world.put("2.root.json", &expired);
    assert!(matches!(world.update(&mut world.client(), NOW), Err(Error::Expired { .. })));
    serve(&mut world, 3, &body, &[&old]);
    world.update(&mut world.client(), NOW).unwrap();
}

#[test]
fn an_endless_chain_of_roots_ends_and_the_next_update_goes_on() {
    let mut world = world();
    let old = PrivateKey::of_seed(1);
    let body = root(&world, &[&old], 1);
    for version in 2..=u64::from(ROOT_ROTATIONS_MAX) + 2 {
        serve(&mut world, version, &body, &[&old]);
    }
    let mut client = world.client();
    assert!(matches!(world.update(&mut client, NOW), Err(Error::Malformed { why, .. }) if why.contains("256")));
    assert_eq!(world.update(&mut client, NOW).unwrap()[..2], ["258.root.json", "259.root.json"]);
}

#[test]
fn after_stolen_keys_are_replaced_versions_and_times_start_afresh() {
    let mut world = world();
    // A thief of the online keys runs versions and the clock far ahead.
    let far = NOW.plus_secs(1000 * DAY_SECS);
    let mut thief = super::world();
    for version in 1..6 {
        thief.release(9, version, far);
    }
    let mut client = world.client();
    let stolen = World { source: thief.source.clone(), ..super::world() };
    stolen.update(&mut client, NOW).unwrap();
    assert_eq!(client.floor(), far);
    // The owner replaces timestamp and snapshot keys by a new root, and begins at low versions.
    world.keys.timestamp = keys(7);
    world.keys.snapshot = keys(8);
    let next = root(&world, &[&PrivateKey::of_seed(1)], 1);
    let owner = Repository::create(&world.root_key, &world.keys, NOW).unwrap();
    world.source.extend(owner.files().into_iter().filter(|(file, _)| file != "1.root.json"));
    serve(&mut world, 2, &next, &[&PrivateKey::of_seed(1)]);
    world.update(&mut client, NOW).unwrap();
    assert_eq!((client.targets().unwrap().len(), client.floor()), (0, NOW));
}

#[test]
fn what_a_replaced_key_signed_is_not_believed_any_more() {
    let mut world = world();
    world.release(1, 1, NOW);
    let mut client = world.current_client(NOW);
    world.keys.targets = keys(9);
    let next = root(&world, &[&PrivateKey::of_seed(1)], 1);
    serve(&mut world, 2, &next, &[&PrivateKey::of_seed(1)]);
    assert!(matches!(world.update(&mut client, NOW), Err(Error::Signatures { role: "targets", .. })));
    assert!(client.targets().is_none());
}
