//! What a patch is made of and what it makes: whole files joined, or one part of a file that is too large for one patch.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::id::FileDigest;
use crate::manifest::file::ManifestFile;

/// What a patch of a set reads and makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// What it makes.
    pub targets: Targets,
    /// What it is made of, joined in this order.
    pub bases: Vec<Span>,
}

/// What a patch makes, of the target version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Whole files by entry number, joined in this order.
    Files(Vec<u32>),
    /// A part of one file.
    Part(Part),
}

/// A part of a file, from one of its chunks to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Entry number of the file.
    pub entry: u32,
    /// Where it begins in the file, bytes.
    pub from: u64,
    /// Its length, bytes.
    pub len: u64,
    /// Its chunks.
    pub chunks: u32,
    /// The digest that a file with these bytes would have.
    pub digest: FileDigest,
}

/// A stretch of a file of the base version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// All of the file with this entry number.
    File(u32),
    /// Some of it.
    Part {
        /// Entry number of the file.
        entry: u32,
        /// Where the stretch begins, bytes.
        from: u64,
        /// Its length, bytes.
        len: u64,
    },
}

impl Scope {
    /// Returns the entry numbers of the files that it makes, wholly or in part.
    #[must_use]
    pub fn entries(&self) -> &[u32] {
        match &self.targets {
            Targets::Files(files) => files,
            Targets::Part(part) => std::slice::from_ref(&part.entry),
        }
    }

    /// Returns the part that it makes, if it makes no whole files.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        match self.targets {
            Targets::Files(_) => None,
            Targets::Part(part) => Some(part),
        }
    }

    /// Returns the raw bytes that it makes of `target`, the target version.
    #[must_use]
    pub fn raw_bytes(&self, target: &ManifestFile) -> u64 {
        match &self.targets {
            Targets::Files(files) => files.iter().filter_map(|file| target.file_of(*file)).map(|(size, ..)| size).sum(),
            Targets::Part(part) => part.len,
        }
    }

    /// Returns the digest of all that it makes, joined, of `target`; `None` if that is not known without reading it.
    pub(crate) fn digest(&self, target: &ManifestFile) -> Option<FileDigest> {
        match &self.targets {
            Targets::Files(files) => digest_of_one(files, target),
            Targets::Part(part) => Some(part.digest),
        }
    }

    /// Returns the digest of all that it is made of, joined, of `base`; `None` if that is not known without reading it.
    pub(crate) fn base_digest(&self, base: &ManifestFile) -> Option<FileDigest> {
        match self.bases[..] {
            [Span::File(entry)] => digest_of_one(&[entry], base),
            _ => None,
        }
    }

    /// Returns what it makes of `target`, in order: entry numbers and ranges of bytes, none of them empty or outside its file.
    pub(crate) fn pieces(&self, target: &ManifestFile) -> Result<Vec<(u32, Range<u64>)>> {
        let wrong = || useless("it makes files that the version does not have");
        let size_of = |entry: u32| target.file_of(entry).filter(|(size, ..)| *size > 0).ok_or_else(wrong);
        match &self.targets {
            Targets::Files(files) => files.iter().map(|file| Ok((*file, 0..size_of(*file)?.0))).collect(),
            Targets::Part(part) => {
                let (size, _, chunks) = size_of(part.entry)?;
                let end = part.from.checked_add(part.len).filter(|end| part.len > 0 && *end <= size && chunks > 1);
                Ok(vec![(part.entry, part.from..end.ok_or_else(wrong)?)])
            }
        }
    }

    /// Returns what it is made of, of `base`: entry numbers and ranges of bytes within their files.
    pub(crate) fn base_pieces(&self, base: &ManifestFile) -> Result<Vec<(u32, Range<u64>)>> {
        self.bases.iter().map(|span| span.piece(base)).collect()
    }
}

impl Span {
    /// Returns entry number and range of bytes, within its file.
    pub(crate) fn piece(self, base: &ManifestFile) -> Result<(u32, Range<u64>)> {
        let wrong = || useless("it is made of files that the base version does not have");
        let (entry, range) = match self {
            Self::File(entry) => (entry, None),
            Self::Part { entry, from, len } => (entry, Some((from, from.checked_add(len).ok_or_else(wrong)?))),
        };
        let (size, ..) = base.file_of(entry).ok_or_else(wrong)?;
        let (from, end) = range.unwrap_or((0, size));
        if end <= size { Ok((entry, from..end)) } else { Err(wrong()) }
    }
}

/// The digest of files joined if they are one.
fn digest_of_one(entries: &[u32], of: &ManifestFile) -> Option<FileDigest> {
    if let [entry] = entries { of.file_of(*entry).map(|(_, digest, _)| digest) } else { None }
}

/// Builds the error of a patch that cannot be used.
pub(crate) fn useless(why: &str) -> Error {
    Error::damaged("the patch", format!("{why}; the records are fetched instead"))
}
