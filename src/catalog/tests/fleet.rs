//! Sites, subnets, invites, machines.

use super::super::{Error, TokenProblem};
use super::*;

#[tokio::test]
async fn there_is_a_default_site_and_names_stay_unique() {
    let catalog = fixture();
    let sites = catalog.sites().await.unwrap();
    assert_eq!((sites.len(), sites[0].id, sites[0].name.as_str()), (1, SiteId::DEFAULT, "default"));
    assert_eq!(sites[0].hub_fallback, HubFallback::WhenNone);
    catalog.site(10, "berlin", HubFallback::Never).await;
    catalog.site(10, "berlin", HubFallback::Never).await;
    let again = SiteAdd { id: SiteId(uuid(11)), name: "berlin".parse().unwrap(), hub_fallback: HubFallback::Never };
    assert!(matches!(catalog.add_site(by(0), again).await, Err(Error::Conflict { .. })));
    assert_eq!(catalog.sites().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_subnet_belongs_to_one_site_and_an_overlap_is_warned_of_at_both() {
    let catalog = fixture();
    catalog.site(10, "berlin", HubFallback::Never).await;
    catalog.site(11, "mitte", HubFallback::Never).await;
    let view = catalog.subnet("10.1.2.3/16", "berlin").await;
    assert_eq!(view.subnets, ["10.1.0.0/16".parse().unwrap()], "host bits are dropped");
    assert_eq!(view.warnings, [""; 0]);
    catalog.subnet("10.1.0.0/16", &uuid(10).to_string()).await;
    let other = SubnetAdd { cidr: "10.1.0.0/16".parse().unwrap(), site: "mitte".into() };
    let error = catalog.add_subnet(by(0), other).await.unwrap_err().to_string();
    assert!(error.contains("belongs to site berlin"), "{error}");
    let nowhere = SubnetAdd { cidr: "10.9.0.0/16".parse().unwrap(), site: "paris".into() };
    assert!(matches!(catalog.add_subnet(by(0), nowhere).await, Err(Error::NotFound { what: "site", .. })));

    let view = catalog.subnet("10.1.4.0/24", "mitte").await;
    assert!(view.warnings[0].contains("10.1.4.0/24 of site mitte lies within 10.1.0.0/16 of site berlin"), "{:?}", view.warnings);
    let sites = catalog.sites().await.unwrap();
    assert_eq!(sites.iter().map(|site| site.warnings.len()).collect::<Vec<_>>(), [1, 0, 1]);
}

#[tokio::test]
async fn an_invite_lets_in_as_many_machines_of_its_role_until_it_ends() {
    let catalog = fixture();
    catalog.add_invite(by(0), invite(Role::Agent, None, 2), [7; 32]).await.unwrap();
    let refused = async |enrol: Enrol| match catalog.enrol(enrol).await {
        Err(Error::Token(problem)) => problem,
        other => panic!("expected a refused token, got {other:?}"),
    };
    assert_eq!(refused(enrol(Role::Agent, 1, "a", 8)).await, TokenProblem::Unknown);
    assert_eq!(refused(enrol(Role::SiteServer, 1, "a", 7)).await, TokenProblem::WrongRole);
    assert_eq!(refused(Enrol { now: at(3600), ..enrol(Role::Agent, 1, "a", 7) }).await, TokenProblem::Expired);
    for n in [1, 2] {
        assert!(!catalog.enrol(enrol(Role::Agent, n, "a", 7)).await.unwrap().repeated);
    }
    assert_eq!(refused(enrol(Role::Agent, 3, "a", 7)).await, TokenProblem::UsedUp);
    assert_eq!(catalog.counts().await.unwrap().agents, 2, "two machines of one name are two machines");
}

#[tokio::test]
async fn a_repeated_enrolment_is_answered_as_before_and_uses_nothing() {
    let catalog = fixture();
    catalog.add_invite(by(0), invite(Role::Agent, None, 1), [7; 32]).await.unwrap();
    let first = catalog.enrol(enrol(Role::Agent, 1, "a", 7)).await.unwrap();
    let revision = catalog.revision().await.unwrap();
    let again = Enrol { certificate: "another".into(), now: at(99_999), ..enrol(Role::Agent, 1, "renamed", 7) };
    let again = catalog.enrol(again).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.machine, first.machine, "the first certificate, though the token is used up and expired");
    assert_eq!(catalog.revision().await.unwrap(), revision);

    catalog.add_invite(by(0), invite(Role::Agent, None, 1), [8; 32]).await.unwrap();
    assert!(catalog.enrol(enrol(Role::Agent, 1, "a", 8)).await.unwrap().repeated, "a token that is good now will do");
    assert!(matches!(catalog.enrol(enrol(Role::Agent, 1, "a", 9)).await, Err(Error::Token(TokenProblem::Unknown))));
    let other_key = Enrol { key: [99; 32], ..enrol(Role::Agent, 1, "a", 8) };
    assert!(matches!(catalog.enrol(other_key).await, Err(Error::Conflict { .. })));
    let other_id = Enrol { id: MachineId(uuid(99)), ..enrol(Role::Agent, 1, "a", 8) };
    assert!(matches!(catalog.enrol(other_id.clone()).await, Err(Error::Conflict { .. })));
    let unknown = Enrol { token_sha256: [9; 32], ..other_id };
    assert!(matches!(catalog.enrol(unknown).await, Err(Error::Token(_))), "without a token nobody learns who joined");
    catalog.enrol(enrol(Role::Agent, 2, "b", 8)).await.expect("the second token was not used up");
}

#[tokio::test]
async fn the_site_is_the_invites_or_else_by_subnet() {
    let catalog = fixture();
    catalog.site(10, "berlin", HubFallback::Never).await;
    catalog.site(11, "mitte", HubFallback::Never).await;
    catalog.subnet("10.1.0.0/16", "berlin").await;
    catalog.subnet("10.1.0.2/32", "mitte").await;
    assert_eq!(catalog.join(Role::Agent, 1, "a", None).await.site, SiteId(uuid(10)));
    assert_eq!(catalog.join(Role::Agent, 2, "b", None).await.site, SiteId(uuid(11)));
    assert_eq!(catalog.join(Role::Agent, 3, "c", Some("default")).await.site, SiteId::DEFAULT);
    assert!(matches!(
        catalog.add_invite(by(0), invite(Role::Agent, Some("paris"), 1), [50; 32]).await,
        Err(Error::NotFound { .. })
    ));
    let counts: Vec<u64> = catalog.sites().await.unwrap().iter().map(|site| site.agents).collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[tokio::test]
async fn invites_keep_their_limits() {
    let catalog = fixture();
    let good = invite(Role::Agent, None, 1);
    let bad = [
        Invite { role: Role::Hub, ..good.clone() },
        Invite { uses: 0, ..good.clone() },
        Invite { uses: 100_001, ..good.clone() },
        Invite { valid_secs: 0, ..good.clone() },
        Invite { valid_secs: 90 * 86_400 + 1, ..good.clone() },
    ];
    for (n, invite) in bad.into_iter().enumerate() {
        assert!(matches!(catalog.add_invite(by(0), invite, [1; 32]).await, Err(Error::Invalid { .. })), "case {n}");
    }
    assert_eq!(catalog.add_invite(by(0), good.clone(), [1; 32]).await.unwrap(), at(3600));
    assert!(matches!(catalog.add_invite(by(0), good, [1; 32]).await, Err(Error::Conflict { .. })), "one token, one invite");
}

#[tokio::test]
async fn machines_are_found_by_key_and_listed() {
    let catalog = fixture();
    let joined = catalog.join(Role::Agent, 1, "pc", None).await;
    catalog.join(Role::SiteServer, 2, "alpha", None).await;
    assert_eq!(catalog.machine_by_key([1; 32]).await.unwrap(), Some(joined.clone()));
    assert_eq!(catalog.machine_by_key([9; 32]).await.unwrap(), None);
    assert_eq!(catalog.machine(joined.id).await.unwrap(), joined);
    catalog.machines_seen(vec![(joined.id, at(50)), (joined.id, at(40)), (MachineId(uuid(9)), at(60))]).await.unwrap();
    let views = catalog.machines().await.unwrap();
    let brief: Vec<_> = views.iter().map(|view| (view.name.as_str(), view.role, view.seen)).collect();
    assert_eq!(brief, [("alpha", Role::SiteServer, at(10)), ("pc", Role::Agent, at(50))]);
    let counts = catalog.counts().await.unwrap();
    assert_eq!((counts.agents, counts.site_servers, counts.sites, counts.packages), (1, 1, 1, 0));
}
