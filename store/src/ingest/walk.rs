//! Walking the source folder in path order, with folders listed ahead by several threads.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::Dir;

use super::source::{FileStat, Root};
use crate::error::{Error, Result};
use crate::manifest::path::{self, compare_paths, refused};
use crate::spill::{self, Spill, SpillWriter, Words, WordsWriter};

/// Most folders listed ahead; each may hold a file descriptor.
const FOLDERS_AHEAD_MAX: usize = 64;
/// Things listed ahead above which no more folders are.
const THINGS_AHEAD_MAX: usize = 16 << 10;
/// Most things in a folder that are looked at when it is listed; in a larger one each is when its turn comes.
const THINGS_LOOKED_AT_MAX: usize = 32 << 10;

/// One thing found by a walk.
pub(super) struct Found<'a> {
    pub path: &'a str,
    pub mode: u16,
    pub kind: FoundKind<'a>,
}

/// What was found.
pub(super) enum FoundKind<'a> {
    File(FileStat),
    Folder,
    /// With its target, unchecked.
    Symlink(&'a [u8]),
}

/// Sees a walk's names: all names of a folder first, then each thing in path order.
pub(super) trait Visitor {
    /// Takes the names in the folder at path `folder` (empty: the root).
    fn names(&mut self, folder: &str, names: &Names) -> Result<()>;
    /// Takes the next thing.
    fn found(&mut self, found: Found<'_>) -> Result<()>;
}

/// The names in one folder, sorted bytewise; of a fixed size in memory, because one folder may hold a million.
#[derive(Default)]
pub(super) struct Names {
    text: Spill,
    /// Where each begins in the text, and its length.
    spans: Words<2>,
}

impl Names {
    /// How many there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.spans.len()).expect("refused above 2^32 bytes of names")
    }

    /// The name at `at`.
    pub fn get(&self, at: u32) -> &str {
        let span = self.spans.get(at as usize).expect("callers ask for names that there are");
        std::str::from_utf8(name_at(&self.text, span)).expect("written from a text")
    }

    /// Reads the names in `folder`, opened for that, which is at `path`; puts down what is much in `spill`.
    fn read(root: &Root, folder: &OwnedFd, path: &str, spill: &Path) -> Result<Self> {
        let (mut texts, mut spans) = (SpillWriter::in_folder(spill), WordsWriter::in_folder(spill));
        // The same open folder: nobody else reads its list.
        let list = root.named(folder.try_clone(), "open folder", path)?;
        for entry in root.named(Dir::new(list), "read folder", path)? {
            let entry = root.named(entry, "read folder", path)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let joined = || [path.as_bytes(), name].join(&b"/"[..usize::from(!path.is_empty())]);
            let text = std::str::from_utf8(name).map_err(|_| refused(&joined(), "the name is not UTF-8; rename it"))?;
            let too_long = |_| refused(&joined(), "the name or its folder is too long");
            let start = u32::try_from(texts.len()).map_err(too_long)?;
            let len = u8::try_from(text.len()).map_err(too_long)?;
            texts.push(text.as_bytes())?;
            spans.push([start, len.into()])?;
        }
        let text = texts.finish()?;
        let spans = spill::sorted(spans.finish()?.from(0), |span| name_at(&text, span), spill)?;
        Ok(Self { text, spans })
    }
}

fn name_at(text: &[u8], [start, len]: [u32; 2]) -> &[u8] {
    &text[start as usize..start as usize + len as usize]
}

/// What a look at one name saw: permission bits and the rest.
pub(super) enum Seen {
    File(u16, FileStat),
    Folder(u16),
    Symlink(u16, Box<[u8]>),
    /// It is gone again.
    Nothing,
}

/// A folder that has been listed.
struct Listing {
    folder: Arc<OwnedFd>,
    names: Names,
    /// What is behind each name; empty when the folder is too large.
    seen: Vec<Seen>,
}

/// The path of a folder, ordered as it is walked.
#[derive(Clone, PartialEq, Eq)]
struct FolderPath(Box<str>);

impl Ord for FolderPath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl PartialOrd for FolderPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A folder that has been found: not listed, being listed, or listed (`None`: it was gone).
enum Stage {
    /// With the folder above it.
    Waiting(Arc<OwnedFd>),
    Busy,
    Listed(Result<Option<Listing>>),
}

#[derive(Default)]
struct State {
    folders: BTreeMap<FolderPath, Stage>,
    folders_ahead: usize,
    things_ahead: usize,
    /// Threads that wait: waking nobody would cost a system call.
    waiting: usize,
    end: bool,
}

/// A walk: one thread visits, others list the folders that it comes to next.
struct Walk<'a> {
    root: &'a Root,
    spill: &'a Path,
    state: Mutex<State>,
    changed: Condvar,
}

/// Ends a walk, also when a thread of it ends in a panic: nobody waits for it then.
struct EndOnDrop<'a, 'r>(&'a Walk<'r>);

impl Drop for EndOnDrop<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().end = true;
        self.0.changed.notify_all();
    }
}

/// Walks the whole tree in path order, with `helpers` threads beside this one where there are folders in the folder. What vanishes during the walk is left out,
/// what is much put down in the folder `spill`.
pub(super) fn walk(root: &Root, spill: &Path, helpers: usize, visitor: &mut dyn Visitor) -> Result<()> {
    let walk = Walk { root, spill, state: Mutex::default(), changed: Condvar::new() };
    let first = walk.list(root.again()?, "")?;
    // One folder may hold many.
    let helpers = if walk.lock().folders.is_empty() { 0 } else { helpers };
    thread::scope(|scope| {
        let _end = EndOnDrop(&walk);
        for number in 0..helpers {
            // With fewer threads, or none, it only takes longer.
            let _ = thread::Builder::new().name(format!("scan-{number}")).spawn_scoped(scope, || walk.help());
        }
        walk.visit(first, visitor)
    })
}

/// A folder that is being visited.
struct Level {
    listing: Listing,
    at: u32,
    /// Length of the folder's own path.
    path_len: usize,
}

impl Walk<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, mut state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        state.waiting += 1;
        let mut state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    /// Wakes who waits for a change of `state`.
    fn wake(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn visit(&self, first: Listing, visitor: &mut dyn Visitor) -> Result<()> {
        let mut path = String::new();
        visitor.names("", &first.names)?;
        let mut open = vec![Level { listing: first, at: 0, path_len: 0 }];
        while let Some(level) = open.last_mut() {
            let Listing { folder, names, seen } = &level.listing;
            if level.at == names.len() {
                open.pop();
                continue;
            }
            path.truncate(level.path_len);
            if !path.is_empty() {
                path.push('/');
            }
            let name = names.get(level.at);
            path.push_str(name);
            path::check(path.as_bytes())?;
            let late;
            let (seen, is_late) = if let Some(seen) = seen.get(level.at as usize) {
                (seen, false)
            } else {
                late = self.root.look(folder, name, &path)?;
                (&late, true)
            };
            level.at += 1;
            if !show(&path, seen, visitor)? {
                continue;
            }
            let listing = if is_late { self.open_and_list(folder, &path)? } else { self.take(&path)? };
            if let Some(listing) = listing {
                visitor.names(&path, &listing.names)?;
                open.push(Level { listing, at: 0, path_len: path.len() });
            }
        }
        Ok(())
    }

    /// Takes the listing of the folder at `path`, which has been found.
    fn take(&self, path: &str) -> Result<Option<Listing>> {
        let key = FolderPath(path.into());
        let mut state = self.lock();
        while matches!(state.folders.get(&key), Some(Stage::Busy)) && !state.end {
            // Sleeping costs more than listing most folders does.
            state = self.list_next(state);
        }
        match state.folders.remove(&key) {
            Some(Stage::Listed(listing)) => {
                state.folders_ahead -= 1;
                state.things_ahead -= things_in(&listing);
                // Half of what there may be, so that nobody is woken for every folder.
                if state.folders_ahead <= FOLDERS_AHEAD_MAX / 2 && state.things_ahead <= THINGS_AHEAD_MAX / 2 {
                    self.wake(&state);
                }
                listing
            }
            Some(Stage::Waiting(above)) => {
                drop(state);
                self.open_and_list(&above, path)
            }
            // A helper has ended in a panic, which goes on when the threads are joined.
            Some(Stage::Busy) | None => Err(Error::Cancelled),
        }
    }

    /// Lists the folders that come next, until the walk ends.
    fn help(&self) {
        let _end = EndOnDrop(self);
        let mut state = self.lock();
        while !state.end {
            state = self.list_next(state);
        }
    }

    /// Lists the folder that comes next; waits for a change if there is none, or enough have been listed ahead.
    fn list_next<'g>(&'g self, mut state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        let may = state.folders_ahead < FOLDERS_AHEAD_MAX && state.things_ahead < THINGS_AHEAD_MAX;
        let waiting = |(_, stage): &(&FolderPath, &mut Stage)| matches!(stage, Stage::Waiting(_));
        let Some((path, next)) = (if may { state.folders.iter_mut().find(waiting) } else { None }) else {
            return self.wait(state);
        };
        let path = path.clone();
        let Stage::Waiting(above) = std::mem::replace(next, Stage::Busy) else { return state };
        state.folders_ahead += 1;
        drop(state);
        let listing = self.open_and_list(&above, &path.0);
        drop(above);
        let mut state = self.lock();
        state.things_ahead += things_in(&listing);
        state.folders.insert(path, Stage::Listed(listing));
        self.wake(&state);
        state
    }

    fn open_and_list(&self, above: &OwnedFd, path: &str) -> Result<Option<Listing>> {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.root.open_folder(above, name, path)?.map(|folder| self.list(folder, path)).transpose()
    }

    /// Lists the folder at `path` and looks at what is in it.
    fn list(&self, folder: OwnedFd, path: &str) -> Result<Listing> {
        let names = Names::read(self.root, &folder, path, self.spill)?;
        let folder = Arc::new(folder);
        let mut seen = Vec::new();
        if names.len() as usize <= THINGS_LOOKED_AT_MAX {
            seen.reserve_exact(names.len() as usize);
            let mut below = format!("{path}{}", if path.is_empty() { "" } else { "/" });
            let prefix_len = below.len();
            let mut found = Vec::new();
            for at in 0..names.len() {
                below.truncate(prefix_len);
                below.push_str(names.get(at));
                let one = self.root.look(&folder, names.get(at), &below)?;
                if matches!(one, Seen::Folder(_)) {
                    found.push((FolderPath(below.as_str().into()), Stage::Waiting(Arc::clone(&folder))));
                }
                seen.push(one);
            }
            if !found.is_empty() {
                let mut state = self.lock();
                state.folders.extend(found);
                self.wake(&state);
            }
        }
        Ok(Listing { folder, names, seen })
    }
}

/// How many things of a listing count as listed ahead.
fn things_in(listing: &Result<Option<Listing>>) -> usize {
    if let Ok(Some(listing)) = listing { listing.names.len() as usize } else { 0 }
}

/// Shows a visitor what is at `path`; says whether it is a folder.
fn show(path: &str, seen: &Seen, visitor: &mut dyn Visitor) -> Result<bool> {
    let (mode, kind) = match seen {
        Seen::File(mode, stat) => (*mode, FoundKind::File(*stat)),
        Seen::Folder(mode) => (*mode, FoundKind::Folder),
        Seen::Symlink(mode, target) => (*mode, FoundKind::Symlink(target)),
        Seen::Nothing => return Ok(false),
    };
    visitor.found(Found { path, mode, kind })?;
    Ok(matches!(seen, Seen::Folder(_)))
}
