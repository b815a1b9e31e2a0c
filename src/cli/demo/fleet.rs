//! A hub, a site server and an agent as processes of their own on loopback.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use uuid::Uuid;

use super::stop::Stop;
use crate::cli::admin::AdminClient;
use crate::cli::error::CliError;
use crate::domain::SiteId;
use crate::protocol::admin::{
    INVITES_PATH, Invite, Invited, MACHINES_PATH, MachineView, SITES_PATH, SUBNETS_PATH, SiteAdd, SiteView, SubnetAdd,
};
use crate::protocol::fleet::HubFallback;
use crate::protocol::hello::Role;
use crate::protocol::local::RUN_FILE;

/// Longest wait for a process to come up, seconds.
const START_SECS_MAX: u64 = 30;
/// Pause between two looks at something that is about to happen, milliseconds.
const LOOK_MILLIS: u64 = 5;
/// How much of a log is shown when its process fails, bytes.
const LOG_TAIL_BYTES: i64 = 2_000;
/// Name of the demo's site.
const SITE: &str = "loopback";

/// A process, with those that it started itself, that ends with its owner.
struct Running(Child);

/// A role's process.
struct Process {
    role: Role,
    child: Running,
    log: PathBuf,
}

impl Process {
    /// Fails when the process has ended, showing the end of its log.
    fn check(&mut self) -> Result<(), CliError> {
        match self.child.0.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let tail = tail(&self.log);
                Err(CliError::failed(format!("the {} ended ({status}): {tail}", self.role.word())))
            }
            Err(e) => Err(CliError::failed(format!("cannot look at the {}: {e}", self.role.word()))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

fn tail(log: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(log) {
        let _ = file.seek(SeekFrom::End(-LOG_TAIL_BYTES)).or_else(|_| file.seek(SeekFrom::Start(0)));
        let _ = file.read_to_string(&mut text);
    }
    text.trim().to_owned()
}

/// The demo's fleet; its processes end when it is dropped.
pub struct Fleet {
    program: PathBuf,
    folder: PathBuf,
    // Dropped in this order: agents first, the hub last.
    agent: Option<Process>,
    site_server: Option<Process>,
    hub: Process,
    stop: Stop,
    /// The hub's admin listener.
    pub admin: AdminClient,
}

impl Fleet {
    /// Makes a fleet in `folder` and returns when its site server is connected.
    ///
    /// # Errors
    /// A process cannot be started or ends, or takes over 30 seconds to come up; the demo was asked to stop.
    pub fn start(folder: &Path, stop: &Stop) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(|e| CliError::failed(format!("cannot find this program: {e}")))?;
        let hub_folder = folder.join("hub");
        let any = ["--listen", "127.0.0.1:0"];
        let admin_any = ["--admin-listen", "127.0.0.1:0"];
        run(&program, &[&["hub", "init"][..], &any, &admin_any].concat(), &[("CONSIGN_HUB", hub_folder.as_os_str())])?;
        let mut hub = spawn(
            Role::Hub,
            &program,
            folder,
            &[&["hub", "run"][..], &any, &admin_any].concat(),
            &[("CONSIGN_HUB", hub_folder.as_os_str())],
        )?;
        let run_file = hub_folder.join(RUN_FILE);
        until("the hub to listen", &mut hub, || {
            stop.check()?;
            Ok(run_file.exists())
        })?;
        let admin = AdminClient::open(&hub_folder)?;
        let folder = folder.to_path_buf();
        let mut fleet = Self { program, folder, agent: None, site_server: None, hub, stop: stop.clone(), admin };
        fleet.add_site()?;
        fleet.add_members()?;
        Ok(fleet)
    }

    fn add_site(&self) -> Result<(), CliError> {
        let name = SITE.parse().map_err(|e| CliError::failed(format!("{e}")))?;
        let _: SiteView =
            self.admin.post(SITES_PATH, &SiteAdd { id: SiteId(Uuid::now_v7()), name, hub_fallback: HubFallback::WhenNone })?;
        let cidr = ipnet::IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8));
        let _: SiteView = self.admin.post(SUBNETS_PATH, &SubnetAdd { cidr, site: SITE.to_owned() })?;
        Ok(())
    }

    fn add_members(&mut self) -> Result<(), CliError> {
        self.site_server = Some(self.join_and_run(Role::SiteServer, "CONSIGN_SITE_SERVER", &["--listen", "127.0.0.1:0"])?);
        if let Some(process) = &mut self.site_server {
            let (admin, stop) = (&self.admin, &self.stop);
            until("the site server to connect", process, || {
                stop.check()?;
                let machines: Vec<MachineView> = admin.get(MACHINES_PATH)?;
                Ok(machines
                    .iter()
                    .any(|machine| machine.role == Role::SiteServer && machine.connected && machine.address.is_some()))
            })?;
        }
        self.agent = Some(self.join_and_run(Role::Agent, "CONSIGN_AGENT", &[])?);
        Ok(())
    }

    fn join_and_run(&self, role: Role, variable: &str, options: &[&str]) -> Result<Process, CliError> {
        let asked = Invite { role, site: Some(SITE.to_owned()), uses: 1, valid_secs: 600 };
        let invited: Invited = self.admin.post(INVITES_PATH, &asked)?;
        let home = self.folder.join(role.word());
        let place = (variable, home.as_os_str());
        let name = format!("demo {}", role.word());
        run(
            &self.program,
            &[&[role.word(), "join", "--name", &name][..], options].concat(),
            &[place, ("CONSIGN_JOIN", OsStr::new(&invited.join))],
        )?;
        // The demo shows how few bytes an update can cost.
        let prefer: &[&str] = if role == Role::Agent { &["--prefer", "bytes"] } else { &[] };
        spawn(role, &self.program, &self.folder, &[&[role.word(), "run"][..], prefer].concat(), &[place])
    }

    /// The ends of the processes' logs, to be shown when something went wrong.
    pub fn log_tails(&self) -> String {
        let all = [Some(&self.hub), self.site_server.as_ref(), self.agent.as_ref()];
        let said = all.into_iter().flatten().map(|process| format!("-- {}\n{}", process.role.word(), tail(&process.log)));
        said.collect::<Vec<_>>().join("\n")
    }

    /// Installs `package` into `dest` by the agent; returns how long that took, seconds.
    ///
    /// # Errors
    /// The install failed, a process ended, or the demo was asked to stop.
    pub fn install(&mut self, package: &str, dest: &Path) -> Result<f64, CliError> {
        let started = Instant::now();
        let home = self.folder.join(Role::Agent.word());
        let dest = dest.to_str().ok_or_else(|| CliError::failed("the temporary folder's name is not UTF-8; set TMPDIR"))?;
        let words = ["agent", "install", package, "--dest", dest];
        let mut command = command(&self.program, &words, &[("CONSIGN_AGENT", home.as_os_str())]);
        // On a terminal it draws its own bar.
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut child = Running(child.map_err(|e| CliError::io("start", &self.program, &e))?);
        loop {
            match child.0.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(started.elapsed().as_secs_f64()),
                Ok(Some(status)) => return Err(CliError::failed(format!("`consign {}` failed ({status})", words.join(" ")))),
                Ok(None) => {}
                Err(e) => return Err(CliError::failed(format!("cannot look at the install: {e}"))),
            }
            self.check()?;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Fails when one of the processes has ended or the demo was asked to stop.
    ///
    /// # Errors
    /// Names the process and shows the end of its log.
    pub fn check(&mut self) -> Result<(), CliError> {
        self.stop.check()?;
        self.hub.check()?;
        self.site_server.iter_mut().chain(&mut self.agent).try_for_each(Process::check)
    }
}

/// Runs a command of this program to its end.
fn run(program: &Path, words: &[&str], variables: &[(&str, &OsStr)]) -> Result<(), CliError> {
    let done =
        command(program, words, variables).stdin(Stdio::null()).output().map_err(|e| CliError::io("start", program, &e))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(CliError::failed(format!("`consign {}` failed ({}): {}", words.join(" "), done.status, said.trim())))
}

/// Starts a role, its log beside its folder.
fn spawn(role: Role, program: &Path, folder: &Path, words: &[&str], variables: &[(&str, &OsStr)]) -> Result<Process, CliError> {
    let log = folder.join(format!("{}.log", role.word()));
    let file = File::create(&log).map_err(|e| CliError::io("create", &log, &e))?;
    let copy = file.try_clone().map_err(|e| CliError::io("open", &log, &e))?;
    let child = command(program, words, variables)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy)
        .spawn()
        .map_err(|e| CliError::io("start", program, &e))?;
    Ok(Process { role, child: Running(child), log })
}

fn command(program: &Path, words: &[&str], variables: &[(&str, &OsStr)]) -> Command {
    let mut command = Command::new(program);
    // A group of its own: its workers end with it.
    command.process_group(0);
    command.args(words).env_remove("CONSIGN_JOIN").envs(variables.iter().copied());
    command
}

/// Waits for `what`, looking again and again, as long as `process` lives.
fn until(what: &str, process: &mut Process, mut look: impl FnMut() -> Result<bool, CliError>) -> Result<(), CliError> {
    let started = Instant::now();
    while !look()? {
        process.check()?;
        if started.elapsed() > Duration::from_secs(START_SECS_MAX) {
            return Err(CliError::failed(format!("waited {START_SECS_MAX} s for {what}; its log ends: {}", tail(&process.log))));
        }
        std::thread::sleep(Duration::from_millis(LOOK_MILLIS));
    }
    Ok(())
}
