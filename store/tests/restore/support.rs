//! Folders to publish, a store to publish them in, and an eye for differences.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_store::chunk::ChunkKind;
use consign_store::chunk::record::VerifiedRecord;
use consign_store::ingest::{Ingested, Options, Progress, ingest};
use consign_store::manifest::{ChunkTable, ManifestFile, Platform, Platforms};
use consign_store::restore::{Assembly, Seed, Tally, Target, stream_local};
use consign_store::{ManifestId, Store};
use tempfile::TempDir;

/// Everything a test needs, in one temporary folder (in memory where the system has such a place: the tests sync whole file systems).
pub struct Room {
    pub dir: TempDir,
    pub store: Store,
}

impl Room {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Publishes `source` and returns its manifest, extracted.
    pub fn publish(&self, source: &Path) -> (Ingested, ManifestFile) {
        let done = ingest(&self.store, source, &options()).unwrap();
        let manifest = self.manifest(done.manifest);
        (done, manifest)
    }

    pub fn manifest(&self, id: ManifestId) -> ManifestFile {
        ManifestFile::extract(&self.store, id, &self.path(&format!("manifest-{}", id.to_hex()))).unwrap()
    }

    pub fn target(&self, update: bool) -> Target {
        Target { dest: self.path("dest"), work: self.path("work"), update }
    }

    /// Adds the recipe pages that `assembly` asks for.
    pub fn add_recipes(&self, assembly: &Assembly) -> u64 {
        let mut pages = 0;
        for entry in assembly.missing_recipes().into_iter().flatten() {
            let (size, digest, chunks) = assembly.manifest().file_of(entry).unwrap();
            let mut page = |id| {
                let page = self.store.read_chunk(&id, ChunkKind::RecipePage)?;
                assembly.add_page(id, page.bytes())?;
                pages += 1;
                Ok(page.bytes().clone())
            };
            consign_store::manifest::recipe::walk(digest, size, chunks, &mut page, &mut |_| Ok(())).unwrap();
        }
        assert_eq!(assembly.missing_recipes(), vec![]);
        pages
    }

    /// Brings records until nothing is missing or `records_max` have been accepted.
    pub fn fill(&self, assembly: &Assembly, table: &ChunkTable, records_max: usize) -> u64 {
        let mut records = 0;
        let mut new = 0;
        let mut sink = |record: VerifiedRecord| {
            if records == records_max {
                return Err(consign_store::Error::Cancelled);
            }
            records += 1;
            new += assembly.accept(&record)?;
            Ok(())
        };
        let filled = stream_local(&self.store, table, assembly.layout(), &assembly.missing(), &mut sink);
        assert!(matches!(filled, Ok(()) | Err(consign_store::Error::Cancelled)), "{filled:?}");
        new
    }

    /// Builds the chunk table of a published version.
    pub fn table(&self, manifest: &ManifestFile) -> ChunkTable {
        let layout = consign_store::manifest::Layout::of(manifest).unwrap();
        let path = self.path(&format!("table-of-{}", manifest.id().to_hex()));
        let mut page = |id| Ok(self.store.read_chunk(&id, ChunkKind::RecipePage)?.bytes().clone());
        ChunkTable::build(&path, manifest, &layout, &|_| true, &mut page).unwrap()
    }

    /// Returns `root` as a seed that should hold version `id`.
    pub fn seed(&self, root: &Path, id: ManifestId) -> Seed {
        let manifest = self.manifest(id);
        let table = self.table(&manifest);
        Seed { root: root.to_path_buf(), manifest: manifest.into(), table }
    }

    /// Installs or updates `dest` to version `id` in one go.
    pub fn install(&self, id: ManifestId, update: bool, seeds: &[Seed]) -> consign_store::Result<Tally> {
        let mut assembly = Assembly::open(&self.target(update), self.manifest(id))?;
        assembly.learn_recipes(seeds)?;
        self.add_recipes(&assembly);
        assembly.take_local(seeds)?;
        let table = self.table(assembly.manifest());
        self.fill(&assembly, &table, usize::MAX);
        assembly.finish()
    }
}

pub fn options() -> Options {
    Options {
        workers: 2,
        platforms: Platforms::default().with(Platform::Linux),
        stat_cache: None,
        verify: true,
        now_unix_nanos: 0,
        progress: Arc::new(Progress::default()),
    }
}

/// Raw bytes of the distinct chunks of a version.
pub fn distinct_bytes(table: &ChunkTable) -> u64 {
    let lines = (0..table.len()).map(|ordinal| table.line(ordinal).unwrap());
    lines.map(|line| (line.id, u64::from(line.len))).collect::<BTreeMap<_, _>>().into_values().sum()
}

/// What one path holds, permission bits included.
#[derive(Debug, PartialEq, Eq)]
pub enum Node {
    File(u32, Vec<u8>),
    Folder(u32),
    Link(PathBuf),
}

/// Reads a whole tree.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut out = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for item in fs::read_dir(&folder).unwrap() {
            let path = item.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let mode = stat.permissions().mode() & 0o777;
            let node = if stat.is_symlink() {
                Node::Link(fs::read_link(&path).unwrap())
            } else if stat.is_dir() {
                open.push(path.clone());
                Node::Folder(mode)
            } else {
                Node::File(mode, fs::read(&path).unwrap())
            };
            out.insert(path.strip_prefix(root).unwrap().to_path_buf(), node);
        }
    }
    out
}

/// Fails with the paths that differ, not with their content.
pub fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (tree(left), tree(right));
    let paths: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differ: Vec<_> = paths.into_iter().filter(|path| left.get(*path) != right.get(*path)).collect();
    assert!(differ.is_empty(), "{} paths differ: {:?}", differ.len(), &differ[..differ.len().min(10)]);
}

/// Writes a file and the folders above it.
pub fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub fn mode(root: &Path, path: &str, mode: u32) {
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
}

/// Bytes that nothing compresses, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// A folder with one of everything.
pub fn sample(root: &Path) {
    put(root, "readme.txt", b"hello\n");
    put(root, "empty", b"");
    put(root, "bin/tool", &noise(1, 300_000));
    mode(root, "bin/tool", 0o755);
    put(root, "bin/locked", b"read only");
    mode(root, "bin/locked", 0o444);
    put(root, "lib/deep/er/a.js", &noise(2, 5_000));
    put(root, "lib/deep/er/b.js", &noise(2, 5_000));
    put(root, "lib/big.dat", &noise(3, 3_000_000));
    put(root, "lib/big-copy.dat", &noise(3, 3_000_000));
    let mut repeated = noise(4, 700_000);
    repeated.extend_from_slice(&noise(4, 700_000));
    put(root, "lib/repeated.bin", &repeated);
    mode(root, "lib/repeated.bin", 0o555);
    for number in 0..200_u32 {
        put(root, &format!("data/{:02}/{number}.json", number % 7), &noise(u64::from(number) + 100, number as usize * 40));
    }
    fs::create_dir_all(root.join("empty-folder")).unwrap();
    fs::create_dir_all(root.join("closed")).unwrap();
    put(root, "closed/inside", b"x");
    mode(root, "closed", 0o555);
    symlink("../readme.txt", root.join("bin/readme")).unwrap();
    symlink("lib/deep", root.join("shortcut")).unwrap();
}
