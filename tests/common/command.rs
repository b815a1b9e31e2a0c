//! Commands of the program, run to their end.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use super::WAIT_SECS_MAX;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_consign");

/// A command that ended.
#[derive(Debug)]
pub struct Done {
    words: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Done {
    /// Expects that it went well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "`{}` failed: {}{}", self.words, self.out, self.err);
        self
    }

    /// Its answer: the last line of standard output, as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let done = self.ok();
        let line = done.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("`{}` answered no JSON ({e}): {}", done.words, done.out))
    }

    /// Expects exit code `code` and `words` on standard error.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "`{}`: {}{}", self.words, self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "`{}` does not say {word:?}: {}", self.words, self.err);
        }
        self
    }
}

/// Runs `consign` with `words`; `variables` are added to a clean environment.
pub fn consign(words: &[&str], variables: &[(&str, &OsStr)]) -> Done {
    let mut command = Command::new(PROGRAM);
    command.args(words).env_clear().envs(kept()).envs(variables.iter().copied());
    run(command)
}

/// Runs `command` to its end; a command that hangs fails the test.
pub fn run(mut command: Command) -> Done {
    // Without the variables: one may be a secret.
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let pid = rustix::process::Pid::from_child(&child);
    let (send, receive) = mpsc::channel();
    let waiting = std::thread::spawn(move || send.send(child.wait_with_output()));
    let late = receive.recv_timeout(Duration::from_secs(WAIT_SECS_MAX));
    if late.is_err() {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let output = late.or_else(|_| receive.recv()).expect("the thread sends").expect("waited");
    waiting.join().expect("ended").expect("received");
    Done {
        words,
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The variables that a child keeps from this process.
pub fn kept() -> impl Iterator<Item = (String, String)> {
    ["PATH", "HOME", "TMPDIR", "CONSIGN_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| (name.to_owned(), value)))
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}
