//! A running site server: opens its folder, listens, works, and stops in good order.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use consign_store::Store;
use tokio::sync::watch;

use super::codebases::Codebases;
use super::control::Control;
use super::error::{Error, Result};
use super::folder::{self, Folder, RunInfo};
use super::known::{Known, Stored};
use super::link::{Link, client_of};
use super::metadata::Metadata;
use super::rights::SiteAccess;
use super::upkeep::SiteHolder;
use super::{Core, follow, relay, replicate, report, serve};
use crate::domain::Millis;
use crate::net::blocking;
use crate::net::clock;
use crate::net::data_plane::{DataPlane, Limits as PlaneLimits};
use crate::net::event_stream::Feed;
use crate::net::listener::{Limits, Listener};
use crate::net::member::{self, Member};
use crate::net::rate::Rate;
use crate::net::task::Task;
use crate::net::upkeep::{Upkeep, UpkeepOptions};
use crate::policy::Prefer;
use crate::protocol::hello::Role;

/// Listens here when the join said nothing.
const LISTEN_DEFAULT: &str = "0.0.0.0:4702";
/// Changes that a slow agent may be behind before it is told to ask anew.
const QUEUE_MAX: usize = 256;

/// Part of the quota that patches may take.
const PATCH_PART: u64 = 8;

/// What can be chosen at each start.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// What it spares where it can choose.
    pub prefer: Prefer,
    /// How the store is looked after.
    pub upkeep: UpkeepOptions,
    /// Most bytes that it keeps of content and what belongs to it.
    pub quota_bytes: Option<u64>,
}

/// Runs the site server in `dir` until `shutdown` resolves; calls `ready` once it listens.
///
/// # Errors
/// The folder is no site server's or in use, the address cannot be bound, or something in the folder is damaged.
pub async fn run(
    dir: &Path,
    options: &RunOptions,
    ready: impl FnOnce(&RunInfo),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let folder = Folder::new(dir);
    let member = Member::open(dir, Role::SiteServer)?;
    let _lock = folder.take()?;
    let path = folder.store();
    let store = blocking::run("opening the store", move || Store::open(&path)).await??;
    let metadata = Metadata::open(&folder, &member)?;
    let listener = Listener::bind(listen_address(&member)?, member.server_config()?, Limits::default()).await?;
    let core = Arc::new(core(folder, member, store, metadata, listener.local_addr(), options)?);

    if let Some(stored) = folder::read_json::<Stored>(&core.folder.state())? {
        // Also when it has expired: content is made ready meanwhile, and agents are told why they get nothing.
        follow::adopt(&core, Known::verify(&stored, &core.member, Millis(i64::MIN), 0)?);
    }
    let control = Control::bind(dir)?;
    let mut limits = PlaneLimits::default();
    limits.patch_bytes_max =
        options.quota_bytes.map_or(limits.patch_bytes_max, |quota| limits.patch_bytes_max.min(quota / PATCH_PART));
    let access = Arc::new(SiteAccess(Arc::clone(&core)));
    let plane = Arc::new(DataPlane::new(core.store.clone(), core.folder.tables(), access, limits));
    let tasks = [
        Task::spawn(follow::follow(Arc::clone(&core))),
        Task::spawn(replicate::replicate(Arc::clone(&core), Arc::clone(&plane))),
        Task::spawn(report::report(Arc::clone(&core))),
        Task::spawn(relay::relay(Arc::clone(&core))),
        Task::spawn(control.serve(Arc::clone(&core), Arc::clone(&plane))),
        Task::spawn(Arc::clone(&core.upkeep).run(Arc::new(SiteHolder(Arc::clone(&core))), Arc::clone(&plane))),
    ];
    // The last thing: whoever reads it finds everything begun.
    let about = RunInfo { address: core.address.clone(), pid: std::process::id() };
    folder::write_json(&core.folder.run(), &about)?;
    ready(&about);
    let stopping = async {
        shutdown.await;
        core.stopping.store(true, Ordering::Relaxed);
        core.upkeep.stop();
        core.feed.close();
    };
    listener.serve(serve::routes(&core, &plane), stopping).await;
    drop(tasks);
    // Nobody shall look for a site server that is gone; if it stays, the next start replaces it.
    let _ = fs::remove_file(core.folder.run());
    Ok(())
}

fn core(
    folder: Folder,
    member: Member,
    store: Store,
    metadata: Metadata,
    bound: SocketAddr,
    options: &RunOptions,
) -> Result<Core> {
    let now = clock::now();
    let meter = Arc::default();
    let joined_by = member.hub_endpoints();
    let endpoint = joined_by.first().ok_or_else(|| member::Error::Damaged {
        path: folder.dir().join(member::CONFIG_FILE),
        why: "it names no address of the hub".to_owned(),
    })?;
    Ok(Core {
        address: reachable(&member, bound),
        link: Link::new(client_of(&member, endpoint, &meter)?, now),
        codebases: Codebases::new(Core::seed(&member)),
        known: watch::Sender::new(None),
        relay: relay::Relay::default(),
        feed: Feed::new(QUEUE_MAX),
        served_bytes: 0.into(),
        metadata_problem: None.into(),
        stopping: false.into(),
        started: now,
        quota_bytes: options.quota_bytes,
        installed: super::room::Installed::default(),
        upkeep: Arc::new(Upkeep::new(store.clone(), folder.upkeep(), options.upkeep)),
        rate: Rate::kept_in(folder.rate()),
        folder,
        member,
        prefer: options.prefer,
        store,
        metadata,
        meter,
    })
}

fn listen_address(member: &Member) -> Result<SocketAddr> {
    let text = member.config().listen.as_deref().unwrap_or(LISTEN_DEFAULT);
    text.parse().map_err(|_| {
        let (what, why) = (format!("the address to listen on, {text:?}"), "it is not IP:PORT".to_owned());
        Error::Net(crate::net::Error::Invalid { what, why })
    })
}

/// How agents reach a bound address: as the join said, else by this machine's name where it listens on all addresses.
fn reachable(member: &Member, bound: SocketAddr) -> String {
    if let Some(address) = &member.config().address {
        // Port 0 stands for the one that was bound.
        return address.strip_suffix(":0").map_or_else(|| address.clone(), |host| format!("{host}:{}", bound.port()));
    }
    if !bound.ip().is_unspecified() {
        return bound.to_string();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{name}:{}", bound.port())
}
