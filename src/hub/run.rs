//! A running hub: opens its folder, listens, works, and stops in good order.

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use consign_store::{Store, fsx};
use tokio::sync::{Notify, watch};

use super::announce::Announce;
use super::error::{Error, Result};
use super::folder::{Addresses, Folder};
use super::mend::Mends;
use super::refreshes::REFRESHES_RUNNING_MAX;
use super::rights::HubAccess;
use super::signing::Signing;
use super::upkeep::HubHolder;
use super::{Hub, admin, fleet};
use crate::catalog::Catalog;
use crate::net::clock;
use crate::net::data_plane::{DataPlane, Limits as PlaneLimits};
use crate::net::listener::{Limits, Listener};
use crate::net::task::Task;
use crate::net::upkeep::{Upkeep, UpkeepOptions};
use crate::protocol::local::{ADMIN_FILE, AdminCredentials, HubRun, RUN_FILE};
use crate::trust::tls;

/// What upkeep has done last, in the hub's folder.
const UPKEEP_FILE: &str = "upkeep.json";

/// What can be chosen at each start.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Listens for machines here instead of where `hub init` said.
    pub listen: Option<SocketAddr>,
    /// Listens for admins here instead.
    pub admin_listen: Option<SocketAddr>,
    /// How the store is looked after.
    pub upkeep: UpkeepOptions,
    /// Threads that read, cut, hash and compress in a refresh; one a core when 0.
    pub hash_threads: usize,
}

/// Runs the hub in `dir` until `shutdown` resolves; calls `ready` once it listens.
///
/// # Errors
/// The folder is no hub's or in use, an address cannot be bound, or something in the folder is damaged; later, that the catalog takes no
/// more writes.
pub async fn run(
    dir: &Path,
    options: &RunOptions,
    ready: impl FnOnce(&HubRun),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let (folder, config) = Folder::open(dir)?;
    // The store's lock is the hub's lock: there is no hub without its store.
    let store = Store::open(&folder.store())?;
    let catalog = Catalog::open(&folder.catalog())?;
    let (signing, identity) = Signing::open(&folder)?;
    Folder::make(&folder.tables())?;

    let authority = signing.authority().certificate();
    let fleet_tls = tls::server_config(&identity, authority)?;
    let admin_tls = tls::admin_server_config(&identity)?;
    let fleet_door = Listener::bind(options.listen.unwrap_or(config.listen), fleet_tls, Limits::default()).await?;
    let admin_door = Listener::bind(options.admin_listen.unwrap_or(config.admin_listen), admin_tls, Limits::default()).await?;
    let addresses = Addresses {
        fleet: config.address.unwrap_or_else(|| reachable(fleet_door.local_addr())),
        admin: reachable(admin_door.local_addr()),
    };
    catalog.requeue_interrupted().await?;

    let upkeep = Upkeep::new(store.clone(), folder.path(UPKEEP_FILE), options.upkeep);
    let hub = Arc::new(Hub {
        upkeep: Arc::new(upkeep),
        damaged: Mutex::default(),
        mends: Mends::default(),
        hash_threads: options.hash_threads,
        announce: Announce::new(catalog.revisions()),
        folder,
        catalog,
        store,
        signing,
        running: Mutex::new(HashMap::new()),
        refresh_queued: Notify::new(),
        addresses,
        started: clock::now(),
    });
    let access = Arc::new(HubAccess(Arc::clone(&hub)));
    let plane = Arc::new(DataPlane::new(hub.store.clone(), hub.folder.tables(), access, PlaneLimits::default()));
    let tasks = workers(&hub, &plane);
    let token = admin_token(&hub)?;
    let (stop, stopped) = watch::channel(());
    let until = |mut stopped: watch::Receiver<()>| async move {
        let _ = stopped.changed().await;
    };
    let doors = async {
        tokio::join!(
            fleet_door.serve(fleet::routes(&hub, &plane), until(stopped.clone())),
            admin_door.serve(admin::routes(&hub, &token), until(stopped.clone())),
        );
    };
    // The last thing: whoever reads it finds everything begun.
    ready(&tell_where(&hub)?);
    let stopping = async {
        // A hub that can note nothing is of no use: whoever watches over it starts it anew, and with it the catalog.
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            broken = hub.catalog.broken() => Err(Error::Catalog(broken)),
        };
        hub.announce.close();
        hub.cancel_refreshes();
        hub.mends.cancel();
        hub.upkeep.stop();
        drop(stop);
        ended
    };
    let ((), ended) = tokio::join!(doors, stopping);
    drop(tasks);
    // Nobody shall look for a hub that is gone; if it stays, the next start replaces it.
    let _ = fs::remove_file(hub.folder.path(RUN_FILE));
    ended
}

fn workers(hub: &Arc<Hub>, plane: &Arc<DataPlane>) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for _ in 0..REFRESHES_RUNNING_MAX {
        let hub = Arc::clone(hub);
        tasks.push(Task::spawn(async move { hub.refresh_forever().await }));
    }
    let renewing = Arc::clone(hub);
    tasks.push(Task::spawn(async move { renewing.renew_forever().await }));
    let announcing = Arc::clone(hub);
    tasks.push(Task::spawn(async move { announcing.announce.run().await }));
    tasks.push(Task::spawn(Arc::clone(&hub.upkeep).run(Arc::new(HubHolder(Arc::clone(hub))), Arc::clone(plane))));
    tasks
}

/// Writes where the hub listens, for the command line on this machine.
fn tell_where(hub: &Hub) -> Result<HubRun> {
    let about =
        HubRun { address: hub.addresses.fleet.clone(), admin_address: hub.addresses.admin.clone(), pid: std::process::id() };
    let text = serde_json::to_vec(&about).expect("a plain struct serializes");
    fsx::write_durable(&hub.folder.path(RUN_FILE), &text)?;
    Ok(about)
}

fn admin_token(hub: &Hub) -> Result<String> {
    let path = hub.folder.path(ADMIN_FILE);
    let credentials: AdminCredentials = serde_json::from_str(&hub.folder.read(ADMIN_FILE)?)
        .map_err(|error| Error::Folder { path, why: format!("is damaged: {error}; restore it from a backup") })?;
    Ok(credentials.token)
}

/// How others reach a bound address: this machine's name where it listens on all of them.
fn reachable(bound: SocketAddr) -> String {
    if !bound.ip().is_unspecified() {
        return bound.to_string();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{name}:{}", bound.port())
}
