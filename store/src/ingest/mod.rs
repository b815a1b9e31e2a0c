//! Ingest: source folder → records and manifest in a store, in background workers, never a mixed version.

mod contents;
mod fill;
mod items;
mod output;
mod pipeline;
mod pool;
mod read;
mod schedule;
mod segment;
mod source;
mod stat_cache;
mod tree;
mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use self::contents::Content;
use self::fill::Sink;
use self::pipeline::Counts;
use self::source::{FileStat, Root};
use self::stat_cache::StatCache;
use self::tree::{Ask, Known, Tree};
use crate::chunk::ChunkKind;
use crate::cores;
use crate::error::{Error, Result};
use crate::fsx;
use crate::id::{ChunkId, ManifestId};
use crate::manifest::path::{Platforms, refused};
use crate::manifest::{ChunkTable, Layout, ManifestFile, recipe};
use crate::store::Store;

/// How often a source that changes is read again.
const REREADS_MAX: usize = 3;

/// Counters of a running ingest, readable at any time from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files found so far.
    pub files_total: AtomicU64,
    /// Files done.
    pub files_done: AtomicU64,
    /// Bytes found so far.
    pub bytes_total: AtomicU64,
    /// Bytes done (read or known unchanged).
    pub bytes_done: AtomicU64,
    /// Set by the owner to stop: the ingest ends with [`crate::Error::Cancelled`].
    pub cancel: AtomicBool,
}

impl Progress {
    /// Ends the work when its owner wants that.
    fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// How to ingest.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// Systems the package is for: names that one of them cannot hold are refused.
    pub platforms: Platforms,
    /// File of the stat cache: files whose size, mtime, ctime and inode are as recorded there are not read again. Rewritten (durably) when the
    /// ingest succeeds. `None`: read everything, record nothing.
    pub stat_cache: Option<PathBuf>,
    /// Read every byte even where the stat cache says unchanged.
    pub verify: bool,
    /// Wall time at the start, nanoseconds since 1970: files changed less than two seconds before it are not trusted in the cache.
    pub now_unix_nanos: i128,
    /// Counters to update and the cancel flag.
    pub progress: Arc<Progress>,
}

impl Options {
    fn threads(&self) -> usize {
        match self.workers {
            0 => cores(),
            some => some,
        }
    }
}

/// What an ingest made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// The manifest's id.
    pub manifest: ManifestId,
    /// SHA-256 of the manifest's canonical bytes.
    pub sha256: [u8; 32],
    /// Length of the manifest, bytes.
    pub manifest_len: u64,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their chunks, repeated content counted each time.
    pub chunks: u64,
    /// Content chunks of the files that the store did not have.
    pub new_chunks: u64,
    /// Bytes added to the packs, those of recipes and the manifest included.
    pub new_stored_bytes: u64,
    /// Files that were read (not taken from the stat cache).
    pub files_read: u64,
}

/// Brings the folder `source` into `store` and returns its manifest; everything is durable when it returns.
///
/// A lease protects it from garbage collection until then; who collects with no or a short grace period holds one of their own until the manifest is
/// named as live.
///
/// # Errors
/// A source that is missing, unreadable, holds a device, FIFO, socket, unsafe name or escaping link, or keeps changing; a full disk; cancelled.
/// Bytes already appended stay as unreferenced chunks.
pub fn ingest(store: &Store, source: &Path, options: &Options) -> Result<Ingested> {
    refuse_store_inside(store, source)?;
    let _lease = store.lease();
    let root = Root::open(source)?;
    let mut cache = match &options.stat_cache {
        Some(path) => StatCache::open(path),
        None => StatCache::empty(),
    };
    let mut known = |path: &str, stat: &FileStat| {
        Ok(match cache.lookup(path, stat) {
            Some(content) if options.verify => Some(Known::Was(content)),
            Some(content) if holds(store, stat.size, content)? => Some(Known::Is(content)),
            _ => None,
        })
    };
    let mut counts = Counts::default();
    let mut sink = Sink::Store(store);
    let folder = output::work_folder(store)?;
    let tree = read_until_stable(&root, options, &folder, &mut sink, &mut known, &mut counts)?;
    let files = counts;
    let written = output::store_manifest(store, &folder, &tree, options.threads(), &mut counts)?;
    store.sync()?;
    if let Some(path) = &options.stat_cache {
        stat_cache::write(path, &tree, options.now_unix_nanos)?;
    }
    Ok(Ingested {
        manifest: written.id,
        sha256: written.sha256,
        manifest_len: written.len,
        files: written.totals.files,
        bytes: written.totals.bytes,
        chunks: written.totals.chunks,
        new_chunks: files.new_chunks,
        new_stored_bytes: counts.stored_bytes,
        files_read: files.files_read,
    })
}

/// Cuts and hashes the folder `source` without storing anything: writes its manifest to `manifest_out` and its chunk table to `table_out`.
///
/// Reads every byte: the stat cache of `options` is not used, because a recipe that is in no store can only be had by reading.
///
/// # Errors
/// As [`ingest`].
pub fn survey(source: &Path, options: &Options, manifest_out: &Path, table_out: &Path) -> Result<ManifestId> {
    let root = Root::open(source)?;
    let mut sink = Sink::Pages(HashMap::new());
    let folder = fsx::folder_of(manifest_out);
    let tree = read_until_stable(&root, options, folder, &mut sink, &mut |_, _| Ok(None), &mut Counts::default())?;
    let id = output::write_manifest(&tree, manifest_out, options.threads())?.id;
    let manifest = ManifestFile::open(manifest_out, id)?;
    let layout = Layout::of(&manifest)?;
    let Sink::Pages(pages) = sink else { return Ok(id) };
    let mut page = |id: ChunkId| pages.get(&id).cloned().ok_or(Error::NoChunk(id));
    ChunkTable::build(table_out, &manifest, &layout, &|_| true, &mut page)?;
    Ok(id)
}

/// Scans and reads `root` until a scan after the reading finds everything as it was read; puts down what is much in `folder`.
fn read_until_stable(
    root: &Root,
    options: &Options,
    folder: &Path,
    sink: &mut Sink<'_>,
    known: &mut Ask<'_>,
    counts: &mut Counts,
) -> Result<Tree> {
    let mut tree = Tree::scan(root, options, folder, known)?;
    for round in 0.. {
        let noticed = pipeline::run(root, &mut tree, sink, options.threads(), &options.progress, counts)?;
        let change = if noticed.is_some() { noticed } else { tree.changed(root, options)? };
        let Some(change) = change else { break };
        if round == REREADS_MAX {
            return Err(Error::Unstable { path: root.full(&change.path), why: change.why.into() });
        }
        let again = Tree::scan(root, options, folder, &mut tree.known())?;
        tree = again;
    }
    Ok(tree)
}

/// Says whether `store` has all of a file's content, so that what a stat cache says of it can be used.
fn holds(store: &Store, size: u64, content: Content) -> Result<bool> {
    let mut whole = true;
    let mut page = |id| store.read_chunk(&id, ChunkKind::RecipePage).map(|page| page.bytes().clone());
    let walked = recipe::walk(content.digest, size, content.chunks, &mut page, &mut |line| {
        whole &= store.contains(&line.id)?;
        Ok(())
    });
    match walked {
        Ok(()) => Ok(whole),
        // A recipe that is lost or damaged is made again from the source.
        Err(Error::NoChunk(_) | Error::Damaged { .. } | Error::TooNew { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Refuses a source that holds the store itself: it would change with every byte it is read into.
fn refuse_store_inside(store: &Store, source: &Path) -> Result<()> {
    let inside = match (store.dir().canonicalize(), source.canonicalize()) {
        (Ok(store), Ok(source)) => store.starts_with(source),
        // Opening them tells what is wrong.
        _ => false,
    };
    if inside {
        let why = "it holds the store itself; keep the store outside of what is put into it";
        return Err(refused(source.as_os_str().as_encoded_bytes(), why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn options() -> Options {
        let platforms = Platforms::default();
        Options { workers: 2, platforms, stat_cache: None, verify: false, now_unix_nanos: 0, progress: Arc::default() }
    }

    /// Reads a folder of `a`, `b` and `c`, calling `change` when the scan stands at `b`.
    fn read_while(change: impl Fn(&Path)) -> Vec<(String, u64, Option<Content>)> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let mut known = |path: &str, _: &FileStat| {
            if path == "b" {
                change(dir.path());
            }
            Ok(None)
        };
        let mut sink = Sink::Pages(HashMap::new());
        let tree = read_until_stable(&root, &options(), dir.path(), &mut sink, &mut known, &mut Counts::default()).unwrap();
        let items = &tree.items;
        (0..items.len()).map(|n| (items.path(n).into(), items.stat(n).unwrap().size, tree.content(n))).collect()
    }

    fn content(bytes: &[u8]) -> Content {
        Content { digest: recipe::of_bytes(bytes).digest, chunks: 1 }
    }

    #[test]
    fn what_changes_behind_the_scan_is_read_as_it_is_then() {
        let found = read_while(|dir| {
            fs::write(dir.join("a"), "later").unwrap();
            fs::remove_file(dir.join("c")).unwrap();
            fs::write(dir.join("aa"), "new").unwrap();
        });
        let want = [("a", 5, content(b"later")), ("aa", 3, content(b"new")), ("b", 1, content(b"b"))];
        assert_eq!(found, want.map(|(path, size, content)| (path.to_owned(), size, Some(content))));
    }

    /// Stands for damage that no attribute shows: what the file is said to hold is what it held before.
    #[test]
    fn verify_believes_the_bytes_and_not_what_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let source = dir.path().join("source");
        fs::create_dir(&source).unwrap();
        let mut bytes = vec![0; 9 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        fs::write(source.join("large"), &bytes).unwrap();
        fs::write(source.join("small"), &bytes[..500_000]).unwrap();
        ingest(&store, &source, &options()).unwrap();
        let was = |bytes: &[u8]| {
            let built = recipe::of_bytes(bytes);
            Content { digest: built.digest, chunks: built.chunks }
        };
        let claims = [was(&bytes), was(&bytes[..500_000])];
        for at in [usize::MAX, 0, 300_000, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, (9 << 20) - 1] {
            let mut changed = bytes.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            fs::write(source.join("large"), &changed).unwrap();
            fs::write(source.join("small"), &changed[..500_000]).unwrap();
            let root = Root::open(&source).unwrap();
            let mut known = |path: &str, _: &FileStat| Ok(Some(Known::Was(claims[usize::from(path == "small")])));
            let mut counts = Counts::default();
            let tree =
                read_until_stable(&root, &options(), dir.path(), &mut Sink::Store(&store), &mut known, &mut counts).unwrap();
            assert!((0..2).all(|item| tree.claims.get(item).is_some()));
            let read = [tree.content(0), tree.content(1)];
            assert_eq!(read, [Some(was(&changed)), Some(was(&changed[..500_000]))], "{at}");
            assert_eq!(counts.new_chunks > 0, at != usize::MAX);
        }
    }

    #[test]
    fn a_file_added_without_another_change_is_noticed_by_the_second_scan() {
        let found = read_while(|dir| fs::write(dir.join("0"), "first").unwrap());
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], ("0".to_owned(), 5, Some(content(b"first"))));
    }
}
