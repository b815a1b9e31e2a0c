//! A role's process: started, killed, started again; gone with its owner.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::command::{PROGRAM, kept, text};
use super::until;

/// A role of the fleet and its folder.
#[derive(Debug)]
pub struct Role {
    /// What it is called in the fleet.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// What runs the program, with its arguments; nothing as a rule.
    wrapper: Vec<OsString>,
    words: Vec<OsString>,
    flags: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Role {
    /// A role that does not run yet; `words` start it.
    pub fn new(name: &str, dir: &Path, words: &[&str]) -> Self {
        let log = dir.with_extension("log");
        let words = words.iter().map(OsString::from).collect();
        Self { name: name.to_owned(), dir: dir.to_path_buf(), wrapper: Vec::new(), words, flags: Vec::new(), log, child: None }
    }

    /// Starts it from now on without the right of root to read every file, if this is root.
    pub fn without_override(&mut self) {
        if rustix::process::geteuid().is_root() {
            self.run_by(&["setpriv", "--bounding-set=-dac_override,-dac_read_search"]);
        }
    }

    /// Lets `wrapper` start it from now on: a program that becomes the one behind its own arguments.
    pub fn run_by(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
    }

    /// Starts it with these flags besides from now on.
    pub fn with(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(OsString::from).collect();
    }

    /// Starts it.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("log");
        let program = OsString::from(PROGRAM);
        let mut words = self.wrapper.iter().chain([&program]).chain(&self.words).chain(&self.flags);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).env_clear().envs(kept());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("started");
        self.child = Some(child);
    }

    /// Its process id; it must run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Says whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().expect("looked").is_some())
    }

    /// Fails with the end of the log if the process has ended by itself.
    pub fn alive(&mut self) {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait().expect("looked")
        {
            panic!("{} ended by itself ({status}): {}", self.name, self.log_end());
        }
    }

    /// Ends it at once (SIGKILL), in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().expect("waited");
        }
    }

    /// Asks it to stop (SIGTERM) and waits until it has; returns whether it said it ended well.
    pub fn stop(&mut self) -> bool {
        let mut child = self.child.take().expect("it runs");
        kill_process(Pid::from_child(&child), Signal::TERM).expect("signalled");
        until("a process to stop", || child.try_wait().expect("looked").ok_or_else(|| format!("{} runs", self.name))).success()
    }

    /// Whether it has logged `words`.
    pub fn has_logged(&self, words: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|text| text.contains(words))
    }

    /// The end of its log.
    pub fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Its anonymous resident memory now, bytes; as Linux tells of a running process.
    pub fn memory_bytes(&self) -> u64 {
        memory_of(self.pid()).expect("Linux tells")
    }

    /// Processes that it has started and that run.
    pub fn children(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        let told = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        told.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }
}

/// Anonymous resident memory of a process, bytes; `None` once it has ended.
pub fn memory_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- {}: {}\n{}", self.name, self.dir.display(), self.log_end());
        }
    }
}

/// The processes that were given something in `folder`.
pub fn processes_of(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("listed").flatten() {
        let read = |name: &str| fs::read(entry.path().join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if let (Ok(words), Ok(variables)) = (read("cmdline"), read("environ"))
            && words.contains("consign")
            && (words.contains(text(folder)) || variables.contains(text(folder)))
        {
            found.push(words.replace('\0', " "));
        }
    }
    found
}
