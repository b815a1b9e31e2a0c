//! Plans, byte budgets, and waits for patches.

use std::sync::Arc;
use std::time::Duration;

use super::walking::{installed, restart, restart_as, until};
use super::world::{World, install, install_on, noise, tree, within};
use crate::agent::control::Reply;
use crate::agent::view::{PatchesView, PlanView};
use crate::agent::{Agent, Care, Error, Running, start};
use crate::domain::CodebaseState;
use crate::policy::{Prefer, Terms};
use crate::protocol::patches::PatchAnswer;
use crate::protocol::report::{InstallState, Traffic};

const URGENT: Terms = Terms { prefer: None, urgent: true, max_bytes: None };

fn at_most(max_bytes: u64) -> Terms {
    Terms { max_bytes: Some(max_bytes), ..Terms::default() }
}

fn building() -> PatchAnswer {
    PatchAnswer::Building { millis: 60_000 }
}

fn planned(replies: &[Reply]) -> &PlanView {
    match replies.last() {
        Some(Reply::Planned(plan)) => plan,
        other => panic!("no plan: {other:?}"),
    }
}

fn code(ended: Result<(), Error>) -> String {
    ended.expect_err("it was not refused").to_problem().code
}

/// Installs version 1 and releases a version 2 that differs by 1,000,000 bytes.
async fn updated_world(prefer: Prefer) -> (World, Running) {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, prefer).unwrap();
    install(running.agent(), "tool", false).await.1.unwrap();
    let mut big = noise(1000, 5_000_000);
    big[2_000_000..3_000_000].copy_from_slice(&noise(1001, 1_000_000));
    std::fs::write(world.source().join("big.bin"), big).unwrap();
    std::fs::rename(world.source().join("lib/7.txt"), world.source().join("lib/moved.txt")).unwrap();
    world.release(2);
    (world, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_each_kind_and_patches_under_construction_and_changes_nothing() {
    let (world, running) = updated_world(Prefer::Time).await;
    within(running.stop()).await;
    world.say_of_patches(&building());
    let agent = within(opened(&world)).await;
    let (before, chunks) = (tree(&world.agent_dir()), world.chunk_bytes());
    let (replies, ended) = install_on(&agent, "tool", true, at_most(500_000)).await;
    ended.unwrap();
    assert!(tree(&world.agent_dir()) == before && world.chunk_bytes() == chunks, "a plan left something, or fetched content");
    let plan = planned(&replies);
    let part = |kind: &str| plan.parts.iter().find(|part| part.kind == kind).unwrap();
    assert_eq!((part("kept").files, part("kept").raw_bytes), (99, 198_000));
    let in_all = plan.parts.iter().filter(|part| part.kind != "metadata");
    assert_eq!(in_all.clone().map(|part| part.raw_bytes).sum::<u64>(), 5_200_000);
    assert_eq!(in_all.map(|part| part.files).sum::<u64>(), 101);
    assert_eq!(part("local").files, 1, "the moved file");
    // The chunks at both ends of what changed come too.
    assert!((1_000_000..1_600_000).contains(&part("records").raw_bytes), "{plan:?}");
    assert_eq!(plan.parts.iter().map(|part| part.wire_bytes).sum::<u64>(), plan.planned_wire_bytes);
    assert!(plan.full_wire_bytes > 5_200_000 && plan.chunk_wire_bytes == plan.planned_wire_bytes);
    assert!(matches!(plan.patches, PatchesView::Building { waits: true, .. }), "the budget makes it wait: {plan:?}");
    let (replies, ended) = install_on(&agent, "tool", true, URGENT).await;
    ended.unwrap();
    assert!(matches!(planned(&replies).patches, PatchesView::Building { waits: false, .. }));
}

/// Opens the agent's folder, which the one before may need a moment to let go of.
async fn opened(world: &World) -> Arc<Agent> {
    loop {
        match Agent::open(&world.agent_dir(), Prefer::Time) {
            Err(Error::Store(consign_store::Error::Locked(_))) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_budget_stands_nothing_of_a_version_that_is_being_verified_is_fetched_but_metadata() {
    let (world, running) = updated_world(Prefer::Time).await;
    world.say_of_patches(&PatchAnswer::None { reason: "a test".to_owned() });
    within(running.stop()).await;
    let running = within(restart(&world)).await;
    assert_eq!(code(install_on(running.agent(), "tool", false, at_most(100_000)).await.1), "over_budget");
    let sent = world.manifests_sent();
    std::fs::write(world.source().join("lib/9.txt"), "changed").unwrap();
    world.release(3);
    world.announce_as(CodebaseState::Verifying);
    // Without a budget it comes within milliseconds.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.manifests_sent(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_is_what_the_install_costs() {
    let (world, running) = updated_world(Prefer::Time).await;
    world.say_of_patches(&PatchAnswer::None { reason: "a test".to_owned() });
    let (replies, ended) = install(running.agent(), "tool", true).await;
    ended.unwrap();
    let plan = planned(&replies).clone();
    let records = plan.parts.iter().find(|part| part.kind == "records").unwrap().wire_bytes;
    let (replies, ended) = install(running.agent(), "tool", false).await;
    ended.unwrap();
    let view = installed(&replies);
    assert_eq!(view.cost.content_bytes, records, "to the byte");
    assert_eq!((view.cost.fetched_bytes, view.cost.kept_bytes), (plan.fetched_bytes, plan.kept_bytes));
    assert_eq!(view.cost.written_bytes, view.cost.total_bytes - view.cost.kept_bytes);
    assert!(view.saved_bytes > 3_000_000 && view.saved_bytes == view.cost.full_wire_bytes - view.cost.content_bytes);
    let totals = running.agent().find_job("tool").unwrap().seen().view.totals;
    assert_eq!((totals.installs, totals.saved_bytes), (2, view.saved_bytes), "the first one saved nothing");
    // Told from the record after a restart, and counted once.
    within(running.stop()).await;
    let running = within(restart(&world)).await;
    let seen: Traffic = running.agent().find_job("tool").unwrap().seen().view.totals;
    assert_eq!(seen, totals);
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_budget_nothing_is_begun_and_a_larger_one_lets_it_go_on() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    let (_, ended) = install_on(running.agent(), "tool", false, at_most(1_000_000)).await;
    let problem = ended.expect_err("refused").to_problem();
    assert_eq!(problem.code, "over_budget");
    for word in ["MiB must still come", "977 KiB may come", "not begun"] {
        assert!(problem.detail.contains(word), "{word}: {}", problem.detail);
    }
    assert!(problem.hint.unwrap().contains("--max-bytes"));
    assert_eq!(world.chunk_bytes(), 0);
    let beside = std::fs::read_dir(world.agent_dir().join("packages")).map_or(0, Iterator::count);
    assert_eq!(beside, 0, "a staging folder is left");
    let view = until(running.agent(), |view| view.state == InstallState::Failed).await;
    assert_eq!((view.blocked.as_deref(), view.next_attempt), (Some("over_budget"), None));
    assert!(view.changes_when.unwrap().contains("--max-bytes"));
    // Nor is one waited for that does not allow the question which version there is.
    assert_eq!(code(install_on(running.agent(), "tool", false, at_most(10)).await.1), "over_budget");
    // News do not make it ask again for what it may not have.
    let manifests = || world.servers.iter().map(|server| server.manifests.load(std::sync::atomic::Ordering::SeqCst)).sum::<u64>();
    let asked = manifests();
    within(running.agent().watch_link().wait_for(|link| link.connection.connected)).await.unwrap();
    let job = running.agent().find_job("tool").unwrap();
    let rounds = job.seen().rounds;
    world.announce();
    within(job.subscribe().wait_for(|seen| seen.rounds > rounds)).await.unwrap();
    assert_eq!((manifests(), world.chunk_bytes()), (asked, 0));

    let (replies, ended) = install_on(running.agent(), "tool", false, at_most(5_400_000)).await;
    ended.unwrap();
    let cost = installed(&replies).cost;
    assert!(cost.wire_bytes > 5_200_000 && cost.wire_bytes <= 5_400_000, "{cost:?}");
    world.assert_same();
    let view = until(running.agent(), |view| view.state == InstallState::Installed).await;
    assert_eq!((view.max_bytes, view.blocked), (None, None), "the budget was for that version");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_over_a_restart() {
    let world = World::new().await;
    let running = start(&world.agent_dir(), Care::Asked, Prefer::Time).unwrap();
    assert_eq!(code(install_on(running.agent(), "tool", false, at_most(1_000_000)).await.1), "over_budget");
    within(running.stop()).await;
    let seen = crate::agent::view_on_disk(&world.agent_dir()).unwrap().packages.remove(0);
    assert!(seen.state == InstallState::Failed && seen.reason.unwrap().contains("may come"), "shown while no agent runs");
    let running = within(restart(&world)).await;
    let job = running.agent().find_job("tool").unwrap();
    within(job.subscribe().wait_for(|seen| seen.rounds > 0)).await.unwrap();
    let view = job.seen().view;
    assert_eq!((view.max_bytes, view.blocked.as_deref()), (Some(1_000_000), Some("over_budget")));
    assert_eq!(world.chunk_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_records_exceed_waits_for_patches_and_refuses_when_there_are_none() {
    let (world, running) = updated_world(Prefer::Time).await;
    let before = world.chunk_bytes();
    world.say_of_patches(&building());
    let agent = Arc::clone(running.agent());
    let waiting = tokio::spawn(async move { install_on(&agent, "tool", false, at_most(500_000)).await });
    let view = until(running.agent(), |view| view.reason.is_some()).await;
    assert!(view.reason.unwrap().contains("building patches"));
    assert!(view.next_attempt.is_some() && view.changes_when.unwrap().contains("--urgent"), "a wait has an end");
    world.say_of_patches(&PatchAnswer::None { reason: "a test".to_owned() });
    let (_, ended) = within(waiting).await.unwrap();
    assert_eq!(code(ended), "over_budget");
    // Urgent and over the budget: refused at once.
    world.say_of_patches(&building());
    let terms = Terms { urgent: true, ..at_most(500_000) };
    let problem = install_on(running.agent(), "tool", false, terms).await.1.expect_err("refused").to_problem();
    assert!(problem.hint.unwrap().contains("without --urgent"));
    assert_eq!(world.chunk_bytes(), before);
    assert_eq!(until(running.agent(), |_| true).await.installed.unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_does_not_wait_for_patches() {
    let (world, running) = updated_world(Prefer::Bytes).await;
    world.say_of_patches(&building());
    let agent = Arc::clone(running.agent());
    let waiting = tokio::spawn(async move { install(&agent, "tool", false).await });
    let view = until(running.agent(), |view| view.reason.is_some()).await;
    assert!(view.reason.unwrap().contains("building patches") && view.next_attempt.is_some());
    // Nor does it stand behind one that waits.
    let (replies, ended) = install_on(running.agent(), "tool", false, URGENT).await;
    ended.unwrap();
    assert_eq!(installed(&replies).version, 2);
    within(waiting).await.unwrap().1.unwrap();
    world.assert_same();
    // And from the start.
    std::fs::write(world.source().join("lib/1.txt"), b"urgent").unwrap();
    world.release(3);
    within(running.stop()).await;
    let running = within(restart_as(&world, Care::Asked, Prefer::Bytes)).await;
    let (replies, ended) = install_on(running.agent(), "tool", false, URGENT).await;
    ended.unwrap();
    assert_eq!(installed(&replies).version, 3);
    world.assert_same();
}
