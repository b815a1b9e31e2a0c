//! A fleet of real processes on this machine: one hub, any number of site servers and agents.
//!
//! Each fleet listens on a loopback address of its own, so that ports are fixed across restarts and no test races for one.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use consign::domain::MachineId;
use consign::net::member::Member;
use consign::protocol::fleet::Endpoint;
use consign::protocol::hello::Role as MemberRole;
use serde_json::Value;

use super::command::{Done, consign, text};
use super::process::Role;
use super::{holds, until};

/// The site of every fleet.
pub const SITE: &str = "berlin";
const HUB_PORT: u16 = 4700;
const ADMIN_PORT: u16 = 4701;
const SERVER_PORT: u16 = 4710;

/// Where a fleet listens.
#[derive(Debug, Clone, Copy)]
pub struct Host(Ipv4Addr);

impl Host {
    /// A loopback address that no other fleet of this machine has: from the process id and a count.
    pub fn new() -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        assert!(count < 255, "more fleets than addresses");
        let [.., b, c] = std::process::id().to_be_bytes();
        Self(Ipv4Addr::new(127, 64 | b & 0x3f, c, count))
    }

    /// Where the hub listens.
    pub fn hub(self) -> String {
        format!("{}:{HUB_PORT}", self.0)
    }

    /// Where admins reach the hub.
    pub fn admin(self) -> String {
        format!("{}:{ADMIN_PORT}", self.0)
    }

    /// Where the site server of this number listens.
    pub fn server(self, number: usize) -> String {
        format!("{}:{}", self.0, SERVER_PORT + u16::try_from(number).expect("few"))
    }
}

/// What a fleet is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub host: Host,
    /// Under which address machines are told to reach the hub; its own where there is none.
    pub hub_address: Option<String>,
    /// The site's `--hub-fallback`.
    pub hub_fallback: &'static str,
    /// Where the hub's folder is; in the fleet's where there is none.
    pub hub_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { host: Host::new(), hub_address: None, hub_fallback: "when-none", hub_dir: None }
    }
}

/// A fleet; its processes end with it.
#[derive(Debug)]
pub struct Fleet {
    // Dropped in this order: agents first, the hub last, then the folder.
    /// Its agents.
    pub agents: Vec<Role>,
    /// Its site servers.
    pub servers: Vec<Role>,
    /// Its hub.
    pub hub: Role,
    /// Where it listens.
    pub host: Host,
    folder: tempfile::TempDir,
}

impl Fleet {
    /// A running hub with one site for all of loopback, and no machines.
    pub fn hub_only(options: &Options) -> Self {
        let folder = tempfile::Builder::new().prefix("consign-test-").tempdir().expect("folder");
        let dir = options.hub_dir.clone().unwrap_or_else(|| folder.path().join("hub"));
        let (listen, admin) = (options.host.hub(), options.host.admin());
        let mut words = vec!["hub", "init", "--listen", &listen, "--admin-listen", &admin, "--hub", text(&dir)];
        if let Some(address) = &options.hub_address {
            words.extend(["--address", address]);
        }
        consign(&words, &[]).ok();
        let hub = Role::new("hub", &dir, &["hub", "run", "--hub", text(&dir)]);
        let mut fleet = Self { agents: Vec::new(), servers: Vec::new(), hub, host: options.host, folder };
        fleet.start_hub();
        fleet.admin(&["site", "add", SITE, "--hub-fallback", options.hub_fallback]).ok();
        fleet.admin(&["subnet", "add", "127.0.0.0/8", "--site", SITE]).ok();
        fleet
    }

    /// A hub, a site server `attic` and an agent `desk`, all running and connected.
    pub fn whole() -> Self {
        let mut fleet = Self::hub_only(&Options::default());
        fleet.add_server("attic", None);
        fleet.add_agent("desk");
        fleet
    }

    /// A place in the fleet's temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs an admin's command at the hub.
    pub fn admin(&self, words: &[&str]) -> Done {
        consign(&[words, &["--json", "--hub", text(&self.hub.dir)]].concat(), &[])
    }

    /// Starts the hub and waits until admins reach it.
    pub fn start_hub(&mut self) {
        self.hub.start();
        let run_file = self.hub.dir.join("run.json");
        let pid = u64::from(self.hub.pid());
        until("the hub to listen", || {
            self.hub.alive();
            let told: Value = fs::read(&run_file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
            holds(told["pid"].as_u64() == Some(pid), &told)
        });
    }

    /// Makes a join string.
    pub fn invite(&self, role: &str, more: &[&str]) -> String {
        let invited = self.admin(&[&["machine", "invite", "--role", role][..], more].concat()).json();
        invited["join"].as_str().expect("a join string").to_owned()
    }

    /// Joins with `join`, without expecting anything.
    pub fn join(role: &str, dir: &Path, name: &str, join: &str, more: &[&str]) -> Done {
        let words = [&[role, "join", text(dir), "--name", name, "--json"][..], more].concat();
        consign(&words, &[("CONSIGN_JOIN", OsStr::new(join))])
    }

    /// Adds a site server that runs and is connected; machines are told `address` instead of where it listens.
    pub fn add_server(&mut self, name: &str, address: Option<&str>) {
        let number = self.servers.len();
        self.join_server(name, address);
        self.start_server(number);
    }

    /// Joins a site server and leaves it stopped.
    pub fn join_server(&mut self, name: &str, address: Option<&str>) {
        let listen = self.host.server(self.servers.len());
        self.join_server_in(&self.path(name), name, &listen, address);
    }

    /// Joins a site server in `dir` and leaves it stopped.
    pub fn join_server_in(&mut self, dir: &Path, name: &str, listen: &str, address: Option<&str>) {
        let join = self.invite("site-server", &["--site", SITE]);
        let mut more = vec!["--listen", listen];
        more.extend(address.iter().flat_map(|address| ["--address", address]));
        Self::join("site-server", dir, name, &join, &more).ok();
        self.servers.push(Role::new(name, dir, &["site-server", "run", text(dir)]));
    }

    /// Starts a site server and waits until the hub sees it.
    pub fn start_server(&mut self, number: usize) {
        self.servers[number].start();
        self.server_connected(number);
    }

    /// Waits until the hub sees a site server connected.
    pub fn server_connected(&mut self, number: usize) {
        let name = self.servers[number].name.clone();
        until("the site server to connect", || {
            self.servers[number].alive();
            let machines = self.admin(&["machine", "list"]).json();
            let machine = machines.as_array().into_iter().flatten().find(|machine| machine["name"] == *name);
            let found = machine.cloned().unwrap_or_default();
            holds(found["connected"] == true && found["address"].is_string(), found)
        });
    }

    /// Adds an agent that runs and is connected to its server.
    pub fn add_agent(&mut self, name: &str) {
        let dir = self.path(name);
        self.add_agent_in(&dir, name);
    }

    /// Adds an agent in `dir`.
    pub fn add_agent_in(&mut self, dir: &Path, name: &str) {
        let join = self.invite("agent", &["--site", SITE]);
        Self::join("agent", dir, name, &join, &[]).ok();
        self.agents.push(Role::new(name, dir, &["agent", "run", text(dir)]));
        self.start_agent(self.agents.len() - 1);
    }

    /// Starts an agent and waits until it is connected.
    pub fn start_agent(&mut self, number: usize) {
        self.agents[number].start();
        let pid = u64::from(self.agents[number].pid());
        until("the agent to connect", || {
            self.agents[number].alive();
            let seen = self.agent_status(number)?;
            holds(seen["pid"].as_u64() == Some(pid) && seen["connection"]["connected"] == true, seen)
        });
    }

    /// What `agent status --json` shows, while the agent can be asked.
    pub fn agent_status(&self, number: usize) -> Result<Value, String> {
        let done = consign(&["agent", "status", text(&self.agents[number].dir), "--json"], &[]);
        if done.code == Some(0) { Ok(done.json()) } else { Err(done.err) }
    }

    /// What an agent shows of a package; null before it knows it.
    pub fn agent_package(&self, number: usize, package: &str) -> Result<Value, String> {
        let seen = self.agent_status(number)?;
        let found = seen["packages"].as_array().into_iter().flatten().find(|one| one["name"] == package);
        Ok(found.cloned().unwrap_or_default())
    }

    /// Waits until an agent has `version` of a package in place; returns what it shows of it.
    pub fn agent_has(&self, number: usize, package: &str, version: u64) -> Value {
        until("the agent to have the version in place", || {
            let seen = self.agent_package(number, package)?;
            let here = seen["state"] == "installed" && seen["installed"]["version"].as_u64() == Some(version);
            holds(here, &seen).map(|()| seen)
        })
    }

    /// Installs by hand at an agent; `dest` in the fleet's folder.
    pub fn install(&self, number: usize, package: &str, dest: &Path) -> Done {
        let dir = text(&self.agents[number].dir);
        consign(&["agent", "install", package, "--dest", text(dest), "--agent-dir", dir, "--json"], &[])
    }

    /// Installs by hand while the test goes on.
    pub fn install_in_background(&self, number: usize, package: &str, dest: &Path) -> JoinHandle<Done> {
        let words = ["agent", "install", package, "--dest", text(dest), "--agent-dir", text(&self.agents[number].dir), "--json"];
        let words = words.map(str::to_owned);
        std::thread::spawn(move || consign(&words.each_ref().map(String::as_str), &[]))
    }

    /// Adds a package for every machine and waits until every site server is ready; returns what the hub shows.
    pub fn publish(&self, package: &str, source: &Path) -> Value {
        self.admin(&["package", "add", package, "--source", text(source), "--open", "--platform", "linux", "--wait"]).json()
    }

    /// Adds a package for every machine and does not wait.
    pub fn add_package(&self, package: &str, source: &Path) -> Value {
        self.admin(&["package", "add", package, "--source", text(source), "--open", "--platform", "linux"]).json()
    }

    /// What `package show` shows.
    pub fn package(&self, package: &str) -> Value {
        self.admin(&["package", "show", package]).json()
    }

    /// Waits until the hub neither waits for nor works on a package's source; returns what it shows then.
    pub fn refreshed(&self, package: &str) -> Value {
        until("the refresh to end", || {
            let seen = self.package(package);
            let busy = seen["refresh"] == "queued" || seen["refresh"] == "hashing";
            holds(!busy, &seen["refresh"]).map(|()| seen)
        })
    }

    /// Waits until the report of an agent that installed a package has passed its server.
    pub fn reported(&self, package: &str) {
        until("the report to have passed the site server", || {
            let seen = self.admin(&["package", "show", package]).json();
            holds(seen["installs"][0]["state"] == "installed", &seen)
        });
    }

    /// Waits until a site server has built one set of patches.
    pub fn patches_built(&self, server: usize) {
        let patches = self.servers[server].dir.join("tables/patches");
        until("the patches to be built", || {
            let sets = fs::read_dir(&patches).into_iter().flatten().flatten();
            let found = sets.filter(|set| set.path().join("set.json").is_file()).count();
            holds(found == 1, format!("{found} sets in {}", patches.display()))
        });
    }

    /// Waits until a site server is ready with `version` of a package.
    pub fn ready(&self, package: &str, server: &str, version: u64) -> Value {
        until("the site server to be ready", || {
            let seen = self.package(package);
            let here = codebase(&seen, server);
            let ready = here["state"] == "ready" && here["version"].as_u64() == Some(version);
            holds(ready, &here).map(|()| here)
        })
    }
}

/// A site server's codebase in what `package show` shows.
pub fn codebase(seen: &Value, server: &str) -> Value {
    seen["codebases"].as_array().into_iter().flatten().find(|one| one["server_name"] == server).cloned().unwrap_or_default()
}

/// The number of the newest version in what `package show` shows, 0 if there is none.
pub fn newest(seen: &Value) -> u64 {
    seen["versions"].as_array().and_then(|versions| versions.last()).and_then(|last| last["version"].as_u64()).unwrap_or(0)
}

/// Asks a server with the identity of the member in `dir`, for a path that its own program may never ask for; returns the answer's text, or
/// the status and code of the refusal, or 0 and what happened if there was no answer.
pub fn ask(dir: &Path, role: MemberRole, server: &Endpoint, path: &str, body: Option<Vec<u8>>) -> Result<String, (u16, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a reactor");
    let client = Member::open(dir, role).expect("a member").client(server, Arc::default()).expect("a client");
    let answer = runtime.block_on(async {
        match body {
            None => client.get_bytes(path, 8 << 20).await,
            Some(body) => client.post_stream(path, "application/octet-stream", body.into()).await?.collect(8 << 20).await,
        }
    });
    match answer {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => {
            Err(error.problem().map_or_else(|| (0, error.to_string()), |problem| (problem.status, problem.code.clone())))
        }
    }
}

/// The id of the member in `dir`.
pub fn member_id(dir: &Path) -> MachineId {
    consign::net::member::read_config(dir).expect("readable").expect("a member").id
}
