//! Waiting for packages: until each is released and every site server of the fleet is ready, or the time is over.

use std::time::{Duration, Instant};

use super::admin::{self, AdminClient};
use super::error::CliError;
use super::human;
use super::output::Output;
use super::progress::Bar;
use crate::domain::{CodebaseState, PackageId};
use crate::protocol::admin::{CodebaseView, PACKAGES_PATH, PackageView, RefreshState};

/// Longest pause between two looks, milliseconds.
const PAUSE_MILLIS_MAX: u64 = 500;
/// First pause between two looks, milliseconds.
const PAUSE_MILLIS_MIN: u64 = 10;

/// How far a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Released, and ready at every site server.
    Ready,
    /// Something is still to come.
    Pending {
        /// What, and why it is not there yet.
        why: String,
        /// Bytes done of the part under way.
        done_bytes: u64,
        /// Its bytes in all.
        total_bytes: u64,
    },
    /// The refresh ended without a version to use.
    Failed(String),
}

impl Verdict {
    fn pending(why: impl Into<String>) -> Self {
        Self::Pending { why: why.into(), done_bytes: 0, total_bytes: 0 }
    }
}

/// Judges a package as the hub shows it after its refresh was queued: as long as that refresh has not ended, the state is not idle.
pub fn judge(view: &PackageView) -> Verdict {
    match &view.refresh {
        RefreshState::Queued { position: 0, .. } => Verdict::pending("queued"),
        RefreshState::Queued { position, .. } => Verdict::pending(format!("queued behind {position} others")),
        &RefreshState::Hashing { done_bytes, total_bytes, .. } => {
            Verdict::Pending { why: format!("hashing {}", share(done_bytes, total_bytes)), done_bytes, total_bytes }
        }
        RefreshState::Failed { reason, .. } => Verdict::Failed(reason.clone()),
        RefreshState::Unknown => Verdict::pending("in a state that a newer Consign knows"),
        RefreshState::Idle if view.versions.is_empty() => Verdict::Failed("no version was released".to_owned()),
        RefreshState::Idle => judge_codebases(&view.codebases),
    }
}

fn judge_codebases(codebases: &[CodebaseView]) -> Verdict {
    let late: Vec<&CodebaseView> = codebases.iter().filter(|codebase| codebase.state != CodebaseState::Ready).collect();
    if late.is_empty() {
        return Verdict::Ready;
    }
    let why = late.iter().map(|codebase| format!("{} is {}", codebase.server_name, codebase_words(&codebase.state)));
    let (done_bytes, total_bytes) = late.iter().fold((0, 0), |(done, total), codebase| match codebase.state {
        CodebaseState::Fetching { done_bytes, total_bytes } => (done + done_bytes, total + total_bytes),
        _ => (done, total),
    });
    Verdict::Pending { why: why.collect::<Vec<_>>().join("; "), done_bytes, total_bytes }
}

/// Says a codebase's state in words, with its reason.
pub fn codebase_words(state: &CodebaseState) -> String {
    match state {
        CodebaseState::Fetching { done_bytes, total_bytes } => {
            format!("fetching {} of {}", human::size(*done_bytes), human::size(*total_bytes))
        }
        CodebaseState::Failed { reason, next_attempt } => {
            format!("failed ({reason}), next attempt {}", human::time(*next_attempt))
        }
        other => other.word().to_owned(),
    }
}

/// Says what share `done` is of `total`: `33 %`, and `0.2 %` where whole percents would hide it.
pub fn share(done: u64, total: u64) -> String {
    let parts = (u128::from(done) * 1000).checked_div(u128::from(total)).unwrap_or(0);
    match parts {
        0 if done > 0 => "under 0.1 %".to_owned(),
        1..100 => format!("{}.{} %", parts / 10, parts % 10),
        _ => format!("{} %", parts / 10),
    }
}

/// Waits until all `packages` are ready; returns them as they are then.
///
/// # Errors
/// A refresh failed, the hub cannot be reached, or `timeout` passed (not ready: names what is late and why).
pub fn until_ready(
    client: &AdminClient,
    output: &Output,
    packages: &[PackageId],
    timeout: Duration,
) -> Result<Vec<PackageView>, CliError> {
    let started = Instant::now();
    let bar = Bar::start(output, "queued");
    let mut pause = Duration::from_millis(PAUSE_MILLIS_MIN);
    loop {
        let views: Vec<PackageView> = packages
            .iter()
            .map(|package| client.get(&admin::path(PACKAGES_PATH, &[&package.to_string()])))
            .collect::<Result<_, _>>()?;
        let late = still_late(&views, &bar)?;
        if late.is_empty() {
            return Ok(views);
        }
        if started.elapsed() >= timeout {
            return Err(CliError::not_ready(format!(
                "not ready after {}: {}",
                human::duration(timeout.as_secs_f64()),
                late.join("; ")
            ))
            .hint("the work goes on at the hub; look with `consign package show NAME`"));
        }
        std::thread::sleep(pause.min(timeout.saturating_sub(started.elapsed())));
        pause = (pause * 3 / 2).min(Duration::from_millis(PAUSE_MILLIS_MAX));
    }
}

/// Returns what is late among `views`, a sentence each.
fn still_late(views: &[PackageView], bar: &Bar) -> Result<Vec<String>, CliError> {
    let mut late = Vec::new();
    let (mut done, mut total) = (0, 0);
    for view in views {
        match judge(view) {
            Verdict::Ready => {}
            Verdict::Pending { why, done_bytes, total_bytes } => {
                done += done_bytes;
                total += total_bytes;
                late.push(format!("{}: {why}", view.name));
            }
            Verdict::Failed(reason) => {
                return Err(CliError::failed(format!("the refresh of {} failed: {reason}", view.name))
                    .code("refresh_failed")
                    .hint(format!("mend the source folder {} and run `consign package refresh {}`", view.source, view.name)));
            }
        }
    }
    if let Some(first) = late.first() {
        bar.show(first, done, total);
    }
    Ok(late)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::domain::{MachineId, Millis};
    use crate::protocol::fleet::VersionInfo;

    /// A released package with one codebase in `state`.
    pub fn view(state: CodebaseState) -> PackageView {
        let version = VersionInfo {
            version: 2,
            label: Some("3.30.2".to_owned()),
            manifest: format!("b3:{}", "0".repeat(64)),
            manifest_len: 900,
            bytes: 5 << 20,
            files: 12,
            released: Millis(1000),
        };
        let codebase = CodebaseView {
            server: MachineId(uuid::Uuid::nil()),
            server_name: "attic".parse().unwrap(),
            site: "berlin".parse().unwrap(),
            version: 2,
            state,
            reported: Millis(2000),
        };
        PackageView {
            id: PackageId(uuid::Uuid::nil()),
            name: "cmake".parse().unwrap(),
            source: "/srv/cmake".to_owned(),
            open: false,
            platforms: Vec::new(),
            refresh: RefreshState::Idle,
            refreshes_ended: 2,
            last_refresh: None,
            versions: vec![version],
            codebases: vec![codebase],
            installs: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn ready_means_every_site_server() {
        assert_eq!(judge(&view(CodebaseState::Ready)), Verdict::Ready);
        let mut none = view(CodebaseState::Ready);
        none.codebases.clear();
        assert_eq!(judge(&none), Verdict::Ready);
        let Verdict::Pending { why, done_bytes: 1, total_bytes: 4 } =
            judge(&view(CodebaseState::Fetching { done_bytes: 1, total_bytes: 4 }))
        else {
            unreachable!("a codebase that is fetching is pending with its bytes");
        };
        assert_eq!(why, "attic is fetching 1 B of 4 B");
    }

    #[test]
    fn a_failed_codebase_is_late_with_its_reason_and_a_failed_refresh_ends_the_wait() {
        let failed = CodebaseState::Failed { reason: "disk full".to_owned(), next_attempt: Millis(0) };
        assert!(
            matches!(judge(&view(failed)), Verdict::Pending { why, .. } if why.contains("disk full") && why.contains("next attempt"))
        );
        let mut broken = view(CodebaseState::Ready);
        broken.refresh = RefreshState::Failed { reason: "no folder".to_owned(), at: Millis(0) };
        assert_eq!(judge(&broken), Verdict::Failed("no folder".to_owned()));
        broken.refresh = RefreshState::Idle;
        broken.versions.clear();
        assert!(matches!(judge(&broken), Verdict::Failed(_)));
    }

    #[test]
    fn a_refresh_under_way_is_pending_although_an_old_version_is_ready() {
        let mut busy = view(CodebaseState::Ready);
        busy.refresh = RefreshState::Hashing { done_bytes: 1, total_bytes: 3, done_files: 0, total_files: 1 };
        assert!(matches!(judge(&busy), Verdict::Pending { why, .. } if why == "hashing 33 %"));
        busy.refresh = RefreshState::Queued { since: Millis(0), position: 2 };
        assert_eq!(judge(&busy), Verdict::pending("queued behind 2 others"));
    }

    /// A hub that shows `package` in each of `states` once, the last one for ever.
    fn hub_showing(states: Vec<CodebaseState>) -> AdminClient {
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let show = async move || {
            let turn = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            axum::Json(view(states[turn.min(states.len() - 1)].clone()))
        };
        admin::tests::client_of(axum::Router::new().route(&format!("{PACKAGES_PATH}/{{package}}"), axum::routing::get(show)))
    }

    #[test]
    fn the_wait_ends_when_it_is_ready_or_says_what_is_late() {
        let output = Output::of_process(true);
        let packages = [PackageId(uuid::Uuid::nil())];
        let soon = hub_showing(vec![CodebaseState::Assigned, CodebaseState::Verifying, CodebaseState::Ready]);
        let ready = until_ready(&soon, &output, &packages, Duration::from_mins(1)).unwrap();
        assert_eq!(ready, [view(CodebaseState::Ready)]);
        let never = hub_showing(vec![CodebaseState::Verifying]);
        let late = until_ready(&never, &output, &packages, Duration::from_millis(40)).unwrap_err();
        assert_eq!(late.exit(), crate::cli::Exit::NotReady);
        assert_eq!(late.to_string(), "not ready after 40 ms: cmake: attic is verifying");
    }
}
