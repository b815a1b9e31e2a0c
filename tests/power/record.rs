//! From system calls to operations on a simulated disk.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Kind, Op};
use super::trace::{Arg, Call};

/// What was done to a folder, and when.
#[derive(Debug)]
pub struct Recording {
    /// The folder before.
    pub start: Disk,
    /// What was done, and when, microseconds since 1970.
    pub ops: Vec<(Op, u64)>,
    root: PathBuf,
    /// Inodes by path, as the running process sees them.
    inodes: HashMap<PathBuf, usize>,
    /// The length of each file, as the running process sees it.
    lengths: HashMap<usize, u64>,
    /// The place of each descriptor.
    places: HashMap<i64, u64>,
    /// How many operations there were when each call of the process ended, and when it began.
    ended: Vec<usize>,
    before: usize,
}

impl Recording {
    /// Begins with the folder `root` as it is, all of it durable, the folder `other` in it on a file system of its own.
    pub fn start(root: &Path, other: Option<&Path>) -> Self {
        let (start, inodes) = Disk::of(root, other);
        let length = |(path, inode): (&PathBuf, &usize)| Some((*inode, path.symlink_metadata().ok()?.len()));
        let lengths = inodes.iter().filter_map(length).collect();
        let (ops, places, ended) = (Vec::new(), HashMap::new(), Vec::new());
        Self { start, ops, root: root.to_path_buf(), inodes, lengths, places, ended, before: 0 }
    }

    /// Adds what one process did.
    pub fn add(&mut self, calls: &[Call]) {
        self.places.clear();
        self.ended.clear();
        self.before = self.ops.len();
        for call in calls {
            self.take(call);
            self.ended.push(self.ops.len());
        }
    }

    /// How many operations had been done at a time.
    pub fn done_at(&self, micros: u64) -> usize {
        self.ops.iter().rposition(|(_, at)| *at <= micros).map_or(0, |place| place + 1)
    }

    fn take(&mut self, call: &Call) {
        match call.name.as_str() {
            "openat" => self.open(call),
            "write" | "writev" => self.write_on(call),
            "pwrite64" => self.write_at(call, call.number(3)),
            "lseek" => self.seek(call),
            "ftruncate" => self.length(call, self.fd(call, 0), call.number(1)),
            "truncate" => self.length(call, self.named(call, None, 0), call.number(1)),
            "fsync" | "fdatasync" => {
                if let Some(inode) = self.fd(call, 0) {
                    self.sync(call, inode, false);
                }
            }
            "syncfs" => {
                if let Some(inode) = self.fd(call, 0) {
                    self.sync(call, inode, true);
                }
            }
            "rename" => self.rename(call, (None, 0), (None, 1)),
            "renameat" | "renameat2" => self.rename(call, (Some(0), 1), (Some(2), 3)),
            "unlink" | "rmdir" => self.unlink(call, self.path(call, None, 0)),
            "unlinkat" => self.unlink(call, self.path(call, Some(0), 1)),
            "mkdir" => self.make(call, self.path(call, None, 0), Kind::Folder, mode(call, 1)),
            "mkdirat" => self.make(call, self.path(call, Some(0), 1), Kind::Folder, mode(call, 2)),
            "symlink" => self.make(call, self.path(call, None, 1), Kind::Link(call.bytes(0)), 0o777),
            "symlinkat" => self.make(call, self.path(call, Some(1), 2), Kind::Link(call.bytes(0)), 0o777),
            "chmod" => self.mode(call, self.named(call, None, 0), 1),
            "fchmod" => self.mode(call, self.fd(call, 0), 1),
            "fchmodat" | "fchmodat2" => self.mode(call, self.named(call, Some(0), 1), 2),
            // What SQLite shares between its connections is no content: it is made anew by whoever opens the database first.
            "mmap" => assert!(!call.has(2, "PROT_WRITE") || !call.has(3, "MAP_SHARED") || self.is_foreign(call, 4), "{call:?}"),
            "ioctl" => assert!(!call.has(1, "FICLONE") || self.is_foreign(call, 0), "{call:?}"),
            _ => assert!(self.is_foreign(call, 0) && self.is_foreign(call, 2), "nobody knows what this does: {call:?}"),
        }
    }

    fn is_foreign(&self, call: &Call, place: usize) -> bool {
        match call.args.get(place) {
            Some(Arg::Fd(_, Some(name))) => !name.starts_with(self.root.as_os_str().as_bytes()) || name.ends_with(b"-shm"),
            _ => true,
        }
    }

    /// The path that argument `name` is, in the folder that argument `folder` is; `None` outside of the root.
    fn path(&self, call: &Call, folder: Option<usize>, name: usize) -> Option<PathBuf> {
        let name = call.bytes(name);
        let name = Path::new(std::ffi::OsStr::from_bytes(&name));
        let path = match folder.map(|place| &call.args[place]) {
            Some(Arg::Fd(_, Some(folder))) => Path::new(std::ffi::OsStr::from_bytes(folder)).join(name),
            _ => name.to_path_buf(),
        };
        assert!(path.is_absolute() || path.as_os_str().is_empty(), "{call:?}");
        path.starts_with(&self.root).then_some(path)
    }

    fn named(&self, call: &Call, folder: Option<usize>, name: usize) -> Option<usize> {
        self.inodes.get(&self.path(call, folder, name)?).copied()
    }

    fn fd(&self, call: &Call, place: usize) -> Option<usize> {
        match &call.args[place] {
            // What a process says is no content, wherever its log lies.
            Arg::Fd(fd, Some(name)) if *fd > 2 => self.inodes.get(Path::new(std::ffi::OsStr::from_bytes(name))).copied(),
            _ => None,
        }
    }

    fn folder_and_name(&self, path: &Path) -> (usize, Vec<u8>) {
        let folder = path.parent().and_then(|folder| self.inodes.get(folder));
        let name = path.file_name().map(|name| name.as_bytes().to_vec());
        let found = folder.copied().zip(name);
        found.unwrap_or_else(|| panic!("no folder for {}", path.display()))
    }

    fn push(&mut self, call: &Call, op: Op) {
        self.ops.push((op, call.micros));
    }

    fn open(&mut self, call: &Call) {
        let Some(path) = self.path(call, Some(0), 1) else { return };
        if call.has(2, "O_CREAT") && !self.inodes.contains_key(&path) {
            self.make(call, Some(path.clone()), Kind::File, mode(call, 3));
        } else if call.has(2, "O_TRUNC")
            && let Some(&inode) = self.inodes.get(&path)
            && self.lengths.get(&inode).is_some_and(|len| *len > 0)
        {
            self.length(call, Some(inode), 0);
        }
        // Nobody else writes to what is appended to, so its end is where it was when it was opened.
        let end = || self.inodes.get(&path).and_then(|inode| self.lengths.get(inode)).copied().unwrap_or(0);
        let at = if call.has(2, "O_APPEND") { end() } else { 0 };
        self.places.insert(call.returned, at);
    }

    fn write_on(&mut self, call: &Call) {
        let Arg::Fd(fd, _) = call.args[0] else { return };
        if self.fd(call, 0).is_some() {
            let at = self.places.get(&fd).copied().unwrap_or_else(|| panic!("never opened: {call:?}"));
            self.write_at(call, at);
            self.places.insert(fd, at + call.returned.unsigned_abs());
        }
    }

    fn write_at(&mut self, call: &Call, at: u64) {
        let Some(inode) = self.fd(call, 0) else { return };
        let mut bytes = call.bytes(1);
        bytes.truncate(usize::try_from(call.returned).expect("what was written"));
        let len = self.lengths.entry(inode).or_default();
        *len = (*len).max(at + bytes.len() as u64);
        self.push(call, Op::Write { inode, at, bytes: bytes.into() });
    }

    fn seek(&mut self, call: &Call) {
        if let Arg::Fd(fd, _) = call.args[0] {
            self.places.insert(fd, call.returned.unsigned_abs());
        }
    }

    fn length(&mut self, call: &Call, inode: Option<usize>, len: u64) {
        let Some(inode) = inode else { return };
        self.lengths.insert(inode, len);
        self.push(call, Op::Length { inode, len });
    }

    /// A sync covers what had been done when it began.
    fn sync(&mut self, call: &Call, inode: usize, all: bool) {
        let upto = call.begun.checked_sub(1).map_or(self.before, |last| self.ended[last]);
        self.push(call, Op::Sync { inode, all, upto });
    }

    fn make(&mut self, call: &Call, path: Option<PathBuf>, kind: Kind, mode: u32) {
        let Some(path) = path else { return };
        let (folder, name) = self.folder_and_name(&path);
        let inode = self.start.add(kind, mode, self.start.system_of(folder));
        self.inodes.insert(path, inode);
        self.push(call, Op::Names(vec![(folder, name, Some(inode))]));
    }

    fn unlink(&mut self, call: &Call, path: Option<PathBuf>) {
        let Some(path) = path else { return };
        // A socket is no content and was never noted.
        if self.inodes.remove(&path).is_some() {
            let (folder, name) = self.folder_and_name(&path);
            self.push(call, Op::Names(vec![(folder, name, None)]));
        }
    }

    fn rename(&mut self, call: &Call, from: (Option<usize>, usize), to: (Option<usize>, usize)) {
        assert!(!call.has(4, "RENAME_EXCHANGE"), "{call:?}");
        let (from, to) = (self.path(call, from.0, from.1), self.path(call, to.0, to.1));
        let (Some(from), Some(to)) = (from, to) else { panic!("a rename into or out of the folder: {call:?}") };
        let Some(&inode) = self.inodes.get(&from) else { panic!("nothing to rename: {call:?}") };
        let ((old_folder, old_name), (new_folder, new_name)) = (self.folder_and_name(&from), self.folder_and_name(&to));
        assert_eq!(
            self.start.system_of(old_folder),
            self.start.system_of(new_folder),
            "not possible on two file systems: {call:?}"
        );
        self.inodes.remove(&to);
        let moved: Vec<_> = self.inodes.keys().filter(|path| path.starts_with(&from)).cloned().collect();
        for path in moved {
            let inode = self.inodes.remove(&path).expect("listed");
            let rest = path.strip_prefix(&from).expect("below");
            self.inodes.insert(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) }, inode);
        }
        self.push(call, Op::Names(vec![(old_folder, old_name, None), (new_folder, new_name, Some(inode))]));
    }

    fn mode(&mut self, call: &Call, inode: Option<usize>, place: usize) {
        if let Some(inode) = inode {
            self.push(call, Op::Mode { inode, mode: u32::try_from(call.number(place)).expect("permission bits") });
        }
    }
}

/// Permission bits as they come to be under the usual mask.
fn mode(call: &Call, place: usize) -> u32 {
    u32::try_from(call.number(place)).expect("permission bits") & !0o022
}
