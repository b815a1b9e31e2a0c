//! The switch journal: what turns the installed tree into the new one, written durably before the first step, rolled forward after a crash.
//!
//! ```text
//! header: magic "CNSJ" | u16 major | u8 hash | u8 zero | u16 required | u16 optional | 32 manifest id | u16 length | destination
//! steps:  u8 kind | u16 length | path | u32 argument (entry number or permission bits, else zero)
//! end:    u8 zero | u64 steps | 32 BLAKE3 (derive-key) of all before it
//! ```
//! Every step may be done again after it has been done: a step that finds its work done is satisfied.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::chunk::fields;
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::ManifestId;

use super::steps::{Hands, Step};

/// The journal's name in the work folder; while it is there, no version counts as installed.
pub(super) const SWITCH_FILE: &str = "switch";
const PART_FILE: &str = "switch.part";

const START: [u8; fields::START_BYTES] = fields::start(*b"CNSJ", 0);
const CONTEXT: &str = "consign 2026-11 v1 switch journal";
const TEXT_BYTES_MAX: usize = 4096;

/// Writes a journal step by step under a temporary name.
#[derive(Debug)]
pub(super) struct SwitchWriter {
    out: BufWriter<File>,
    hash: blake3::Hasher,
    steps: u64,
    work: PathBuf,
}

impl SwitchWriter {
    /// Starts the journal of the switch of `dest` to `manifest`.
    pub(super) fn create(work: &Path, dest: &Path, manifest: ManifestId) -> Result<Self> {
        let path = work.join(PART_FILE);
        let out = BufWriter::with_capacity(1 << 16, File::create(&path).at("create", &path)?);
        let mut writer = Self { out, hash: blake3::Hasher::new_derive_key(CONTEXT), steps: 0, work: work.to_path_buf() };
        let mut header = START.to_vec();
        header.extend_from_slice(manifest.as_bytes());
        text(&mut header, dest.as_os_str().as_bytes())?;
        writer.write(&header)?;
        Ok(writer)
    }

    /// Appends a step.
    pub(super) fn push(&mut self, step: Step, path: &str) -> Result<()> {
        let (kind, argument) = step.to_wire();
        let mut bytes = vec![kind];
        text(&mut bytes, path.as_bytes())?;
        bytes.extend_from_slice(&argument.to_le_bytes());
        self.steps += 1;
        self.write(&bytes)
    }

    /// Ends the journal and makes it durable: from now on the switch will be finished, by whoever comes next.
    pub(super) fn commit(mut self) -> Result<()> {
        let mut end = vec![0];
        end.extend_from_slice(&self.steps.to_le_bytes());
        self.write(&end)?;
        let sum = *self.hash.finalize().as_bytes();
        let path = self.work.join(PART_FILE);
        self.out.write_all(&sum).at("write", &path)?;
        let file = self.out.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", &path)?;
        file.sync_all().at("sync", &path)?;
        fsx::rename_durable(&path, &self.work.join(SWITCH_FILE))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes).at("write", self.work.join(PART_FILE))
    }
}

fn text(out: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    let len = u16::try_from(text.len()).ok().filter(|_| text.len() <= TEXT_BYTES_MAX);
    let len = len.ok_or_else(|| Error::Limit {
        what: format!("the path {}", String::from_utf8_lossy(text)),
        limit: format!("{TEXT_BYTES_MAX} bytes"),
    })?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text);
    Ok(())
}

/// A journal found in a work folder, checked whole.
#[derive(Debug)]
pub(super) struct Switch {
    path: PathBuf,
    pub(super) manifest: ManifestId,
    pub(super) dest: PathBuf,
}

impl Switch {
    /// Finds the journal of an interrupted switch; a half-written one was never begun and is removed.
    pub(super) fn find(work: &Path) -> Result<Option<Self>> {
        let part = work.join(PART_FILE);
        match fs::remove_file(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", &part)?,
            _ => {}
        }
        Self::open(work)
    }

    /// Opens the journal in `work`, `None` if there is none.
    pub(super) fn open(work: &Path) -> Result<Option<Self>> {
        let path = work.join(SWITCH_FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at("open", &path)?,
        };
        let mut reader = Reader::new(file, path.clone());
        let (manifest, dest) = reader.header()?;
        while reader.step()?.is_some() {}
        Ok(Some(Self { path, manifest, dest }))
    }

    /// Takes every step; `after` is called after each with its number (tests stop there).
    pub(super) fn perform(&self, after: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let mut reader = Reader::new(File::open(&self.path).at("open", &self.path)?, self.path.clone());
        reader.header()?;
        let mut hands = Hands::open(&self.dest)?;
        while let Some((step, path)) = reader.step()? {
            hands.take(step, &path)?;
            after(reader.steps)?;
        }
        hands.sync()
    }

    /// Removes the journal: the switch is over.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).at("remove", &self.path)?;
        fsx::sync_dir(fsx::folder_of(&self.path))
    }
}

/// Reads a journal, checking it as it goes; the checksum is compared at the end.
struct Reader {
    input: BufReader<File>,
    hash: blake3::Hasher,
    steps: u64,
    path: PathBuf,
}

impl Reader {
    fn new(file: File, path: PathBuf) -> Self {
        Self { input: BufReader::with_capacity(1 << 16, file), hash: blake3::Hasher::new_derive_key(CONTEXT), steps: 0, path }
    }

    fn header(&mut self) -> Result<(ManifestId, PathBuf)> {
        if self.take()? != START {
            return Err(self.damaged("its header is unknown"));
        }
        let manifest = ManifestId(self.take()?);
        let dest = self.text()?;
        Ok((manifest, PathBuf::from(std::ffi::OsString::from_vec(dest))))
    }

    /// Reads the next step, `None` at the verified end.
    fn step(&mut self) -> Result<Option<(Step, String)>> {
        let [kind] = self.take()?;
        if kind == 0 {
            return self.end().map(|()| None);
        }
        let path = String::from_utf8(self.text()?).map_err(|_| self.damaged("a path is not UTF-8"))?;
        let argument = u32::from_le_bytes(self.take()?);
        self.steps += 1;
        let step = Step::from_wire(kind, argument).ok_or_else(|| self.damaged("a step is unknown"))?;
        Ok(Some((step, path)))
    }

    fn end(&mut self) -> Result<()> {
        let steps = u64::from_le_bytes(self.take()?);
        let sum = *self.hash.finalize().as_bytes();
        if steps != self.steps || self.take::<32>()? != sum {
            return Err(self.damaged("its checksum differs"));
        }
        Ok(())
    }

    fn text(&mut self) -> Result<Vec<u8>> {
        let len = usize::from(u16::from_le_bytes(self.take()?));
        if len > TEXT_BYTES_MAX {
            return Err(self.damaged("a path is too long"));
        }
        let mut out = vec![0; len];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        match self.input.read_exact(out) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(self.damaged("it ends early")),
            other => other.at("read", &self.path),
        }?;
        self.hash.update(out);
        Ok(())
    }

    fn damaged(&self, why: &str) -> Error {
        Error::damaged(format!("switch journal {}", self.path.display()), format!("{why}; remove it and install again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let dest = Path::new("/opt/an äpp");
        let steps = [
            (Step::Mode(0o755), "shut"),
            (Step::Remove, "gone/file"),
            (Step::RemoveFolder, "gone"),
            (Step::MakeFolder, "neu/größer"),
            (Step::Replace(0x0102_0304), "neu/größer/file"),
            (Step::Mode(0o500), ""),
        ];
        let mut writer = SwitchWriter::create(dir.path(), dest, ManifestId([9; 32])).unwrap();
        for (step, path) in steps {
            writer.push(step, path).unwrap();
        }
        writer.commit().unwrap();
        let path = dir.path().join(SWITCH_FILE);
        crate::golden::assert_same("switch-v1.bin", &path);

        fs::copy(crate::golden::path("switch-v1.bin"), &path).unwrap();
        let found = Switch::open(dir.path()).unwrap().unwrap();
        assert_eq!((found.manifest, found.dest.as_path()), (ManifestId([9; 32]), dest));
        let mut reader = Reader::new(File::open(&path).unwrap(), path);
        reader.header().unwrap();
        let read: Vec<_> = std::iter::from_fn(|| reader.step().unwrap()).collect();
        assert_eq!(read, steps.map(|(step, path)| (step, path.to_owned())));
    }
}
