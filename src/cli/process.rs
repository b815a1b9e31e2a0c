//! A role's process: log, reactor, and a stop in good order.

use std::future::Future;
use std::io::IsTerminal as _;
use std::pin::Pin;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::error::CliError;

/// What a process adds that lets others go first: beside one that does not it has about a tenth of a core.
const NICENESS: i32 = 10;

/// Exit code of a process whose owner is gone; nobody sees it.
const ABANDONED: i32 = 1;

/// Resolves when the process is asked to stop.
pub type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a role until it ends or the process is told to stop (SIGINT, SIGTERM); logs to standard error, as the variable `CONSIGN_LOG` says.
///
/// # Errors
/// What `role` returns, or the system refuses threads or signals.
pub fn serve<F: Future<Output = Result<(), CliError>>>(role: impl FnOnce(Shutdown) -> F) -> Result<(), CliError> {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::failed(format!("cannot start worker threads: {error}")))?;
    runtime.block_on(async {
        let shutdown = shutdown().map_err(|error| CliError::failed(format!("cannot listen for signals: {error}")))?;
        role(shutdown).await
    })
}

/// Lets whatever else wants a processor here have it first, from now on.
pub fn let_others_first() {
    // Refused, it is only ruder.
    let _ = rustix::process::nice(NICENESS);
}

/// Ends the process as soon as its standard input ends. Whoever starts a worker holds the other end, which closes however it ends itself: a worker that
/// nobody waits for any more would take a core and write to a folder that may be somebody else's by then.
///
/// # Errors
/// The system refuses a thread.
pub fn end_with_input() -> Result<(), CliError> {
    let wait = || {
        // Bytes say nothing.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(ABANDONED);
    };
    let started = std::thread::Builder::new().name("owner".to_owned()).spawn(wait);
    started.map(drop).map_err(|error| CliError::failed(format!("cannot start a thread: {error}")))
}

fn shutdown() -> std::io::Result<Shutdown> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
    }))
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("CONSIGN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call in one process (tests) keeps the first subscriber.
    let _ = format.with_ansi(std::io::stderr().is_terminal()).try_init();
}
