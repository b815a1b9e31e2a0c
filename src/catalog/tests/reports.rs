//! What site servers and agents report.

use super::super::Error;
use super::*;
use crate::domain::CodebaseState::{Assigned, Failed, Fetching, Ready, Verifying};
use crate::protocol::report::{AgentReport, Cost, InstallReport, InstallState, Traffic};

fn changed(list: &[(u128, u32)]) -> std::collections::BTreeSet<(PackageId, u32)> {
    list.iter().map(|(package, version)| (PackageId(uuid(*package)), *version)).collect()
}

#[tokio::test]
async fn a_codebase_report_replaces_all_and_tells_what_changed() {
    let catalog = fixture();
    for (n, name) in [(1, "one"), (2, "two"), (3, "copy of one")] {
        catalog.add_package(n, name).await;
    }
    catalog.release(1, 1, 1).await;
    catalog.release(2, 1, 2).await;
    catalog.join(Role::SiteServer, 1, "alpha", None).await;
    catalog.release(3, 1, 1).await;
    let states =
        async |name: &str| catalog.package(name).await.unwrap().codebases.into_iter().map(|c| c.state).collect::<Vec<_>>();
    assert_eq!(states("one").await, [Assigned], "a new server is assigned what is there");

    let fetching = Fetching { done_bytes: 5, total_bytes: 10 };
    let first = catalog.report(1, &[(1, fetching.clone()), (9, Ready)]).await;
    assert_eq!(first.changed, changed(&[(1, 1), (3, 1)]), "both packages that have the content, and nothing unknown");
    assert!(first.revision.is_some(), "its address is new");
    let same = catalog.report(1, &[(1, fetching)]).await;
    assert_eq!(same, super::super::CodebasesReported::default(), "saying it again changes nothing");

    catalog.report(1, &[(1, Ready), (2, Verifying)]).await;
    let failed = Failed { reason: "the disk is full".into(), next_attempt: at(99) };
    assert_eq!(catalog.report(1, &[(2, failed.clone())]).await.changed, changed(&[(1, 1), (2, 1), (3, 1)]));
    assert_eq!(
        (states("one").await, states("two").await),
        (vec![Assigned], vec![failed]),
        "what is not reported is to be fetched"
    );
    let view = catalog.package("two").await.unwrap().codebases.remove(0);
    assert_eq!((view.server_name.as_str(), view.site.as_str(), view.reported), ("alpha", "default", at(30)));
}

#[tokio::test]
async fn content_that_a_server_has_already_is_ready_when_it_is_released_again() {
    let catalog = fixture();
    catalog.add_package(1, "one").await;
    catalog.join(Role::SiteServer, 1, "alpha", None).await;
    catalog.release(1, 1, 1).await;
    catalog.report(1, &[(1, Ready)]).await;
    catalog.release(1, 2, 2).await;
    catalog.release(1, 3, 1).await;
    let view = catalog.package("one").await.unwrap();
    assert_eq!(view.codebases.iter().map(|c| (c.version, c.state.clone())).collect::<Vec<_>>(), [(3, Ready)]);
}

#[tokio::test]
async fn only_site_servers_report_codebases() {
    let catalog = fixture();
    let agent = catalog.join(Role::Agent, 1, "pc", None).await.id;
    let report = CodebaseReport { revision: 1, address: "pc:1".into(), codebases: [].into() };
    assert!(matches!(catalog.report_codebases(agent, report.clone(), at(1)).await, Err(Error::Invalid { .. })));
    assert!(matches!(catalog.report_codebases(MachineId(uuid(9)), report, at(1)).await, Err(Error::NotFound { .. })));
}

fn install(package: u128, state: InstallState) -> InstallReport {
    InstallReport {
        package: PackageId(uuid(package)),
        version: 1,
        manifest: manifest(1).to_string(),
        state,
        reason: Some("because".into()),
        since: at(1),
        next_attempt: None,
        cost: Some(Cost { wire_bytes: u64::MAX, ..Cost::default() }),
        notes: vec!["a patch was useless".into()],
        totals: Some(traffic(1, u64::MAX)),
    }
}

fn traffic(installs: u64, saved_bytes: u64) -> Traffic {
    Traffic { installs, wire_bytes: 10 * installs, saved_bytes, ..Traffic::default() }
}

#[tokio::test]
async fn what_installs_saved_sums_up_a_site_whatever_is_repeated_lost_or_moved() {
    let catalog = fixture();
    catalog.add_package(1, "one").await;
    catalog.add_package(2, "two").await;
    catalog.site(7, "berlin", HubFallback::Never).await;
    let machines = [
        catalog.join(Role::Agent, 1, "pc", Some("berlin")).await.id,
        catalog.join(Role::Agent, 2, "pc", Some("berlin")).await.id,
    ];
    let report = async |machine: usize, sequence, totals: &[(u128, Traffic)]| {
        let installs =
            totals.iter().map(|(n, totals)| InstallReport { totals: Some(*totals), ..install(*n, InstallState::Installed) });
        let report = AgentReport { machine: machines[machine], installs: installs.collect() };
        catalog.report_installs(report, sequence, at(20)).await.unwrap()
    };
    let site = async || catalog.catalog.site("berlin").await.unwrap().traffic;
    assert_eq!(site().await, Traffic::default());
    report(0, 1, &[(1, traffic(1, 100)), (9, traffic(1, 5000))]).await;
    assert_eq!(site().await, traffic(1, 100), "a package that the hub does not know counts for nothing");
    // Told again, and by another machine, and after two installs of which one was never told.
    report(0, 2, &[(1, traffic(1, 100))]).await;
    report(1, 1, &[(1, traffic(1, 30)), (2, traffic(1, 1))]).await;
    assert!(!report(0, 2, &[(1, traffic(9, 900))]).await, "an old report is not counted");
    report(0, 3, &[(1, traffic(3, 350))]).await;
    assert_eq!(site().await, traffic(5, 381));
    // The package is gone from the machine and comes back: the sum only rises.
    report(0, 4, &[]).await;
    assert_eq!(site().await, traffic(5, 381));
    report(0, 5, &[(1, traffic(1, 7))]).await;
    assert_eq!(site().await, traffic(6, 388));
    report(0, 6, &[(1, traffic(2, u64::MAX))]).await;
    assert_eq!(site().await.saved_bytes, u64::MAX, "what cannot be counted stays at the most");
    let all = catalog.traffic().await.unwrap();
    assert_eq!(all.iter().map(|site| site.site.as_str()).collect::<Vec<_>>(), ["berlin"]);
}

#[tokio::test]
async fn an_agents_report_replaces_its_last_one_unless_it_is_older() {
    let catalog = fixture();
    catalog.add_package(1, "one").await;
    catalog.add_package(2, "two").await;
    let machine = catalog.join(Role::Agent, 1, "pc", None).await.id;
    let report = async |sequence, installs: Vec<InstallReport>| {
        catalog
            .report_installs(AgentReport { machine, installs }, sequence, at(20 + i64::try_from(sequence).unwrap()))
            .await
            .unwrap()
    };
    let states =
        async |name: &str| catalog.package(name).await.unwrap().installs.into_iter().map(|i| i.install.state).collect::<Vec<_>>();

    assert!(
        report(5, vec![install(1, InstallState::Fetching), install(9, InstallState::Installed)]).await,
        "an unknown package is left out"
    );
    assert_eq!(states("one").await, [InstallState::Fetching]);
    for stale in [5, 4, 0] {
        assert!(!report(stale, vec![]).await, "{stale} after 5");
    }
    assert_eq!(states("one").await, [InstallState::Fetching]);
    assert!(report(6, vec![install(2, InstallState::Installed)]).await);
    assert_eq!((states("one").await, states("two").await), (vec![], vec![InstallState::Installed]));
    let seen = &catalog.package("two").await.unwrap().installs[0];
    assert_eq!((seen.machine, seen.machine_name.as_str(), seen.reported), (machine, "pc", at(26)));
    assert_eq!(seen.install, install(2, InstallState::Installed));

    let stranger = AgentReport { machine: MachineId(uuid(9)), installs: vec![] };
    assert!(matches!(catalog.report_installs(stranger, 1, at(1)).await, Err(Error::NotFound { .. })));
    let many = AgentReport { machine, installs: vec![install(1, InstallState::Waiting); 10_001] };
    assert!(matches!(catalog.report_installs(many, 7, at(1)).await, Err(Error::Invalid { .. })));
}
