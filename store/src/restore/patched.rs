//! Files made by a patch: written straight into the staging folder, cut and hashed on the way, believed like everything staged: after
//! [`Assembly::take_local`] has hashed them.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::delta::{self, Limits, ReadAt};
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::FileDigest;
use crate::manifest::stream::RecipeStream;

use super::Seed;
use super::assembly::Assembly;

/// Bytes of a staged file read at once.
const READ_BYTES: usize = 1 << 20;

impl Assembly {
    /// Says whether any of the files `targets` (entry numbers) is not staged whole: then a patch that makes them is of use.
    ///
    /// # Errors
    /// There is too little space for those; nothing was fetched or written yet.
    pub fn wants_patched(&self, targets: &[u32]) -> Result<bool> {
        let lacking = targets.iter().filter(|entry| !self.is_staged(**entry));
        let sizes: Vec<u64> = lacking.filter_map(|entry| self.manifest().file_of(*entry)).map(|(size, ..)| size).collect();
        if sizes.is_empty() {
            return Ok(false);
        }
        self.staging.check_space(sizes.iter().sum())?;
        Ok(true)
    }

    /// Makes the files `targets` by a patch from the joined files `bases` of `seed`, and returns their raw bytes.
    ///
    /// Call it before [`Assembly::missing_recipes`]: what it makes needs no recipe. The patch is not trusted: a file whose digest is not the
    /// manifest's is an error, and is not used.
    ///
    /// # Errors
    /// The patch is damaged, made of something else, or for something else: fetch records instead. I/O.
    pub fn take_patch(&mut self, patch: &mut dyn Read, targets: &[u32], seed: &Seed, bases: &[u32]) -> Result<u64> {
        let base = JoinedFiles::of(seed, bases)?;
        let mut makers = Makers { assembly: self, targets: targets.iter(), current: None, made: 0 };
        let mut scratch = || self.staging.scratch();
        delta::apply_joined(patch, &Limits::default(), (&base, base.len), &mut scratch, &mut |bytes| makers.push(bytes))?;
        let made = makers.finish()?;
        self.resumed = true;
        self.patch_bytes += made;
        Ok(made)
    }

    fn is_staged(&self, entry: u32) -> bool {
        let Some((size, digest, _)) = self.manifest().file_of(entry) else { return true };
        let name = self.staging.name(entry, self.manifest().path_of(entry));
        let Some(file) = self.staging.read(&name).filter(|file| file.metadata().is_ok_and(|stat| stat.len() == size)) else {
            return false;
        };
        has_digest(&file, digest)
    }
}

/// Says whether the rest of `file` is content of `digest`.
pub(super) fn has_digest(mut file: &File, digest: FileDigest) -> bool {
    let mut stream = RecipeStream::default();
    let mut part = vec![0; READ_BYTES];
    loop {
        match file.read(&mut part) {
            Ok(0) => break,
            Ok(len) if stream.push(&part[..len], &mut |_, _, _| Ok(())).is_ok() => {}
            _ => return false,
        }
    }
    stream.finish(&mut |_, _, _| Ok(())).is_ok_and(|built| built.digest == digest)
}

fn useless(why: &str) -> Error {
    Error::damaged("the patch", format!("{why}; the records are fetched instead"))
}

/// Takes the joined target of a patch apart into its files.
struct Makers<'a, 't> {
    assembly: &'a Assembly,
    targets: std::slice::Iter<'t, u32>,
    current: Option<(u32, u64, RecipeStream)>,
    made: u64,
}

impl Makers<'_, '_> {
    fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (entry, left, mut stream) = match self.current.take() {
                Some(current) => current,
                None => self.next()?,
            };
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (front, rest) = bytes.split_at(now);
            stream.push(front, &mut |offset, _, chunk| self.write(entry, offset, chunk))?;
            bytes = rest;
            let left = left - now as u64;
            if left == 0 {
                self.complete(entry, stream)?;
            } else {
                self.current = Some((entry, left, stream));
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(u32, u64, RecipeStream)> {
        let entry = *self.targets.next().ok_or_else(|| useless("it makes more than was asked for"))?;
        let file = self.assembly.manifest().file_of(entry).filter(|(size, ..)| *size > 0);
        let (size, ..) = file.ok_or_else(|| useless("it makes a file that the version does not have"))?;
        Ok((entry, size, RecipeStream::default()))
    }

    fn write(&self, entry: u32, offset: u64, chunk: &[u8]) -> Result<()> {
        let manifest = self.assembly.manifest();
        let name = self.assembly.staging.name(entry, manifest.path_of(entry));
        match manifest.file_of(entry) {
            Some((_, _, 1)) => self.assembly.staging.write_whole(&name, manifest.mode_of(entry), chunk),
            _ => self.assembly.staging.write_at(entry, &name, offset, chunk),
        }
    }

    fn complete(&mut self, entry: u32, stream: RecipeStream) -> Result<()> {
        let built = stream.finish(&mut |offset, _, chunk| self.write(entry, offset, chunk))?;
        if self.assembly.manifest().file_of(entry).map(|(_, digest, _)| digest) != Some(built.digest) {
            let path = self.assembly.manifest().path_of(entry);
            return Err(useless(&format!("what it makes of {path} has another digest")));
        }
        for page in &built.pages {
            self.assembly.add_page(page.id(), page.bytes())?;
        }
        self.made += built.size;
        Ok(())
    }

    fn finish(mut self) -> Result<u64> {
        if self.current.is_some() || self.targets.next().is_some() {
            return Err(useless("it makes less than was asked for"));
        }
        Ok(self.made)
    }
}

/// Several files of a seed as one content, read by position.
struct JoinedFiles<'a> {
    seed: &'a Seed,
    /// Position of each file's first byte, and its entry.
    parts: Vec<(u64, u32)>,
    len: u64,
    /// The file that was read last.
    open: RefCell<Option<(u32, File)>>,
}

impl<'a> JoinedFiles<'a> {
    fn of(seed: &'a Seed, entries: &[u32]) -> Result<Self> {
        let mut parts = Vec::with_capacity(entries.len());
        let mut len = 0;
        for entry in entries {
            let file = seed.manifest.file_of(*entry);
            let (size, ..) = file.ok_or_else(|| useless("it is made of files that the installed version does not have"))?;
            parts.push((len, *entry));
            len += size;
        }
        Ok(Self { seed, parts, len, open: RefCell::default() })
    }

    fn path(&self, entry: u32) -> PathBuf {
        self.seed.root.join(self.seed.manifest.path_of(entry))
    }
}

impl ReadAt for JoinedFiles<'_> {
    fn read_exact_at(&self, mut bytes: &mut [u8], mut offset: u64) -> Result<()> {
        let mut part = self.parts.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        while !bytes.is_empty() {
            let (start, entry) = *self.parts.get(part).ok_or_else(|| useless("it reads behind its bases"))?;
            let end = self.parts.get(part + 1).map_or(self.len, |(next, _)| *next);
            let now = usize::try_from(end - offset).unwrap_or(usize::MAX).min(bytes.len());
            if now == 0 {
                return Err(useless("it reads behind its bases"));
            }
            let (front, rest) = std::mem::take(&mut bytes).split_at_mut(now);
            let mut open = self.open.borrow_mut();
            let file = match open.take() {
                Some((opened, file)) if opened == entry => file,
                _ => {
                    let path = self.path(entry);
                    super::verify::open_regular(rustix::fs::CWD, &path)
                        .ok_or_else(|| useless(&format!("{} cannot be read", path.display())))?
                }
            };
            fsx::read_exact_at(&file, front, offset - start).at("read", self.path(entry))?;
            *open = Some((entry, file));
            bytes = rest;
            offset += now as u64;
            part += 1;
        }
        Ok(())
    }
}
