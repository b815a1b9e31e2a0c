//! Ctrl-C during a demo: it cleans up behind itself; a second one ends it at once.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::error::CliError;

/// Exit code of a process that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// Knows whether the demo was asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// The system refuses a thread or the signals.
    pub fn listen() -> Result<Self, CliError> {
        let refuse = |error: std::io::Error| CliError::failed(format!("cannot listen for signals: {error}"));
        let stop = Self::default();
        let asked = Arc::clone(&stop.0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refuse)?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(refuse)?, signal(SignalKind::terminate()).map_err(refuse)?)
        };
        let listen = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if asked.swap(true, Ordering::SeqCst) {
                        process::exit(INTERRUPTED);
                    }
                }
            });
        };
        std::thread::Builder::new().name("demo-stop".to_owned()).spawn(listen).map_err(refuse)?;
        Ok(stop)
    }

    /// Fails once the demo was asked to stop.
    ///
    /// # Errors
    /// Says so.
    pub fn check(&self) -> Result<(), CliError> {
        let asked = self.0.load(Ordering::SeqCst);
        if asked { Err(CliError::failed("the demo was asked to stop; its processes have ended").code("stopped")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_asked_to_stop_fails() {
        let stop = Stop::default();
        assert!(stop.check().is_ok());
        stop.0.store(true, Ordering::SeqCst);
        assert!(stop.check().unwrap_err().to_string().contains("stop"));
    }
}
