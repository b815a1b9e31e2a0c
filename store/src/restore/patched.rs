//! Files made by a patch: written straight into the staging folder, cut and hashed on the way, believed like everything staged: after
//! [`Assembly::take_local`] has hashed them.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use crate::delta::{self, Limits, Part, ReadAt, Scope, Split, Take, Targets, join_recipes, useless};
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::FileDigest;
use crate::manifest::recipe::BuiltRecipe;
use crate::manifest::stream::RecipeStream;

use super::Seed;
use super::assembly::Assembly;
use super::verify;

/// Bytes of a staged file read at once.
const READ_BYTES: usize = 1 << 20;

impl Assembly {
    /// Says whether anything of what `scope` makes is not staged: then its patch is of use.
    ///
    /// # Errors
    /// There is too little space for that; nothing was fetched or written yet.
    pub fn wants_patched(&self, scope: &Scope) -> Result<bool> {
        let bytes: u64 = match &scope.targets {
            Targets::Files(files) => {
                let lacking = files.iter().filter(|entry| !self.is_staged(**entry));
                lacking.filter_map(|entry| self.manifest().file_of(*entry)).map(|(size, ..)| size).sum()
            }
            Targets::Part(part) if self.is_part_staged(part) => 0,
            Targets::Part(part) => part.len,
        };
        if bytes > 0 {
            self.staging.check_space(bytes)?;
        }
        Ok(bytes > 0)
    }

    /// Makes what `scope` says by a patch from what it says of `seed`, and returns its raw bytes.
    ///
    /// Call it before [`Assembly::missing_recipes`]: what it makes needs no recipe. The patch is not trusted: a file whose digest is not the
    /// manifest's is an error, and is not used; of a part the recipe is kept for [`Assembly::join_parts`]. Several patches may be taken at once.
    ///
    /// # Errors
    /// The patch is damaged, made of something else, or for something else: fetch records instead. I/O.
    pub fn take_patch(&self, patch: &mut (dyn Read + Send), scope: &Scope, seed: &Seed) -> Result<u64> {
        let base = JoinedFiles::of(seed, scope)?;
        let mut split = Split::new(self.manifest(), scope, Staged(self))?;
        let mut scratch = || self.staging.scratch();
        delta::apply_joined(patch, &Limits::default(), (&base, base.len), &mut scratch, &mut |bytes| split.push(bytes))?;
        let (_, made) = split.finish()?;
        self.resumed.store(true, Ordering::Relaxed);
        self.patch_bytes.fetch_add(made, Ordering::Relaxed);
        Ok(made)
    }

    /// Takes the recipes of the files that patches have made part by part: `parts` are all that there are, made or not. A file of which one
    /// was not made is left out, so its recipe is missing.
    ///
    /// # Errors
    /// I/O on the work folder.
    pub fn join_parts(&self, parts: &[Part]) -> Result<()> {
        join_recipes(self.manifest(), parts, &mut |id| self.page(&id), &mut |page| self.add_page(page.id(), page.bytes()))
    }

    fn is_staged(&self, entry: u32) -> bool {
        let Some((size, digest, _)) = self.manifest().file_of(entry) else { return true };
        let name = self.staging.name(entry, self.manifest().path_of(entry));
        let Some(file) = self.staging.read(&name).filter(|file| file.metadata().is_ok_and(|stat| stat.len() == size)) else {
            return false;
        };
        has_digest(&file, digest)
    }

    /// Says whether the chunks of a part that was made are where they belong.
    fn is_part_staged(&self, part: &Part) -> bool {
        if self.manifest().file_of(part.entry).is_none() {
            return true;
        }
        let Some(file) = self.staging.read(&self.staging.name(part.entry, self.manifest().path_of(part.entry))) else {
            return false;
        };
        let (mut offset, mut buffer) = (part.from, Vec::new());
        let walked = delta::lines(part, &mut |id| self.page(&id), &mut |line| {
            verify::read_chunk(&file, offset, line, &mut buffer).ok_or(Error::NoChunk(line.id))?;
            offset = offset.saturating_add(u64::from(line.len));
            Ok(())
        });
        walked.is_ok()
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

/// Writes what a patch makes into the staging folder.
struct Staged<'a>(&'a Assembly);

impl Take for Staged<'_> {
    fn chunk(&mut self, entry: u32, offset: u64, bytes: &[u8]) -> Result<()> {
        let manifest = self.0.manifest();
        let name = self.0.staging.name(entry, manifest.path_of(entry));
        match manifest.file_of(entry) {
            Some((_, _, 1)) => self.0.staging.write_whole(&name, manifest.mode_of(entry), bytes),
            _ => self.0.staging.write_at(entry, &name, offset, bytes),
        }
    }

    fn recipe(&mut self, built: &BuiltRecipe) -> Result<()> {
        built.pages.iter().try_for_each(|page| self.0.add_page(page.id(), page.bytes()))
    }
}

/// Several stretches of a seed's files as one content, read by position.
pub(super) struct JoinedFiles<'a> {
    seed: &'a Seed,
    /// Position of each stretch's first byte, its file's entry, and where it begins there.
    parts: Vec<(u64, u32, u64)>,
    pub(super) len: u64,
    /// The file that was read last.
    open: Mutex<Option<(u32, File)>>,
}

impl<'a> JoinedFiles<'a> {
    pub(super) fn of(seed: &'a Seed, scope: &Scope) -> Result<Self> {
        let mut parts = Vec::with_capacity(scope.bases.len());
        let mut len: u64 = 0;
        for (entry, range) in scope.base_pieces(&seed.manifest)? {
            parts.push((len, entry, range.start));
            len = len.checked_add(range.end - range.start).ok_or_else(|| useless("it is made of too much"))?;
        }
        Ok(Self { seed, parts, len, open: Mutex::default() })
    }

    fn path(&self, entry: u32) -> PathBuf {
        self.seed.root.join(self.seed.manifest.path_of(entry))
    }
}

impl ReadAt for JoinedFiles<'_> {
    fn read_exact_at(&self, mut bytes: &mut [u8], mut offset: u64) -> Result<()> {
        let mut part = self.parts.partition_point(|(start, ..)| *start <= offset).saturating_sub(1);
        while !bytes.is_empty() {
            let (start, entry, from) = *self.parts.get(part).ok_or_else(|| useless("it reads behind its bases"))?;
            let end = self.parts.get(part + 1).map_or(self.len, |(next, ..)| *next);
            let now = usize::try_from(end - offset).unwrap_or(usize::MAX).min(bytes.len());
            if now == 0 {
                return Err(useless("it reads behind its bases"));
            }
            let (front, rest) = std::mem::take(&mut bytes).split_at_mut(now);
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let file = match open.take() {
                Some((opened, file)) if opened == entry => file,
                _ => {
                    let path = self.path(entry);
                    super::verify::open_regular(rustix::fs::CWD, &path)
                        .ok_or_else(|| useless(&format!("{} cannot be read", path.display())))?
                }
            };
            fsx::read_exact_at(&file, front, from + (offset - start)).at("read", self.path(entry))?;
            *open = Some((entry, file));
            bytes = rest;
            offset += now as u64;
            part += 1;
        }
        Ok(())
    }
}
