//! The order in which a version's content is laid down and counted: by likeness (extension, file name, path), bytewise.

use std::cmp::Ordering;
use std::ops::Range;
use std::path::Path;

use crate::error::{Error, Result};
use crate::manifest::file::ManifestFile;
use crate::spill::{self, Words, WordsWriter};

/// One file's place in the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Entry number in the manifest (path order).
    pub entry: u32,
    /// Chunk ordinal of the file's first chunk.
    pub first: u32,
    /// How many chunks the file has.
    pub chunks: u32,
}

impl Placed {
    /// Ordinals of the file's chunks.
    #[must_use]
    pub fn ordinals(&self) -> Range<u32> {
        self.first..self.first + self.chunks
    }
}

/// Files of a manifest in likeness order with their chunk ordinals; computable by anyone from the manifest alone.
///
/// The ordinal of a chunk is its position when the chunk lists of all files are joined in this order; repeated content has an ordinal
/// each time. 8 bytes a file and 4 bytes an entry that is none, of which only a fixed part is in memory.
#[derive(Debug)]
pub struct Layout {
    /// Entry numbers of the files in likeness order.
    order: Words<1>,
    /// First ordinal of the file at the same position of `order`; one more at the end, the number of chunks.
    firsts: Words<1>,
    /// Entry numbers of what is no file, ascending.
    others: Words<1>,
}

/// Compares two paths by likeness: (extension, file name, whole path), bytewise. The extension is what follows the last dot of the file
/// name, nothing if there is none or the dot is its first character.
#[must_use]
pub fn compare_likeness(a: &str, b: &str) -> Ordering {
    Parts::of(a).cmp(&Parts::of(b))
}

/// Sorts `numbers` by the likeness of the paths that `path_of` gives, which all differ; puts down what is much in `folder`.
pub(crate) fn sorted_by_likeness<'a>(
    numbers: impl Iterator<Item = u32>,
    path_of: impl Fn(u32) -> &'a str,
    folder: &Path,
) -> Result<Words<1>> {
    spill::sorted(numbers.map(|number| [number]), |[number]| Parts::of(path_of(number)), folder)
}

/// A path as it is compared by likeness.
#[derive(PartialEq, Eq)]
struct Parts<'a> {
    path: &'a [u8],
    name_at: u32,
    extension_at: u32,
}

impl<'a> Parts<'a> {
    fn of(path: &'a str) -> Self {
        let path = path.as_bytes();
        let name_at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let extension_at = match path[name_at..].iter().rposition(|&byte| byte == b'.') {
            None | Some(0) => path.len(),
            Some(dot) => name_at + dot + 1,
        };
        let short = |at: usize| u32::try_from(at).expect("a path has at most PATH_BYTES_MAX bytes");
        Self { path, name_at: short(name_at), extension_at: short(extension_at) }
    }

    fn key(&self) -> [&'a [u8]; 3] {
        [&self.path[self.extension_at as usize..], &self.path[self.name_at as usize..], self.path]
    }
}

impl Ord for Parts<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Parts<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Layout {
    /// Sorts the files of a manifest.
    ///
    /// # Errors
    /// Over the limit of 2³² chunks.
    pub fn of(manifest: &ManifestFile) -> Result<Self> {
        let totals = manifest.totals();
        let over = |what: &str| Error::Limit { what: format!("manifest {} ({what})", manifest.id()), limit: "2³²".to_owned() };
        let entries = u32::try_from(totals.entries).map_err(|_| over("entries"))?;
        let folder = manifest.folder();
        let (mut others, mut pushed) = (WordsWriter::in_folder(folder), Ok(()));
        let files = (0..entries).filter(|&number| {
            let is_file = manifest.file_of(number).is_some();
            if !is_file && pushed.is_ok() {
                pushed = others.push([number]);
            }
            is_file
        });
        let order = sorted_by_likeness(files, |number| manifest.path_of(number), folder)?;
        pushed?;

        let mut firsts = WordsWriter::in_folder(folder);
        let mut next = 0_u32;
        for [entry] in order.from(0) {
            firsts.push([next])?;
            let chunks = manifest.file_of(entry).map_or(0, |(_, _, chunks)| chunks);
            next = next.checked_add(chunks).ok_or_else(|| over("chunks"))?;
        }
        firsts.push([next])?;
        Ok(Self { order, firsts: firsts.finish()?, others: others.finish()? })
    }

    /// Number of chunks (ordinals run from 0 up to it).
    #[must_use]
    pub fn chunks(&self) -> u32 {
        self.first(self.order.len()).unwrap_or(0)
    }

    /// Number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Says whether there is no file at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.len() == 0
    }

    /// Returns the file at `position` of the layout order; `None` past the end.
    #[must_use]
    pub fn at(&self, position: usize) -> Option<Placed> {
        let [entry] = self.order.get(position)?;
        let first = self.first(position)?;
        Some(Placed { entry, first, chunks: self.first(position + 1)? - first })
    }

    fn first(&self, position: usize) -> Option<u32> {
        self.firsts.get(position).map(|[first]| first)
    }

    /// Iterates the files in layout order.
    pub fn files(&self) -> impl Iterator<Item = Placed> + '_ {
        (0..self.order.len()).filter_map(|position| self.at(position))
    }

    /// Iterates the entry numbers of what is no file, ascending.
    pub(crate) fn others(&self) -> impl Iterator<Item = u32> + '_ {
        self.others.from(0).map(|[number]| number)
    }

    /// Finds the file that chunk `ordinal` belongs to.
    #[must_use]
    pub fn file_at(&self, ordinal: u32) -> Option<Placed> {
        self.at(self.position_of(ordinal)?)
    }

    /// Finds the position of the file that chunk `ordinal` belongs to.
    pub(crate) fn position_of(&self, ordinal: u32) -> Option<usize> {
        // The last file that starts at or before the ordinal: empty files before it start there too, but hold nothing.
        (ordinal < self.chunks()).then(|| self.firsts.partition_point(|[first]| first <= ordinal) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_extension_then_name_then_path() {
        let mut paths = ["b/x.js", "a/x.js", "z/a.js", "Makefile", "q/.gitignore", "a.b.c/file", "m.tar.gz", "x.", "n.css"];
        paths.sort_by(|a, b| compare_likeness(a, b));
        assert_eq!(paths, ["q/.gitignore", "Makefile", "a.b.c/file", "x.", "n.css", "m.tar.gz", "z/a.js", "a/x.js", "b/x.js"]);
    }

    #[test]
    fn likeness_is_bytewise_and_total() {
        assert_eq!(compare_likeness("a.É", "a.z"), Ordering::Greater);
        assert_eq!(compare_likeness("a/b", "a/b"), Ordering::Equal);
        assert_eq!(compare_likeness("b.Z", "a.a"), Ordering::Less);
    }
}
