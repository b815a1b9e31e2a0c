//! The worker process that builds a patch set.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::Pair;
use super::cache::Cache;

/// Longest run of a worker.
const RUN_MAX: Duration = Duration::from_hours(1);
/// What is read of what a failing worker says, bytes.
const SAID_BYTES_MAX: u64 = 2_000;

/// Builds the set of `pair` into `cache`.
///
/// # Errors
/// Why not, in words.
pub(super) async fn build(store: &Path, pair: Pair, cache: &Cache) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let out = cache.begin()?;
    let mut command = Command::new(program);
    // Nobody waits longer for records because patches are being built.
    command
        .args(["store", "patch", "--background", "--owned", "--base"])
        .arg(pair.base.to_string())
        .arg("--target")
        .arg(pair.target.to_string());
    command.arg("--out").arg(out.path()).arg("--").arg(store);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot start a worker: {error}"))?;
    // Held until the worker has ended: if this process is killed before, so that nothing here is dropped, the worker ends by it.
    let _held = child.stdin.take();
    let mut said = String::new();
    let run = async {
        if let Some(stderr) = child.stderr.take() {
            // What is beyond the limit is not read, and a worker that says so much ends by the broken pipe.
            let _ = stderr.take(SAID_BYTES_MAX).read_to_string(&mut said).await;
        }
        child.wait().await
    };
    match tokio::time::timeout(RUN_MAX, run).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => return Err(format!("the worker ended ({status}): {}", said.trim())),
        Ok(Err(error)) => return Err(format!("cannot wait for the worker: {error}")),
        Err(_) => return Err(format!("the worker took longer than {RUN_MAX:?}")),
    }
    cache.keep(pair, out)
}
