//! The source tree as scanned, and what has been read of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use super::contents::{Content, Contents, ContentsWriter};
use super::items::{FOLDER, Items, ItemsWriter};
use super::source::{FileStat, Root};
use super::walk::{Found, FoundKind, Names, Visitor, walk};
use super::{Options, Progress};
use crate::error::Result;
use crate::manifest::entry::{Attributes, Entry, EntryKind, LinkTarget};
use crate::manifest::path::{SafePath, compare_paths, refused};
use crate::manifest::platform::PlatformCheck;

/// What was found to have changed under the reader.
#[derive(Debug)]
pub(super) struct Change {
    pub path: String,
    pub why: &'static str,
}

/// A scanned tree and what is known of its files.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Where what is much is put down.
    pub folder: PathBuf,
    pub items: Items,
    /// Of files that were known when they were scanned.
    pub known: Contents,
    /// What files of several chunks that are to be read are said to hold.
    pub claims: Contents,
    /// Of files that have been read.
    pub read: Contents,
}

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
    /// Scans `root`; what `known` says of a file is not read again. Puts down what is much in `folder`.
    pub fn scan(root: &Root, options: &Options, folder: &Path, known: &mut Ask<'_>) -> Result<Self> {
        let progress = &options.progress;
        for counter in [&progress.files_total, &progress.files_done, &progress.bytes_total, &progress.bytes_done] {
            counter.store(0, Relaxed);
        }
        let check = PlatformCheck::new(options.platforms);
        let (items, contents) = (ItemsWriter::in_folder(folder), ContentsWriter::in_folder(folder));
        let claims = ContentsWriter::in_folder(folder);
        let mut scan = Scan { folder, items, contents, claims, next: 0, check, progress, known };
        walk(root, folder, helpers(options), &mut scan)?;
        let (items, known, claims) = (scan.items.finish()?, scan.contents.finish(folder)?, scan.claims.finish(folder)?);
        Ok(Self { folder: folder.to_owned(), items, known, claims, read: Contents::default() })
    }

    /// A tree of the one file `name` in `root`.
    pub fn of_file(root: &Root, name: &str) -> Result<Self> {
        let mut items = ItemsWriter::in_folder(Path::new("."));
        if let Some(stat) = root.stat(name)? {
            items.push(&Found { path: name, mode: 0, kind: FoundKind::File(stat) })?;
        }
        Ok(Self { items: items.finish()?, ..Self::default() })
    }

    /// Scans `root` again and says what differs from this tree.
    pub fn changed(&self, root: &Root, options: &Options) -> Result<Option<Change>> {
        let progress = &options.progress;
        let mut compare = Compare { items: &self.items, progress, next: 0, change: None };
        walk(root, &self.folder, helpers(options), &mut compare)?;
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
            let same = next < self.items.len() && self.items.path(next) == path && self.items.stat(next) == Some(*stat);
            Ok(if same { self.content(next).map(Known::Is) } else { None })
        }
    }

    /// Returns what is known of a file.
    pub fn content(&self, number: u32) -> Option<Content> {
        self.known.get(number).or_else(|| self.read.get(number))
    }

    /// Iterates the files of which nothing is known, in path order.
    pub fn unread(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.items.len()).filter(|&number| self.items.stat(number).is_some() && self.content(number).is_none())
    }

    /// Makes item `number` a manifest entry; every file must have been read.
    pub fn entry(&self, number: u32) -> Result<Entry> {
        let path = SafePath::parse(self.items.path(number).as_bytes())?;
        let kind = if let Some(stat) = self.items.stat(number) {
            let unread = || refused(path.as_str().as_bytes(), "it has not been read");
            let Content { digest, chunks } = self.content(number).ok_or_else(unread)?;
            EntryKind::File { size: stat.size, digest, chunks }
        } else if self.items.kind(number) == FOLDER {
            EntryKind::Folder
        } else {
            EntryKind::Symlink { target: LinkTarget::parse(&path, self.items.target(number).as_bytes())? }
        };
        Ok(Entry { path, kind, attributes: Attributes { mode: self.items.mode(number) } })
    }
}

/// How many threads help to walk: whoever visits what they list lists too where it would wait.
fn helpers(options: &Options) -> usize {
    options.threads() - 1
}

struct Scan<'a, 'k> {
    folder: &'a Path,
    items: ItemsWriter,
    contents: ContentsWriter,
    claims: ContentsWriter,
    /// Number of the next item.
    next: u32,
    check: PlatformCheck,
    progress: &'a Progress,
    known: &'a mut Ask<'k>,
}

impl Visitor for Scan<'_, '_> {
    fn names(&mut self, folder: &str, names: &Names) -> Result<()> {
        self.check.folder(folder, names.len(), &|at| names.get(at), self.folder)
    }

    fn found(&mut self, found: Found<'_>) -> Result<()> {
        self.progress.check()?;
        self.items.push(&found)?;
        match found.kind {
            FoundKind::File(stat) => {
                self.progress.files_total.fetch_add(1, Relaxed);
                self.progress.bytes_total.fetch_add(stat.size, Relaxed);
                match (self.known)(found.path, &stat)? {
                    Some(Known::Is(content)) => {
                        self.contents.push(self.next, content)?;
                        self.progress.files_done.fetch_add(1, Relaxed);
                        self.progress.bytes_done.fetch_add(stat.size, Relaxed);
                    }
                    Some(Known::Was(content)) if content.chunks > 1 => self.claims.push(self.next, content)?,
                    _ => {}
                }
            }
            FoundKind::Symlink(target) => {
                // The push above has refused a target that is not UTF-8.
                self.check.link(found.path, &String::from_utf8_lossy(target))?;
            }
            FoundKind::Folder => {}
        }
        self.next += 1;
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
