//! Packages as admins add, refresh and see them.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::{Path, State};
use axum::response::Json;

use super::write::Write;
use super::{Answer, Shared};
use crate::hub::Hub;
use crate::protocol::admin::{PackageAdd, PackageView, RefreshRequest, RefreshState};
use crate::protocol::problem::Problem;

pub(super) async fn list(State(hub): Shared) -> Answer<Vec<PackageView>> {
    let packages = hub.catalog.packages().await?;
    Ok(Json(packages.into_iter().map(|view| with_progress(&hub, view)).collect()))
}

pub(super) async fn show(State(hub): Shared, Path(name): Path<String>) -> Answer<PackageView> {
    Ok(Json(with_progress(&hub, hub.catalog.package(&name).await?)))
}

pub(super) async fn add(State(hub): Shared, Write(write, add): Write<PackageAdd>) -> Answer<PackageView> {
    let source = std::path::PathBuf::from(&add.source);
    if !source.is_absolute() {
        return Err(Problem::new(422, "invalid", format!("the source {:?} is not an absolute path", add.source)));
    }
    // A wrong path is told at once and adds nothing; everything else about the source is the refresh's to find.
    match std::fs::metadata(&source) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(refused(&add.source, "is not a folder")),
        Err(error) => return Err(refused(&add.source, &error.to_string())),
    }
    let view = hub.catalog.add_package(write, add).await?;
    hub.refresh_queued.notify_one();
    Ok(Json(with_progress(&hub, view)))
}

fn refused(source: &str, why: &str) -> Problem {
    Problem::new(422, "source", format!("the source {source} cannot be used: {why}"))
        .hint("name a folder that the hub's machine can read, as an absolute path")
}

pub(super) async fn refresh(
    State(hub): Shared,
    Path(name): Path<String>,
    Write(write, request): Write<RefreshRequest>,
) -> Answer<PackageView> {
    let view = hub.catalog.queue_refresh(write, &name, request).await?;
    hub.refresh_queued.notify_one();
    Ok(Json(with_progress(&hub, view)))
}

pub(super) async fn refresh_all(State(hub): Shared, Write(write, request): Write<RefreshRequest>) -> Answer<Vec<PackageView>> {
    let views = hub.catalog.queue_refresh_all(write, request).await?;
    hub.refresh_queued.notify_one();
    Ok(Json(views.into_iter().map(|view| with_progress(&hub, view)).collect()))
}

/// The catalog knows that a refresh runs; how far it is, only the running one knows.
fn with_progress(hub: &Hub, mut view: PackageView) -> PackageView {
    if let RefreshState::Hashing { done_bytes, total_bytes, done_files, total_files } = &mut view.refresh {
        let running = hub.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = running.get(&view.id) {
            *done_bytes = progress.bytes_done.load(Relaxed);
            *total_bytes = progress.bytes_total.load(Relaxed);
            *done_files = progress.files_done.load(Relaxed);
            *total_files = progress.files_total.load(Relaxed);
        }
    }
    let damaged = hub.damaged_versions().into_iter().filter(|version| version.package == view.name);
    view.warnings
        .extend(damaged.map(|version| format!("version {}: {}; {}", version.version, version.reason, version.next_step)));
    view
}
