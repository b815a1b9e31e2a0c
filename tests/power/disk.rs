//! A simulated disk: what was done to files, what of it is surely on the disk at each moment, and the images that a power cut may leave.
//!
//! The rules are those of POSIX, with nothing added: a name is durable when its folder was synced, content when its file was (a rename
//! needs both its folders). Until then each change may be there or not, whatever came after it, but nothing is in a folder that is not there;
//! of a write any part of 512 bytes or 4 KiB may be there, and the length may be there without the content.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::Dice;

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Link(Vec<u8>),
}

/// A change of names: all of them together or none.
pub type Names = Vec<(usize, Vec<u8>, Option<usize>)>;

/// Something that was done.
#[derive(Debug, Clone)]
pub enum Op {
    Write {
        inode: usize,
        at: u64,
        bytes: Arc<[u8]>,
    },
    Length {
        inode: usize,
        len: u64,
    },
    Mode {
        inode: usize,
        mode: u32,
    },
    Names(Names),
    /// Everything before operation `upto` of this inode, or of all on its file system, is on the disk.
    Sync {
        inode: usize,
        all: bool,
        upto: usize,
    },
}

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Arc<Vec<u8>>,
    mode: u32,
    hash: Option<blake3::Hash>,
}

/// Names of a disk.
#[derive(Debug, Clone, Default)]
struct Tree {
    names: BTreeMap<usize, BTreeMap<Vec<u8>, usize>>,
    /// Of each inode, whether it ever had a name.
    named: Vec<bool>,
}

impl Tree {
    fn change(&mut self, change: &Names) {
        for (folder, name, inode) in change {
            let folder = self.names.entry(*folder).or_default();
            match inode {
                Some(inode) => {
                    folder.insert(name.clone(), *inode);
                    self.named.resize(self.named.len().max(inode + 1), false);
                    self.named[*inode] = true;
                }
                None => drop(folder.remove(name)),
            }
        }
    }

    fn has(&self, inode: usize) -> bool {
        inode == ROOT || self.named.get(inode) == Some(&true)
    }
}

/// The disk after some operations.
#[derive(Debug, Clone)]
pub struct Disk {
    kinds: Vec<Kind>,
    /// What is surely there, by inode.
    durable: Vec<Content>,
    /// Operations on an inode that may be there, by inode.
    pending: BTreeMap<usize, Vec<(usize, Op)>>,
    /// Changes of names, but for the first that are all durable, with what is missing for that.
    names: VecDeque<(usize, Names, usize)>,
    /// What those first ones come to.
    settled: Tree,
    done: usize,
    last_write: Option<usize>,
    /// Of each inode, on which file system it is.
    systems: Vec<u8>,
}

/// The inode of the root.
pub const ROOT: usize = 0;

/// How a power cut treats what was not durable.
#[derive(Debug, Clone)]
pub struct Cut {
    /// How many of a hundred pending changes of names stay; in order means: up to a point all, from there none.
    pub names: u64,
    pub names_in_order: bool,
    /// How many of a hundred pending writes stay.
    pub writes: u64,
    /// How many of a hundred writes that stay are torn.
    pub torn: u64,
    /// Whether the last write is torn.
    pub last_torn: bool,
    pub block: usize,
    /// Whether a file has its last length, zeros where content was lost.
    pub full_length: bool,
}

impl Cut {
    /// The `number`th way: the plain ones first, then at random.
    pub fn way(number: u64, dice: &mut Dice) -> Self {
        let block = if dice.below(2) == 0 { 512 } else { 4096 };
        let plain = |names, writes, full_length, last_torn| Self {
            names,
            names_in_order: true,
            writes,
            torn: 0,
            last_torn,
            block,
            full_length,
        };
        match number {
            0 => plain(100, 100, false, false),
            1 => plain(0, 0, false, false),
            2 => plain(100, 100, false, true),
            3 => plain(100, 0, true, false),
            4 => plain(100, 0, false, false),
            5 => plain(0, 100, false, false),
            _ => Self {
                names: [10, 50, 90, 100][index(dice, 4)],
                names_in_order: dice.below(2) == 0,
                writes: [10, 50, 90, 100][index(dice, 4)],
                torn: [0, 30, 100][index(dice, 3)],
                last_torn: dice.below(2) == 0,
                block,
                full_length: dice.below(2) == 0,
            },
        }
    }
}

fn index(dice: &mut Dice, end: u64) -> usize {
    usize::try_from(dice.below(end)).expect("small")
}

impl Disk {
    /// The folder `root` as it is, all of it durable, the folder `other` in it on a file system of its own. Returns the inodes by path too.
    pub fn of(root: &Path, other: Option<&Path>) -> (Self, HashMap<PathBuf, usize>) {
        let (kinds, durable, names, systems) = (Vec::new(), Vec::new(), VecDeque::new(), Vec::new());
        let (pending, settled) = (BTreeMap::new(), Tree::default());
        let mut disk = Self { kinds, durable, pending, names, settled, done: 0, last_write: None, systems };
        let mut inodes = HashMap::new();
        disk.take(root, other, &mut inodes);
        (disk, inodes)
    }

    fn take(&mut self, path: &Path, other: Option<&Path>, inodes: &mut HashMap<PathBuf, usize>) -> usize {
        let stat = fs::symlink_metadata(path).expect("looked at");
        let (kind, bytes) = if stat.is_dir() {
            (Kind::Folder, Vec::new())
        } else if stat.is_symlink() {
            (Kind::Link(fs::read_link(path).expect("read").into_os_string().into_vec()), Vec::new())
        } else if stat.is_file() {
            (Kind::File, fs::read(path).expect("read"))
        } else {
            (Kind::File, Vec::new()) // a socket left by a killed process is no content
        };
        let system = u8::from(other.is_some_and(|other| path.starts_with(other)));
        let inode = self.add(kind, stat.mode() & 0o7777, system);
        self.durable[inode].bytes = Arc::new(bytes);
        inodes.insert(path.to_path_buf(), inode);
        if stat.is_dir() {
            for entry in fs::read_dir(path).expect("listed") {
                let entry = entry.expect("listed");
                let child = self.take(&entry.path(), other, inodes);
                self.settled.change(&vec![(inode, entry.file_name().into_vec(), Some(child))]);
            }
        }
        inode
    }

    /// The file system that `inode` is on.
    pub fn system_of(&self, inode: usize) -> u8 {
        self.systems[inode]
    }

    /// A new inode without a name.
    pub fn add(&mut self, kind: Kind, mode: u32, system: u8) -> usize {
        self.kinds.push(kind);
        self.systems.push(system);
        self.durable.push(Content { mode, ..Content::default() });
        self.kinds.len() - 1
    }

    /// Does the next operation.
    pub fn apply(&mut self, op: &Op) {
        let number = self.done;
        self.done += 1;
        self.last_write = None;
        match op {
            Op::Names(names) => self.names.push_back((number, names.clone(), missing_syncs(names))),
            Op::Sync { inode, all, upto } => self.sync(*inode, *all, *upto),
            Op::Write { inode, .. } | Op::Length { inode, .. } | Op::Mode { inode, .. } => {
                if matches!(op, Op::Write { .. }) {
                    self.last_write = Some(number);
                }
                self.pending.entry(*inode).or_default().push((number, op.clone()));
            }
        }
    }

    fn sync(&mut self, inode: usize, all: bool, upto: usize) {
        let systems = &self.systems;
        let covers = |one: usize| if all { systems[one] == systems[inode] } else { one == inode };
        let synced: Vec<usize> = self.pending.keys().copied().filter(|one| covers(*one)).collect();
        for one in synced {
            let ops = self.pending.remove(&one).unwrap_or_default();
            let (now, later): (Vec<_>, Vec<_>) = ops.into_iter().partition(|(number, _)| *number < upto);
            let content = &mut self.durable[one];
            content.hash = None;
            for (_, op) in &now {
                perform(content, op);
            }
            if !later.is_empty() {
                self.pending.insert(one, later);
            }
        }
        for (number, names, missing) in &mut self.names {
            if *number < upto && *missing > 0 {
                let mut folders: Vec<usize> = names.iter().map(|(folder, ..)| *folder).collect();
                folders.dedup();
                for (place, folder) in folders.into_iter().enumerate() {
                    if covers(folder) {
                        *missing &= !(1 << place);
                    }
                }
            }
        }
        while let Some((.., 0)) = self.names.front() {
            let (_, names, _) = self.names.pop_front().expect("just seen");
            self.settled.change(&names);
        }
    }

    /// What a power cut now leaves, treated by `cut`.
    pub fn image(&mut self, cut: &Cut, dice: &mut Dice) -> Image {
        let mut tree = self.settled.clone();
        let pending = self.names.iter().filter(|(_, _, missing)| *missing > 0).count() as u64;
        let mut first = match cut.names {
            0 => 0,
            100 => pending,
            _ => dice.below(pending + 1),
        };
        for (_, change, missing) in &self.names {
            let stays = if *missing == 0 {
                true
            } else if cut.names_in_order {
                let stays = first > 0;
                first = first.saturating_sub(1);
                stays
            } else {
                dice.below(100) < cut.names && change.iter().all(|(folder, ..)| tree.has(*folder))
            };
            if stays {
                tree.change(change);
            }
        }
        let mut image = Image { nodes: Vec::new(), digest: blake3::hash(b"") };
        let mut walk = Walk { names: &tree.names, hasher: blake3::Hasher::new(), nodes: &mut image.nodes };
        let mut contents =
            Contents { durable: &mut self.durable, pending: &self.pending, last_write: self.last_write, cut, dice };
        walk.folder(ROOT, Path::new(""), &self.kinds, &mut contents);
        image.digest = walk.hasher.finalize();
        image
    }
}

/// A bit for each folder that must be synced before the change is durable.
fn missing_syncs(names: &Names) -> usize {
    let mut folders: Vec<usize> = names.iter().map(|(folder, ..)| *folder).collect();
    folders.dedup();
    (1 << folders.len()) - 1
}

fn perform(content: &mut Content, op: &Op) {
    let bytes = Arc::make_mut(&mut content.bytes);
    match op {
        Op::Write { at, bytes: new, .. } => put(bytes, *at, new),
        Op::Length { len, .. } => bytes.resize(usize::try_from(*len).expect("small"), 0),
        Op::Mode { mode, .. } => content.mode = *mode,
        Op::Names(_) | Op::Sync { .. } => unreachable!("no change of content"),
    }
}

fn put(bytes: &mut Vec<u8>, at: u64, new: &[u8]) {
    let at = usize::try_from(at).expect("small");
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

struct Contents<'a> {
    durable: &'a mut Vec<Content>,
    pending: &'a BTreeMap<usize, Vec<(usize, Op)>>,
    last_write: Option<usize>,
    cut: &'a Cut,
    dice: &'a mut Dice,
}

impl Contents<'_> {
    fn of(&mut self, inode: usize) -> Content {
        let Some(pending) = self.pending.get(&inode) else {
            let content = &mut self.durable[inode];
            content.hash.get_or_insert_with(|| blake3::hash(&content.bytes));
            return content.clone();
        };
        let mut content = self.durable[inode].clone();
        let mut len = content.bytes.len();
        for (number, op) in pending {
            match op {
                Op::Write { at, bytes, .. } => {
                    len = len.max(usize::try_from(*at).expect("small") + bytes.len());
                    self.write(&mut content, *number, *at, bytes);
                }
                Op::Length { len: new, .. } => {
                    len = usize::try_from(*new).expect("small");
                    if self.dice.below(100) < self.cut.writes {
                        perform(&mut content, op);
                    }
                }
                _ if self.dice.below(100) < self.cut.writes => perform(&mut content, op),
                _ => {}
            }
        }
        if self.cut.full_length {
            Arc::make_mut(&mut content.bytes).resize(len, 0);
        }
        content.hash = Some(blake3::hash(&content.bytes));
        content
    }

    fn write(&mut self, content: &mut Content, number: usize, at: u64, bytes: &[u8]) {
        if self.dice.below(100) >= self.cut.writes {
            return;
        }
        let torn = (self.cut.last_torn && self.last_write == Some(number)) || self.dice.below(100) < self.cut.torn;
        let to = Arc::make_mut(&mut content.bytes);
        if !torn {
            return put(to, at, bytes);
        }
        // By blocks of the disk: up to one of them, from one of them on, or any of them.
        let block = self.cut.block as u64;
        let (first, last) = (at / block, (at + bytes.len() as u64).div_ceil(block));
        let (shape, place) = (self.dice.below(3), first + self.dice.below(last - first + 1));
        for number in first..last {
            let stays = match shape {
                0 => number < place,
                1 => number >= place,
                _ => self.dice.below(2) == 0,
            };
            if stays {
                let from = (number * block).max(at);
                let end = ((number + 1) * block).min(at + bytes.len() as u64);
                let part = |offset: u64| usize::try_from(offset - at).expect("small");
                put(to, from, &bytes[part(from)..part(end)]);
            }
        }
    }
}

struct Walk<'a> {
    names: &'a BTreeMap<usize, BTreeMap<Vec<u8>, usize>>,
    hasher: blake3::Hasher,
    nodes: &'a mut Vec<(PathBuf, Kind, Content)>,
}

impl Walk<'_> {
    fn folder(&mut self, inode: usize, path: &Path, kinds: &[Kind], contents: &mut Contents<'_>) {
        let content = contents.of(inode);
        self.note(path.to_path_buf(), Kind::Folder, content);
        let names = self.names;
        for (name, inode) in names.get(&inode).into_iter().flatten() {
            let path = path.join(std::ffi::OsStr::from_bytes(name));
            match &kinds[*inode] {
                Kind::Folder => self.folder(*inode, &path, kinds, contents),
                kind => {
                    let content = contents.of(*inode);
                    self.note(path, kind.clone(), content);
                }
            }
        }
    }

    fn note(&mut self, path: PathBuf, kind: Kind, content: Content) {
        self.hasher.update(&(path.as_os_str().len() as u64).to_le_bytes()).update(path.as_os_str().as_bytes());
        self.hasher.update(&content.mode.to_le_bytes());
        match &kind {
            Kind::File => drop(self.hasher.update(content.hash.expect("hashed").as_bytes())),
            Kind::Link(target) => drop(self.hasher.update(target)),
            Kind::Folder => {}
        }
        self.nodes.push((path, kind, content));
    }
}

/// What a disk holds after a power cut.
#[derive(Debug)]
pub struct Image {
    nodes: Vec<(PathBuf, Kind, Content)>,
    /// Names it: equal images have equal digests.
    pub digest: blake3::Hash,
}

impl Image {
    /// Writes it to `root`, replacing what is there.
    pub fn write(&self, root: &Path) {
        if root.exists() {
            fs::remove_dir_all(root).expect("removed");
        }
        for (path, kind, content) in &self.nodes {
            let path = if path.as_os_str().is_empty() { root.to_path_buf() } else { root.join(path) };
            match kind {
                Kind::Folder => fs::create_dir(&path).expect("made"),
                Kind::File => fs::write(&path, content.bytes.as_slice()).expect("written"),
                Kind::Link(target) => symlink(std::ffi::OsStr::from_bytes(target), &path).expect("linked"),
            }
        }
        // From the inside out: nothing can be made in a folder that is closed.
        for (path, _, content) in self.nodes.iter().rev().filter(|(_, kind, _)| !matches!(kind, Kind::Link(_))) {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(content.mode)).expect("mode");
        }
    }

    /// Tells what is in it.
    pub fn list(&self) -> String {
        let line =
            |(path, kind, content): &(PathBuf, Kind, Content)| format!("{} {kind:?} {}", path.display(), content.bytes.len());
        self.nodes.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
