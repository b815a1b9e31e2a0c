//! Installs and updates, with sources that fail and lie.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::world::{Mischief, World, install, noise, within};
use crate::agent::control::{self, Ask, Reply};
use crate::agent::record::{Record, Switching};
use crate::agent::view::{InstalledView, PackageView};
use crate::agent::{Agent, Care, Error, start};
use crate::domain::CodebaseState;
use crate::policy::{Prefer, Terms};
use crate::protocol::report::{AgentReport, InstallState};
use crate::trust::statement;

pub fn installed(replies: &[Reply]) -> &InstalledView {
    match replies.last() {
        Some(Reply::Installed(view)) => view,
        other => panic!("not installed: {other:?}"),
    }
}

/// Waits until the package looks as `wanted`.
pub async fn until(agent: &Arc<Agent>, wanted: impl Fn(&PackageView) -> bool) -> PackageView {
    let job = agent.find_job("tool").unwrap();
    let mut changes = job.subscribe();
    within(changes.wait_for(|seen| wanted(&seen.view))).await.unwrap().view.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_installed_found_again_and_updated_when_announced() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::All, Prefer::Time).unwrap();
    let (replies, ended) = install(running.agent(), "tool", false).await;
    ended.unwrap();
    let first = installed(&replies).clone();
    assert_eq!((first.version, first.already), (1, false));
    assert_eq!(first.cost.fetched_bytes, 5_200_000);
    assert!(first.cost.wire_bytes > 5_200_000 && first.cost.socket_bytes > first.cost.wire_bytes);
    assert_eq!(first.cost.metadata_bytes + first.cost.content_bytes, first.cost.wire_bytes);
    world.assert_same();

    let (replies, ended) = install(running.agent(), "tool", false).await;
    ended.unwrap();
    assert!(installed(&replies).already);
    assert_eq!(installed(&replies).cost, first.cost, "looking costs nothing that is worth a note");

    std::fs::write(world.source().join("lib/7.txt"), noise(7000, 3000)).unwrap();
    std::fs::remove_file(world.source().join("lib/8.txt")).unwrap();
    world.release(2);
    world.announce();
    let view = until(running.agent(), |view| view.installed.as_ref().is_some_and(|version| version.version == 2)).await;
    world.assert_same();
    let cost = view.cost.unwrap();
    assert_eq!(cost.fetched_bytes, 3000);
    assert_eq!(cost.kept_bytes, cost.total_bytes - 3000);
    assert!(cost.wire_bytes < 20_000, "{cost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_of_a_version_that_is_being_verified_comes_before_it_is_ready_and_not_again() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::All, Prefer::Time).unwrap();
    install(running.agent(), "tool", false).await.1.unwrap();
    assert_eq!(world.manifests_sent(), 1);
    std::fs::write(world.source().join("lib/7.txt"), noise(7000, 3000)).unwrap();
    world.release(2);
    world.announce_as(CodebaseState::Verifying);
    let came = async {
        while world.manifests_sent() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(came).await;
    let view = running.agent().find_job("tool").unwrap().seen().view;
    assert_eq!(view.installed.map(|version| version.version), Some(1), "nothing is put in place before it is ready");
    world.announce();
    until(running.agent(), |view| view.installed.as_ref().is_some_and(|version| version.version == 2)).await;
    world.assert_same();
    assert_eq!(world.manifests_sent(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_cut_off_is_left_for_the_next_one_which_brings_only_the_rest() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    let (first, second) = world.by_preference(running.agent());
    *first.mischief.lock().unwrap() = Mischief::CutAfter(3_000_000);
    let (replies, ended) = install(running.agent(), "tool", false).await;
    ended.unwrap();
    world.assert_same();
    assert_eq!(installed(&replies).source.as_ref(), Some(&second.endpoint.address));
    let (from_first, from_second) = (first.chunk_bytes.load(Ordering::SeqCst), second.chunk_bytes.load(Ordering::SeqCst));
    assert!(from_second < 3_500_000, "{from_first} then {from_second}: what had arrived was fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lies_is_named_and_left() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    let (first, second) = world.by_preference(running.agent());
    *first.mischief.lock().unwrap() = Mischief::FlipAt(2_500_000);
    let (replies, ended) = install(running.agent(), "tool", false).await;
    ended.unwrap();
    world.assert_same();
    assert_eq!(installed(&replies).source.as_ref(), Some(&second.endpoint.address));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_sources_lie_nothing_appears_and_the_reason_names_them() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    for server in &world.servers {
        *server.mischief.lock().unwrap() = Mischief::FlipAt(1_000);
    }
    let agent = Arc::clone(running.agent());
    let trying = tokio::spawn(async move { install(&agent, "tool", false).await });
    let view = within(async {
        loop {
            if running.agent().find_job("tool").is_some() {
                break until(running.agent(), |view| view.state == InstallState::Failed).await;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let reason = view.reason.unwrap();
    for server in &world.servers {
        assert!(reason.contains(&server.endpoint.address), "{reason}");
    }
    assert!(view.next_attempt.is_some() && !world.dest().exists());
    // The next attempt finds them honest.
    for server in &world.servers {
        *server.mischief.lock().unwrap() = Mischief::None;
    }
    let (replies, ended) = within(trying).await.unwrap();
    ended.unwrap();
    installed(&replies);
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_nobody_signed_is_not_installed() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::All, Prefer::Time).unwrap();
    install(running.agent(), "tool", false).await.1.unwrap();
    std::fs::write(world.source().join("lib/7.txt"), b"evil").unwrap();
    world.release_unsigned(2, false);
    world.announce();
    let view = until(running.agent(), |view| view.state == InstallState::Failed).await;
    assert!(view.reason.unwrap().contains("no signed release"));
    assert_eq!(view.installed.unwrap().version, 1);
    assert_eq!(std::fs::read(world.dest().join("lib/7.txt")).unwrap(), noise(7, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ready_codebase_it_waits_with_the_reason_until_it_is_told() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    for server in &world.servers {
        *server.mischief.lock().unwrap() = Mischief::NotReady;
    }
    let agent = Arc::clone(running.agent());
    let mut link = agent.watch_link();
    within(link.wait_for(|link| link.connection.connected)).await.unwrap();
    let waiting = tokio::spawn(async move { install(&agent, "tool", false).await });
    let view = within(async {
        loop {
            if running.agent().find_job("tool").is_some() {
                break until(running.agent(), |view| view.reason.is_some()).await;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!((view.state, view.reason.as_deref()), (InstallState::Waiting, Some("the site server has not fetched it yet")));
    assert_eq!(view.changes_when.as_deref(), Some("it has"));
    for server in &world.servers {
        *server.mischief.lock().unwrap() = Mischief::None;
    }
    world.announce();
    let (replies, ended) = within(waiting).await.unwrap();
    ended.unwrap();
    installed(&replies);
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_installs_of_one_package_share_the_work() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    let (one, two) = tokio::join!(install(running.agent(), "tool", false), install(running.agent(), "tool", false));
    installed(&one.0);
    installed(&two.0);
    let manifests: u64 = world.servers.iter().map(|server| server.manifests.load(Ordering::SeqCst)).sum();
    assert_eq!(manifests, 1);
    assert!(matches!(start(&world.agent_dir(), Care::Asked, Prefer::Time), Err(Error::Store(consign_store::Error::Locked(_)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_no_server_knows_is_refused_for_good() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    let (_, ended) = install(running.agent(), "other", false).await;
    assert!(matches!(ended, Err(Error::Absent { package }) if package == "other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_fetches_no_content_and_installs_nothing() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    let (replies, ended) = install(running.agent(), "tool", true).await;
    ended.unwrap();
    let Some(Reply::Planned(plan)) = replies.last() else { panic!("no plan: {replies:?}") };
    assert_eq!((plan.total_bytes, plan.fetched_bytes, plan.kept_bytes), (5_200_000, 5_200_000, 0));
    assert!(plan.planned_wire_bytes > 5_200_000 && plan.planned_wire_bytes == plan.full_wire_bytes, "{plan:?}");
    assert!(!world.dest().exists());
    assert!(running.agent().find_job("tool").is_none());
    assert_eq!(world.servers.iter().map(|server| server.chunk_bytes.load(Ordering::SeqCst)).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_switch_and_the_record_is_made_good_at_the_start() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    let (replies, ended) = install(running.agent(), "tool", false).await;
    ended.unwrap();
    let cost = installed(&replies).cost;
    let folder = running.agent().folder.install(world.fleet.package);
    drop(running);
    // As it was when the tree was in place and the record did not say so yet.
    let bytes = std::fs::read(folder.record()).unwrap();
    let mut record: Record = serde_json::from_slice(&bytes).unwrap();
    record.switching = record.installed.take().map(|version| Switching { version, cost });
    record.write(&folder).unwrap();
    let running = within(restart(&world)).await;
    let view = until(running.agent(), |view| view.state == InstallState::Installed).await;
    assert_eq!((view.installed.unwrap().version, view.cost), (1, Some(cost)));
    world.assert_same();
}

/// Starts again; the tasks of the one before may need a moment to let go of the folder.
pub async fn restart(world: &World) -> crate::agent::Running {
    restart_as(world, Care::All, Prefer::Time).await
}

/// As [`restart`].
pub async fn restart_as(world: &World, care: Care, prefer: Prefer) -> crate::agent::Running {
    loop {
        match start(&world.agent_dir(), care, prefer) {
            Err(Error::Store(consign_store::Error::Locked(_))) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_signed_and_their_numbers_rise_over_restarts() {
    let world = World::new().await;
    let mut last = 0;
    for _ in 0..2 {
        let running = within(restart(&world)).await;
        let (_, ended) = install(running.agent(), "tool", false).await;
        ended.unwrap();
        let key = *running.agent().member.key().public();
        within(running.stop()).await;
        let reports = std::mem::take(&mut *world.fleet.reports.lock().unwrap());
        assert!(!reports.is_empty());
        for signed in &reports {
            let now = crate::net::clock::now();
            last = statement::verify::<AgentReport>(signed, &key, "report", "hub", now, last + 1).unwrap().sequence;
        }
        let now = crate::net::clock::now();
        let body = statement::verify::<AgentReport>(reports.last().unwrap(), &key, "report", "hub", now, 0).unwrap().body;
        assert_eq!((body.installs.len(), body.installs[0].state), (1, InstallState::Installed));
        assert!(body.installs[0].cost.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_answers_and_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let dir = world.agent_dir();
    assert!(control::connect(&dir, &Ask::Status).await.unwrap().is_none());
    let running = start(&dir, Care::Asked, Prefer::Time).unwrap();
    let mode = std::fs::metadata(dir.join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut asking = control::connect(&dir, &Ask::Status).await.unwrap().unwrap();
    let Some(Reply::Status(view)) = within(asking.next()).await.unwrap() else { panic!("no status") };
    assert_eq!((view.machine, view.pid), (running.agent().member.id(), Some(std::process::id())));
    let dest = Some("relative".into());
    let ask =
        Ask::Install(crate::agent::InstallRequest { package: "tool".to_owned(), dest, plan: false, terms: Terms::default() });
    let mut asking = control::connect(&dir, &ask).await.unwrap().unwrap();
    let Some(Reply::Refused(problem)) = within(asking.next()).await.unwrap() else { panic!("not refused") };
    assert_eq!(problem.code, "destination");
}
