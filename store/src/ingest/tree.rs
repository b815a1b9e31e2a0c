//! The source tree as scanned, lean enough for a million files, and what has been read of it.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use super::source::{FileStat, Root};
use super::walk::{Found, FoundKind, Names, Visitor, walk};
use super::{Options, Progress};
use crate::error::{Error, Result};
use crate::id::FileDigest;
use crate::manifest::entry::{Attributes, Entry, EntryKind, LINK_MODE, LinkTarget, check_link};
use crate::manifest::path::{SafePath, compare_paths, refused};
use crate::manifest::platform::PlatformCheck;

/// What was read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub digest: FileDigest,
    pub chunks: u32,
}

/// One scanned thing; its path, and a link's target behind it, lie in the texts of the [`Items`].
#[derive(Debug)]
struct Item {
    text_at: u32,
    path_len: u16,
    mode: u16,
    kind: ItemKind,
}

#[derive(Debug)]
enum ItemKind {
    File(FileStat),
    Folder,
    Symlink { target_len: u16 },
}

/// Scanned things in path order.
#[derive(Debug, Default)]
pub(super) struct Items {
    texts: String,
    items: Vec<Item>,
}

impl Items {
    /// How many there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.items.len()).expect("refused above 2^32 bytes of paths")
    }

    /// The path of an item.
    pub fn path(&self, number: u32) -> &str {
        let item = &self.items[number as usize];
        &self.texts[item.text_at as usize..item.text_at as usize + usize::from(item.path_len)]
    }

    /// What the scan saw of a file; `None` for folders and links.
    pub fn stat(&self, number: u32) -> Option<&FileStat> {
        if let ItemKind::File(stat) = &self.items[number as usize].kind { Some(stat) } else { None }
    }

    /// The mode of an item.
    pub fn mode(&self, number: u32) -> u16 {
        self.items[number as usize].mode
    }

    fn target(&self, number: u32, len: u16) -> &str {
        let item = &self.items[number as usize];
        let start = item.text_at as usize + usize::from(item.path_len);
        &self.texts[start..start + usize::from(len)]
    }

    /// Appends what was found.
    pub fn push(&mut self, found: &Found<'_>) -> Result<()> {
        let over = |_| Error::Limit { what: "the source folder".into(), limit: "4 GiB of paths".into() };
        let text_at = u32::try_from(self.texts.len()).map_err(over)?;
        let path_len = u16::try_from(found.path.len()).map_err(over)?;
        self.texts.push_str(found.path);
        let (kind, mode) = match found.kind {
            FoundKind::File(stat) => (ItemKind::File(stat), found.mode),
            FoundKind::Folder => (ItemKind::Folder, found.mode),
            FoundKind::Symlink(target) => {
                let target = check_link(found.path, target)?;
                self.texts.push_str(target);
                (ItemKind::Symlink { target_len: u16::try_from(target.len()).map_err(over)? }, LINK_MODE)
            }
        };
        self.items.push(Item { text_at, path_len, mode, kind });
        Ok(())
    }

    /// Says how a thing found now differs from item `number`.
    fn difference(&self, number: u32, found: &Found<'_>) -> Option<&'static str> {
        if number >= self.len() || self.path(number) != found.path {
            return Some("files were added or removed");
        }
        let same = match (&self.items[number as usize].kind, &found.kind) {
            (ItemKind::File(old), FoundKind::File(new)) => {
                return old.difference(new).or_else(|| (self.mode(number) != found.mode).then_some("its mode changed"));
            }
            (ItemKind::Folder, FoundKind::Folder) => self.mode(number) == found.mode,
            (ItemKind::Symlink { target_len }, FoundKind::Symlink(target)) => {
                self.target(number, *target_len).as_bytes() == *target
            }
            _ => false,
        };
        (!same).then_some("its kind, mode or target changed")
    }
}

/// What was found to have changed under the reader.
#[derive(Debug)]
pub(super) struct Change {
    pub path: String,
    pub why: &'static str,
}

/// A scanned tree and what has been read of its files.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub items: Items,
    /// By item: `None` for what is no file or has not been read.
    pub contents: Vec<Option<Content>>,
    /// By item: what a file that is to be read is said to hold; only files of several chunks, and not more than are worth the memory.
    pub claims: HashMap<u32, Content>,
}

/// Most files whose claimed content is kept in mind; others are cut again, which costs time only.
const CLAIMS_MAX: usize = 64 << 10;

/// What is known of a file before it is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    /// It need not be read.
    Is(Content),
    /// It was so when it was last read.
    Was(Content),
}

/// Gives what is known of a file, asked in ascending path order.
pub(super) type Ask<'a> = dyn FnMut(&str, &FileStat) -> Result<Option<Known>> + 'a;

impl Tree {
    /// Scans `root`; what `known` says of a file is not read again.
    pub fn scan(root: &Root, options: &Options, known: &mut Ask<'_>) -> Result<Self> {
        let progress = &options.progress;
        for counter in [&progress.files_total, &progress.files_done, &progress.bytes_total, &progress.bytes_done] {
            counter.store(0, Relaxed);
        }
        let check = PlatformCheck::new(options.platforms);
        let mut scan = Scan { tree: Self::default(), check, progress, known };
        walk(root, helpers(options), &mut scan)?;
        Ok(scan.tree)
    }

    /// A tree of the one file `name` in `root`.
    pub fn of_file(root: &Root, name: &str) -> Result<Self> {
        let mut tree = Self::default();
        if let Some((_, stat)) = root.file(name)? {
            tree.items.push(&Found { path: name, mode: 0, kind: FoundKind::File(stat) })?;
            tree.contents.push(None);
        }
        Ok(tree)
    }

    /// Scans `root` again and says what differs from this tree.
    pub fn changed(&self, root: &Root, options: &Options) -> Result<Option<Change>> {
        let progress = &options.progress;
        let mut compare = Compare { items: &self.items, progress, next: 0, change: None };
        walk(root, helpers(options), &mut compare)?;
        let Compare { next, change, .. } = compare;
        let missing = || (next < self.items.len()).then(|| Change { path: self.items.path(next).into(), why: "it is gone" });
        Ok(change.or_else(missing))
    }

    /// Gives what this tree knows, to a scan of the same folder.
    pub fn known(&self) -> impl FnMut(&str, &FileStat) -> Result<Option<Known>> + '_ {
        let mut next = 0;
        move |path, stat| {
            while next < self.items.len() && compare_paths(self.items.path(next), path).is_lt() {
                next += 1;
            }
            let same = next < self.items.len() && self.items.path(next) == path && self.items.stat(next) == Some(stat);
            Ok(if same { self.contents[next as usize].map(Known::Is) } else { None })
        }
    }

    /// Returns the files that have not been read, in path order.
    pub fn unread(&self) -> Vec<u32> {
        (0..self.items.len()).filter(|&n| self.contents[n as usize].is_none() && self.items.stat(n).is_some()).collect()
    }

    /// Makes item `number` a manifest entry; every file must have been read.
    pub fn entry(&self, number: u32) -> Result<Entry> {
        let path = SafePath::parse(self.items.path(number).as_bytes())?;
        let kind = match self.items.items[number as usize].kind {
            ItemKind::File(stat) => {
                let Content { digest, chunks } =
                    self.contents[number as usize].ok_or_else(|| refused(path.as_str().as_bytes(), "it has not been read"))?;
                EntryKind::File { size: stat.size, digest, chunks }
            }
            ItemKind::Folder => EntryKind::Folder,
            ItemKind::Symlink { target_len } => {
                EntryKind::Symlink { target: LinkTarget::parse(&path, self.items.target(number, target_len).as_bytes())? }
            }
        };
        Ok(Entry { path, kind, attributes: Attributes { mode: self.items.mode(number) } })
    }
}

/// How many threads help to walk.
fn helpers(options: &Options) -> usize {
    options.threads() - 1
}

struct Scan<'a, 'k> {
    tree: Tree,
    check: PlatformCheck,
    progress: &'a Progress,
    known: &'a mut Ask<'k>,
}

impl Visitor for Scan<'_, '_> {
    fn names(&mut self, folder: &str, names: &Names) -> Result<()> {
        self.check.folder(folder, names.len(), &|at| names.get(at))
    }

    fn found(&mut self, found: Found<'_>) -> Result<()> {
        self.progress.check()?;
        self.tree.items.push(&found)?;
        let mut content = None;
        match found.kind {
            FoundKind::File(stat) => {
                self.progress.files_total.fetch_add(1, Relaxed);
                self.progress.bytes_total.fetch_add(stat.size, Relaxed);
                match (self.known)(found.path, &stat)? {
                    Some(Known::Is(known)) => {
                        content = Some(known);
                        self.progress.files_done.fetch_add(1, Relaxed);
                        self.progress.bytes_done.fetch_add(stat.size, Relaxed);
                    }
                    Some(Known::Was(claimed)) if claimed.chunks > 1 && self.tree.claims.len() < CLAIMS_MAX => {
                        self.tree.claims.insert(self.tree.items.len() - 1, claimed);
                    }
                    _ => {}
                }
            }
            FoundKind::Symlink(target) => {
                // The push above has refused a target that is not UTF-8.
                self.check.link(found.path, &String::from_utf8_lossy(target))?;
            }
            FoundKind::Folder => {}
        }
        self.tree.contents.push(content);
        Ok(())
    }
}

struct Compare<'a> {
    items: &'a Items,
    progress: &'a Progress,
    next: u32,
    change: Option<Change>,
}

impl Visitor for Compare<'_> {
    fn names(&mut self, _folder: &str, _names: &Names) -> Result<()> {
        Ok(())
    }

    fn found(&mut self, found: Found<'_>) -> Result<()> {
        self.progress.check()?;
        if self.change.is_none() {
            self.change = self.items.difference(self.next, &found).map(|why| Change { path: found.path.into(), why });
            self.next += 1;
        }
        Ok(())
    }
}
