//! What must hold of a folder after a power cut, looked at with the product's own code.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use consign::agent::Agent;
use consign::catalog::{Catalog, TufFiles};
use consign::domain::Millis;
use consign::net::member::Member;
use consign::policy::Prefer;
use consign::protocol::admin::RefreshState;
use consign::protocol::hello::Role;
use consign::trust::tuf::{Client, TrustedState, TrustedTargets};
use consign_store::chunk::ChunkKind;
use consign_store::ingest::{Options, ingest};
use consign_store::manifest::{ChunkTable, Entry, EntryKind, Layout, ManifestFile, Platform, Platforms, recipe};
use consign_store::restore::{Assembly, Seed, Target, recover, stream_local};
use consign_store::{Error as StoreError, ManifestId, Store};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What somebody was told, and may rely on.
#[derive(Debug, Clone)]
pub enum Promise {
    /// The package is known, and its first version will come.
    Added(String),
    /// The version of the package is there.
    Version(String, u32, ManifestId),
    /// The version of this number need not be there any more.
    Dropped(u32),
}

pub type Checked = Result<(), String>;

/// Names what was done in an error.
fn at<E: Display>(what: impl Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a reactor")
}

fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Millis(i64::try_from(since.as_millis()).expect("soon enough"))
}

/// A hub's folder: it opens; the catalog is sound; what it calls released is signed and whole; every promise is kept.
pub fn hub(dir: &Path, promises: &[Promise], sources: &[PathBuf]) -> Checked {
    let store = Store::open(&dir.join("store")).map_err(at("opening the store"))?;
    let catalog = Catalog::open(&dir.join("catalog.sqlite")).map_err(at("opening the catalog"))?;
    sound(&dir.join("catalog.sqlite")).map_err(at("checking the catalog"))?;
    let read = async { Ok::<_, consign::catalog::Error>((catalog.packages().await?, catalog.tuf_files().await?)) };
    let (packages, files) = runtime().block_on(read).map_err(at("reading the catalog"))?;
    let targets = trusted(&files).map_err(at("verifying the release metadata"))?;
    let mut released = 0;
    for package in &packages {
        for version in &package.versions {
            let what = format!("{} {}", package.name, version.version);
            let manifest = version.manifest.parse::<ManifestId>().map_err(at(&what))?;
            let target = targets.version(package.id, version.version).ok_or(format!("{what} is not signed"))?;
            if target.manifest != manifest || target.length != version.manifest_len {
                return Err(format!("{what} is signed with other content"));
            }
            whole(&store, manifest, &dir.join("scratch")).map_err(at(&what))?;
            released += 1;
        }
    }
    if targets.len() != released {
        return Err(format!("{} versions are signed, {released} are there", targets.len()));
    }
    for promise in promises {
        let found = |name: &String| packages.iter().find(|package| package.name.as_str() == name);
        let kept = match promise {
            Promise::Dropped(_) => true,
            Promise::Added(name) => {
                found(name).is_some_and(|package| !package.versions.is_empty() || package.refresh != RefreshState::Idle)
            }
            Promise::Version(name, number, manifest) => {
                found(name).is_some_and(|package| package.versions.iter().any(|version| is_version(version, *number, manifest)))
            }
        };
        if !kept {
            return Err(format!("forgotten: {promise:?}"));
        }
    }
    again(&store, sources, &dir.join("scratch"))
}

fn is_version(version: &consign::protocol::fleet::VersionInfo, number: u32, manifest: &ManifestId) -> bool {
    version.version == number && version.manifest == manifest.to_string()
}

fn sound(path: &Path) -> Result<(), String> {
    let db = rusqlite::Connection::open(path).map_err(|error| error.to_string())?;
    let told: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(|error| error.to_string())?;
    let orphans = db.prepare("PRAGMA foreign_key_check").and_then(|mut sql| sql.exists([])).map_err(|error| error.to_string())?;
    if told == "ok" && !orphans { Ok(()) } else { Err(format!("{told}, rows without their owners: {orphans}")) }
}

/// Reads release metadata as a machine that has just joined does.
fn trusted(files: &TufFiles) -> Result<TrustedTargets, String> {
    let files: BTreeMap<&str, &[u8]> = files.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let root = String::from_utf8_lossy(files.get("1.root.json").ok_or("no first root")?);
    let mut client = Client::new(&root, &Sha256::digest(root.as_bytes()).into()).map_err(at("the root"))?;
    let mut update = client.update(now());
    while let Some(request) = update.next_request() {
        update.accept(files.get(request.file.as_str()).copied()).map_err(at(&request.file))?;
    }
    Ok(client.targets().cloned().unwrap_or_default())
}

/// Reads every byte of a version out of a store.
fn whole(store: &Store, id: ManifestId, scratch: &Path) -> Result<(), StoreError> {
    let manifest = ManifestFile::extract(store, id, scratch)?;
    for entry in manifest.entries() {
        let EntryKind::File { size, digest, chunks } = entry.kind else { continue };
        let mut page = |id| store.read_chunk(&id, ChunkKind::RecipePage).map(|page| page.bytes().clone());
        recipe::walk(digest, size, chunks, &mut page, &mut |line| store.read_chunk(&line.id, ChunkKind::Content).map(drop))?;
    }
    Ok(())
}

/// Publishes everything once more: nothing that survived may be taken for content without being it.
fn again(store: &Store, sources: &[PathBuf], scratch: &Path) -> Checked {
    for source in sources {
        let platforms = Platforms::default().with(Platform::Linux);
        let now_unix_nanos = i128::from(now().0) * 1_000_000;
        let options = Options {
            workers: 1,
            platforms,
            stat_cache: None,
            verify: true,
            now_unix_nanos,
            progress: std::sync::Arc::default(),
        };
        let what = || format!("publishing {} again", source.display());
        let made = ingest(store, source, &options).map_err(at(what()))?;
        whole(store, made.manifest, scratch).map_err(at(what()))?;
    }
    Ok(())
}

/// A store's folder: it opens, and every version that was promised is whole.
pub fn store(dir: &Path, promises: &[Promise], sources: &[PathBuf]) -> Checked {
    let limits = super::child::LIMITS;
    let dropped = |number: u32| promises.iter().any(|promise| matches!(promise, Promise::Dropped(dropped) if *dropped == number));
    let all_there = |store: &Store| {
        promises.iter().try_for_each(|promise| match promise {
            Promise::Version(name, number, manifest) if !dropped(*number) => {
                whole(store, *manifest, &dir.join("scratch")).map_err(at(format!("{name} {number}")))
            }
            _ => Ok(()),
        })
    };
    let store = Store::open_with(&dir.join("store"), limits).map_err(at("opening the store"))?;
    all_there(&store)?;
    again(&store, sources, &dir.join("scratch"))?;
    // Once more by what was written on the way out.
    drop(store);
    let store = Store::open_with(&dir.join("store"), limits).map_err(at("opening the store again"))?;
    all_there(&store).map_err(at("the second time"))
}

/// A site server's folder: it opens; what it would call ready is whole; every promise is kept.
pub fn site_server(dir: &Path, promises: &[Promise], known: &[ManifestId]) -> Checked {
    Member::open(dir, Role::SiteServer).map_err(at("opening the membership"))?;
    for (file, wanted) in [("tuf/trusted.json", true), ("state.json", false)] {
        let path = dir.join(file);
        if path.exists() {
            let text = fs::read(&path).map_err(at(file))?;
            let value: Value = serde_json::from_slice(&text).map_err(at(file))?;
            if wanted {
                let state: TrustedState = serde_json::from_value(value).map_err(at(file))?;
                Client::load(&state).map_err(at(file))?;
            }
        }
    }
    let store = Store::open(&dir.join("store")).map_err(at("opening the store"))?;
    for manifest in known {
        let is_due = promises.iter().any(|promise| matches!(promise, Promise::Version(_, _, due) if due == manifest));
        match whole(&store, *manifest, &dir.join("scratch")) {
            Ok(()) => {}
            // Something is missing: it is fetched, and nothing is offered until then.
            Err(StoreError::NoChunk(_)) if !is_due => {}
            Err(error) => return Err(format!("{manifest}, promised: {is_due}: {error}")),
        }
    }
    Ok(())
}

/// An agent's folder `dir` with what it has installed: the record tells the truth, and the newest version can be put in place.
pub fn agent(dir: &Path, promises: &[Promise], hub: &Store, newest: Option<ManifestId>) -> Checked {
    drop(Agent::open(dir, Prefer::default()).map_err(at("opening the agent"))?);
    let mut installed = BTreeMap::new();
    let installs = dir.join("installs");
    for folder in fs::read_dir(&installs).into_iter().flatten().flatten() {
        let record = folder.path().join("record.json");
        if record.exists() {
            let text = fs::read(&record).map_err(at("reading a record"))?;
            let record: Value = serde_json::from_slice(&text).map_err(at("reading a record"))?;
            let (name, version) = package(&folder.path(), &record, hub, newest)?;
            installed.insert(name, version);
        }
    }
    for promise in promises {
        let Promise::Version(name, number, _) = promise else { continue };
        if installed.get(name).is_none_or(|version| version < number) {
            return Err(format!("forgotten: {promise:?}"));
        }
    }
    Ok(())
}

/// Checks one package; returns its name and which version is in place, 0 if none is.
fn package(folder: &Path, record: &Value, hub: &Store, newest: Option<ManifestId>) -> Result<(String, u32), String> {
    let scratch = folder.join("scratch");
    let number = |version: &Value| u32::try_from(version["version"].as_u64().unwrap_or(0)).expect("small");
    let id = |version: &Value| version["manifest"].as_str().and_then(|text| text.parse::<ManifestId>().ok());
    let (old, new) = (&record["installed"], &record["switching"]["version"]);
    let dest = PathBuf::from(record["dest"].as_str().ok_or("a record without destination")?);
    let target = Target { dest: dest.clone(), work: folder.join("work"), update: !old.is_null() };
    let in_place = match id(new) {
        None => id(old),
        Some(new) => match recover(&target).map_err(at("recovering"))? {
            Some(found) if found == new || Some(found) == id(old) => Some(found),
            Some(found) => return Err(format!("{found} is in place, which nobody asked for")),
            None => id(old),
        },
    };
    match in_place {
        Some(manifest) => same_tree(hub, manifest, &dest, &scratch).map_err(at("what is recorded as installed"))?,
        None if dest.exists() => return Err("something is in place that was never recorded".to_owned()),
        None => {}
    }
    if let Some(newest) = newest {
        let target = Target { update: in_place.is_some(), ..target };
        let seed = in_place.and_then(|id| seed(folder, &target, id));
        put(hub, newest, &target, seed.as_slice(), &scratch).map_err(at("putting the newest version in place"))?;
        same_tree(hub, newest, &dest, &scratch).map_err(at("the newest version in place"))?;
    }
    let version = if in_place.is_some() && in_place == id(new) { number(new) } else { number(old) };
    Ok((record["name"].as_str().unwrap_or_default().to_owned(), version))
}

fn seed(folder: &Path, target: &Target, id: ManifestId) -> Option<Seed> {
    let manifest = folder.join(format!("{}.manifest", id.to_hex()));
    Seed::open(&target.dest, &manifest, id, &Target::table_path(&target.work, id)).ok()
}

/// Assembles a version as an agent does, with its records from `hub`.
fn put(hub: &Store, id: ManifestId, target: &Target, seeds: &[Seed], scratch: &Path) -> Result<(), StoreError> {
    let manifest = ManifestFile::extract(hub, id, scratch)?;
    let layout = Layout::of(&manifest)?;
    let mut page = |id| hub.read_chunk(&id, ChunkKind::RecipePage).map(|page| page.bytes().clone());
    let table = ChunkTable::build(&scratch.with_extension("table"), &manifest, &layout, &|_| true, &mut page)?;
    let mut assembly = Assembly::open(target, manifest)?;
    for entry in assembly.missing_recipes().into_iter().flatten() {
        let (size, digest, chunks) = assembly.manifest().file_of(entry).expect("only files have recipes");
        let mut page = |id| {
            let page = hub.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone();
            assembly.add_page(id, &page).map(|()| page)
        };
        recipe::walk(digest, size, chunks, &mut page, &mut |_| Ok(()))?;
    }
    assembly.take_local(seeds)?;
    stream_local(hub, &table, &layout, &assembly.missing(), &mut |record| assembly.accept(&record).map(drop))?;
    assembly.finish().map(drop)
}

/// Compares every file, link and folder at `dest` with a version.
fn same_tree(hub: &Store, id: ManifestId, dest: &Path, scratch: &Path) -> Checked {
    let manifest = ManifestFile::extract(hub, id, scratch).map_err(at("the manifest"))?;
    let mut left = listing(dest)?;
    for entry in manifest.entries() {
        let path = entry.path.as_str();
        if !left.remove(Path::new(path)) {
            return Err(format!("{path} is missing"));
        }
        if !is_entry(&dest.join(path), &entry) {
            return Err(format!("{path} is wrong"));
        }
    }
    left.first().map_or(Ok(()), |more| Err(format!("{} should not be there", more.display())))
}

fn is_entry(path: &Path, entry: &Entry) -> bool {
    let Ok(stat) = fs::symlink_metadata(path) else { return false };
    let mode = stat.mode() & 0o777 == u32::from(entry.attributes.mode);
    match &entry.kind {
        EntryKind::Folder => stat.is_dir() && mode,
        EntryKind::Symlink { target } => fs::read_link(path).is_ok_and(|found| found == Path::new(target.as_str())),
        EntryKind::File { size, digest, .. } => {
            let right = |bytes: Vec<u8>| bytes.len() as u64 == *size && recipe::of_bytes(&bytes).digest == *digest;
            stat.is_file() && mode && fs::read(path).is_ok_and(right)
        }
    }
}

fn listing(root: &Path) -> Result<std::collections::BTreeSet<PathBuf>, String> {
    let (mut found, mut open) = (std::collections::BTreeSet::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(at(folder.display()))? {
            let entry = entry.map_err(at(folder.display()))?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.insert(entry.path().strip_prefix(root).expect("below").to_path_buf());
        }
    }
    Ok(found)
}
