//! Collections, policies, and who may read what from where.

use super::super::Error;
use super::*;
use crate::domain::CodebaseState;

#[tokio::test]
async fn collections_list_agents_and_name_what_is_missing_or_ambiguous() {
    let catalog = fixture();
    catalog.join(Role::Agent, 1, "pc", None).await;
    catalog.join(Role::Agent, 2, "twin", None).await;
    catalog.join(Role::Agent, 3, "twin", None).await;
    catalog.join(Role::SiteServer, 4, "pc", None).await;
    let view = catalog.add_collection(by(0), collection_add(20, "test pcs", &["pc", &uuid(3).to_string()])).await.unwrap();
    assert_eq!(view.machines.iter().map(crate::domain::Name::as_str).collect::<Vec<_>>(), ["pc", "twin"]);
    let same = collection_add(20, "test pcs", &[&uuid(3).to_string(), "pc"]);
    assert_eq!(catalog.add_collection(by(1), same).await.unwrap(), view, "the same again is no error");
    let fewer = catalog.add_collection(by(1), collection_add(20, "test pcs", &["pc"])).await;
    assert!(matches!(fewer, Err(Error::Conflict { .. })), "{fewer:?}");

    let ambiguous = catalog.add_collection(by(0), collection_add(21, "twins", &["twin"])).await.unwrap_err().to_string();
    assert!(ambiguous.contains(&uuid(2).to_string()) && ambiguous.contains(&uuid(3).to_string()), "{ambiguous}");
    let missing = catalog.add_collection(by(0), collection_add(21, "none", &["pc", "nobody"])).await;
    assert!(matches!(missing, Err(Error::NotFound { what: "machine", name }) if name == "nobody"));
    let built_in = catalog.add_collection(by(0), collection_add(22, "all machines", &[])).await;
    assert!(matches!(built_in, Err(Error::Conflict { .. })));

    let all = catalog.collections().await.unwrap();
    let brief: Vec<_> = all.iter().map(|collection| (collection.name.as_str(), collection.machines.len())).collect();
    assert_eq!(brief, [("all machines", 3), ("test pcs", 2)], "agents only, and the failed ones left nothing");
}

#[tokio::test]
async fn policies_join_packages_and_collections_by_name_or_id() {
    let catalog = fixture();
    assert!(catalog.add_package(1, "next").await.warnings[0].contains("no agent may read next"));
    let add = policy_add(30, "next for all", "next", "all machines");
    let view = catalog.add_policy(by(0), add.clone()).await.unwrap();
    assert_eq!((view.package.as_str(), view.collection.as_str()), ("next", "all machines"));
    assert_eq!(catalog.add_policy(by(1), add.clone()).await.unwrap(), view);
    let taken = PolicyAdd { id: PolicyId(uuid(31)), ..add.clone() };
    assert!(matches!(catalog.add_policy(by(1), taken).await, Err(Error::Conflict { .. })));
    assert!(matches!(
        catalog.add_policy(by(1), policy_add(32, "x", "nothing", "all machines")).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(catalog.add_policy(by(1), policy_add(32, "x", "next", "nobody")).await, Err(Error::NotFound { .. })));
    assert_eq!(catalog.policies().await.unwrap(), [view]);
    assert_eq!(catalog.package("next").await.unwrap().warnings, [""; 0]);
}

#[tokio::test]
async fn absent_and_forbidden_look_the_same() {
    let catalog = fixture();
    catalog.add_package(1, "secret").await;
    catalog.release(1, 1, 1).await;
    let (member, other) =
        (catalog.join(Role::Agent, 1, "pc", None).await.id, catalog.join(Role::Agent, 2, "kiosk", None).await.id);
    let server = catalog.join(Role::SiteServer, 3, "alpha", Some("default")).await.id;
    catalog.add_collection(by(0), collection_add(20, "few", &["pc"])).await.unwrap();
    catalog.add_policy(by(0), policy_add(30, "secret for few", "secret", "few")).await.unwrap();

    let text = |error: Error, name: &str| error.to_string().replace(name, "NAME");
    let forbidden = text(catalog.resolve(other, "secret", hub()).await.unwrap_err(), "secret");
    let absent = text(catalog.resolve(other, "absent", hub()).await.unwrap_err(), "absent");
    assert_eq!(forbidden, absent);
    catalog.resolve(member, "secret", hub()).await.unwrap();

    let content = manifest(1).to_string();
    let unknown = manifest(9).to_string();
    for (machine, expected) in [(member, true), (other, false), (server, true)] {
        assert_eq!(catalog.may_read(machine, &content).await.unwrap(), expected, "{machine}");
        assert_eq!(catalog.may_read_package(machine, PackageId(uuid(1))).await.unwrap(), expected, "{machine}");
        assert!(!catalog.may_read(machine, &unknown).await.unwrap());
    }
    let open = PackageAdd { open: true, ..package_add(2, "open") };
    catalog.catalog.add_package(by(0), open).await.unwrap();
    catalog.release(2, 1, 1).await;
    assert!(catalog.may_read(other, &content).await.unwrap(), "the same content in an open package is open");
}

#[tokio::test]
async fn a_site_server_is_told_of_its_agents_and_of_every_package() {
    let catalog = fixture();
    catalog.site(10, "berlin", HubFallback::Never).await;
    let server = catalog.join(Role::SiteServer, 1, "alpha", Some("berlin")).await.id;
    let agent = catalog.join(Role::Agent, 2, "pc", Some("berlin")).await.id;
    catalog.join(Role::Agent, 3, "elsewhere", None).await;
    catalog.add_package(1, "next").await;
    catalog.add_package(2, "new").await;
    catalog.add_collection(by(0), collection_add(20, "few", &["pc"])).await.unwrap();
    catalog.add_policy(by(0), policy_add(30, "p", "next", "few")).await.unwrap();
    for number in 1..=10 {
        catalog.release(1, number, u8::try_from(number).unwrap()).await;
    }

    let facts = catalog.site_state(server, hub()).await.unwrap();
    assert_eq!(facts.revision, catalog.revision().await.unwrap());
    assert_eq!(facts.site_map.servers, [Endpoint { id: Some(server), address: "alpha:9443".into() }]);
    assert_eq!((facts.site_map.site, &facts.site_map.hub), (SiteId(uuid(10)), &hub()));
    let [new, next] = facts.packages.as_slice() else { panic!("{:?}", facts.packages) };
    assert_eq!(new.note.as_deref(), Some("its first refresh waits in the hub's queue"));
    assert_eq!((new.versions.len(), new.readers.len()), (0, 0));
    assert_eq!(next.versions.iter().map(|version| version.version).collect::<Vec<_>>(), (3..=10).collect::<Vec<_>>());
    assert_eq!((next.readers.as_slice(), &next.note), (&[CollectionId(uuid(20))][..], &None));
    let [machine] = facts.machines.as_slice() else { panic!("{:?}", facts.machines) };
    assert_eq!((machine.id, machine.key.as_str()), (agent, "02".repeat(32).as_str()));
    assert_eq!(machine.collections.len(), 2);
    assert!(machine.collections.contains(&CollectionId::ALL_MACHINES) && machine.collections.contains(&CollectionId(uuid(20))));

    assert!(matches!(catalog.site_state(agent, hub()).await, Err(Error::Invalid { .. })), "an agent asks as a site server");
    assert!(matches!(catalog.site_state(MachineId(uuid(99)), hub()).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_failure_of_the_first_refresh_reaches_sites_without_the_hubs_paths() {
    let catalog = fixture();
    let server = catalog.join(Role::SiteServer, 1, "alpha", None).await.id;
    catalog.add_package(1, "next").await;
    catalog.take_refresh(at(1)).await.unwrap();
    let before = catalog.revision().await.unwrap();
    catalog.refresh_failed(PackageId(uuid(1)), outcome(None, 1), "/srv/1/key: permission denied".into()).await.unwrap();
    let facts = catalog.site_state(server, hub()).await.unwrap();
    assert!(facts.revision > before, "sites learn of it");
    let note = facts.packages[0].note.clone().unwrap();
    assert!(note.contains("failed") && !note.contains("/srv"), "{note}");
}

#[tokio::test]
async fn an_agent_is_offered_ready_codebases_of_its_own_site_or_told_why_not() {
    let catalog = fixture();
    catalog.site(10, "berlin", HubFallback::Never).await;
    let open = PackageAdd { open: true, ..package_add(1, "next") };
    catalog.catalog.add_package(by(0), open).await.unwrap();
    let agent = catalog.join(Role::Agent, 2, "pc", Some("berlin")).await.id;
    let roaming = catalog.join(Role::Agent, 3, "roaming", None).await.id;
    let resolve = async |agent| catalog.resolve(agent, "next", hub()).await.unwrap();

    let answer = resolve(agent).await;
    assert!(answer.version.is_none() && answer.reason.contains("no released version yet"), "{answer:?}");
    catalog.release(1, 1, 1).await;
    let answer = resolve(agent).await;
    assert!(answer.reason.contains("no site server is assigned to site berlin"), "{answer:?}");
    assert_eq!(resolve(roaming).await.codebases, [hub()], "the default site may use the hub while it has no server");

    let server = catalog.join(Role::SiteServer, 1, "alpha", Some("berlin")).await.id;
    let answer = resolve(agent).await;
    assert!(answer.codebases.is_empty() && answer.reason.contains("alpha has not begun"), "{answer:?}");
    catalog.report(1, &[(1, CodebaseState::Ready)]).await;
    let answer = resolve(agent).await;
    assert_eq!(answer.codebases, [Endpoint { id: Some(server), address: "server-1:9443".into() }]);
    assert_eq!(
        (answer.state, answer.version.map(|version| version.version), answer.reason.as_str()),
        (CodebaseState::Ready, Some(1), "")
    );
    catalog.release(1, 2, 2).await;
    let answer = resolve(agent).await;
    assert_eq!(
        (answer.version.map(|version| version.version), answer.codebases.len()),
        (Some(2), 0),
        "never an older version instead"
    );
}
