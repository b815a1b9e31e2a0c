//! The manifest of what was read: written to a file, named, and stored like any file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Progress;
use super::contents::Content;
use super::fill::Sink;
use super::pipeline::{self, Counts};
use super::source::Root;
use super::tree::Tree;
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::id::ManifestId;
use crate::manifest::codec::{ManifestWriter, Totals};
use crate::manifest::file::MANIFEST_BYTES_MAX;
use crate::store::Store;

/// A manifest that has been written and named.
pub(super) struct Written {
    pub id: ManifestId,
    pub sha256: [u8; 32],
    pub len: u64,
    pub totals: Totals,
}

/// Writes bytes on and hashes and counts them as they pass.
struct Hashed<W: Write> {
    out: W,
    sha256: Sha256,
    len: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes the manifest of `tree` to `path` and names it.
pub(super) fn write_manifest(tree: &Tree, path: &Path, workers: usize) -> Result<Written> {
    let temp = fsx::temp_beside(path);
    let written = write_into(tree, &temp, &mut Sink::Pages(HashMap::new()), workers, &mut Counts::default())
        .and_then(|written| fs::rename(&temp, path).at("rename to", path).map(|()| written));
    if written.is_err() {
        // Best effort: the error to report is the first one.
        let _ = fs::remove_file(&temp);
    }
    written
}

/// Makes the folder for temporary files of `store`, and clears it.
pub(super) fn work_folder(store: &Store) -> Result<PathBuf> {
    let folder = store.dir().join("tmp");
    fs::create_dir_all(&folder).at("create folder", &folder)?;
    remove_stale(&folder)?;
    Ok(folder)
}

/// Stores the manifest of `tree`, which is written to a file in `folder` first.
pub(super) fn store_manifest(store: &Store, folder: &Path, tree: &Tree, workers: usize, counts: &mut Counts) -> Result<Written> {
    let temp = fsx::temp_beside(&folder.join("manifest"));
    let written = write_into(tree, &temp, &mut Sink::Store(store), workers, counts);
    let removed = fs::remove_file(&temp).at("remove", &temp);
    let written = written?;
    removed.map(|()| written)
}

/// Removes what earlier processes left when they were killed; this one's own files may be in use by another ingest.
fn remove_stale(folder: &Path) -> Result<()> {
    let own = format!("-{}-", std::process::id());
    for entry in fs::read_dir(folder).at("read folder", folder)? {
        let path = entry.at("read folder", folder)?.path();
        let is_own = path.file_name().is_some_and(|name| name.to_string_lossy().contains(&own));
        if fsx::is_temp(&path) && !is_own {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

fn write_into(tree: &Tree, path: &Path, sink: &mut Sink<'_>, workers: usize, counts: &mut Counts) -> Result<Written> {
    let file = BufWriter::with_capacity(256 << 10, File::create(path).at("create", path)?);
    let mut writer = ManifestWriter::new(Hashed { out: file, sha256: Sha256::new(), len: 0 })?;
    for number in 0..tree.items.len() {
        writer.push(&tree.entry(number)?)?;
    }
    let (mut out, totals) = writer.finish()?;
    out.flush().at("write", path)?;
    let over = |what: &str, limit: u64| Error::Limit { what: format!("the version's {what}"), limit: limit.to_string() };
    if out.len > MANIFEST_BYTES_MAX {
        return Err(over("manifest, bytes", MANIFEST_BYTES_MAX));
    }
    if totals.chunks > u64::from(u32::MAX) {
        return Err(over("chunks", u64::from(u32::MAX)));
    }
    let folder = Root::open(fsx::folder_of(path))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut single = Tree::of_file(&folder, name)?;
    let change = pipeline::run(&folder, &mut single, sink, workers, &Progress::default(), counts)?;
    let content = single.content(0).filter(|_| change.is_none());
    let Content { digest, .. } = content
        .ok_or_else(|| Error::Unstable { path: path.to_path_buf(), why: "the manifest was changed by somebody else".into() })?;
    Ok(Written { id: digest.into(), sha256: out.sha256.finalize().into(), len: out.len, totals })
}
