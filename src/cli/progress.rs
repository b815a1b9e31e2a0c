//! Progress of long work: a bar on a terminal, nothing on a pipe.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Output;

/// How often work in another thread is looked at, milliseconds.
pub const LOOK_MILLIS: u64 = 60;

/// A bar of bytes with a word about what is going on.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// Starts a bar; hidden unless standard error is a terminal and the answer is not JSON.
    pub fn start(output: &Output, word: &str) -> Self {
        let target = if output.draws_progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template(
            "{spinner} {msg:28!} {bar:24} {binary_bytes:>11} / {binary_total_bytes:11} {binary_bytes_per_sec:>13}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(word.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// Shows how far the work is.
    pub fn show(&self, word: &str, done_bytes: u64, total_bytes: u64) {
        self.0.set_message(word.to_owned());
        self.0.set_length(total_bytes);
        self.0.set_position(done_bytes);
    }
}

impl Drop for Bar {
    /// Takes the bar away, so that the answer stands alone.
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
