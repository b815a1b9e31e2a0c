//! Bytes of one manifest entry (byte layout: docs/formats.md).

use crate::error::{Error, Result};
use crate::id::FileDigest;
use crate::manifest::entry::{Attributes, Entry, EntryKind, LINK_MODE, LinkTarget, check_link, inconsistent};
use crate::manifest::path::{self, SafePath};

const KIND_FILE: u8 = 1;
const KIND_FOLDER: u8 = 2;
const KIND_SYMLINK: u8 = 3;
/// Set in the kind of an attribute that a reader must understand.
const ATTRIBUTE_CRITICAL: u16 = 1 << 15;
const ATTRIBUTE_MODE: u16 = 1 | ATTRIBUTE_CRITICAL;
/// Most attributes of one entry.
const ATTRIBUTES_MAX: u8 = 16;
/// Longest attribute value, bytes.
const ATTRIBUTE_BYTES_MAX: usize = 1024;
/// Longest entry, bytes.
pub(super) const ENTRY_BYTES_MAX: usize = 4 + 2 * path::PATH_BYTES_MAX + 44 + ATTRIBUTES_MAX as usize * (4 + ATTRIBUTE_BYTES_MAX);

/// A checked entry that borrows its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryRef<'a> {
    pub path: &'a str,
    pub kind: KindRef<'a>,
    pub mode: u16,
}

/// What a borrowed entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KindRef<'a> {
    File { size: u64, digest: FileDigest, chunks: u32 },
    Folder,
    Symlink { target: &'a str },
}

impl EntryRef<'_> {
    /// Copies the entry. The checks that the safe types make have been made by [`decode`], so they hold again.
    pub fn to_entry(self) -> Result<Entry> {
        let path = SafePath::parse(self.path.as_bytes())?;
        let kind = match self.kind {
            KindRef::File { size, digest, chunks } => EntryKind::File { size, digest, chunks },
            KindRef::Folder => EntryKind::Folder,
            KindRef::Symlink { target } => EntryKind::Symlink { target: LinkTarget::parse(&path, target.as_bytes())? },
        };
        Ok(Entry { path, kind, attributes: Attributes { mode: self.mode } })
    }
}

/// Appends the bytes of `entry` to `out`.
///
/// # Errors
/// Refused: its numbers contradict each other.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    let path = entry.path.as_str();
    let mode = entry.attributes.mode;
    let refuse = |why: &str| Err(path::refused(path.as_bytes(), why));
    if let Some(why) = mode_wrong(mode, matches!(entry.kind, EntryKind::Symlink { .. })) {
        return refuse(why);
    }
    let kind = match &entry.kind {
        EntryKind::File { .. } => KIND_FILE,
        EntryKind::Folder => KIND_FOLDER,
        EntryKind::Symlink { .. } => KIND_SYMLINK,
    };
    out.extend([kind, 1]);
    put_text(path, out);
    match &entry.kind {
        EntryKind::File { size, digest, chunks } => {
            if let Some(why) = inconsistent(*size, *digest, *chunks) {
                return refuse(why);
            }
            out.extend(size.to_le_bytes());
            out.extend(digest.as_bytes());
            out.extend(chunks.to_le_bytes());
        }
        EntryKind::Folder => {}
        EntryKind::Symlink { target } => put_text(target.as_str(), out),
    }
    out.extend(ATTRIBUTE_MODE.to_le_bytes());
    out.extend(2u16.to_le_bytes());
    out.extend(mode.to_le_bytes());
    Ok(())
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let len = u16::try_from(text.len()).expect("paths and targets are limited to 4096 bytes");
    out.extend(len.to_le_bytes());
    out.extend(text.as_bytes());
}

fn mode_wrong(mode: u16, link: bool) -> Option<&'static str> {
    if mode > 0o777 {
        return Some("its mode has more than the permission bits");
    }
    (link && mode != LINK_MODE).then_some("a symbolic link has the mode 777")
}

/// Reads little-endian fields off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len).ok_or_else(|| damaged("an entry reaches over the end of its block"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }
}

/// Reads the entry at the front of `bytes` and says how long it is.
///
/// # Errors
/// Damaged, or too new.
pub(super) fn decode(bytes: &[u8]) -> Result<(EntryRef<'_>, usize)> {
    decode_after(bytes, |path| path::check(path).map_err(|refusal| damaged(&refusal.to_string())))
}

/// Reads the entry at the front of `bytes`, which [`decode`] has accepted before: its path is not checked again.
pub(super) fn decode_again(bytes: &[u8]) -> Result<EntryRef<'_>> {
    Ok(decode_after(bytes, |_| Ok(path_of(bytes)))?.0)
}

fn decode_after<'a>(bytes: &'a [u8], parse_path: impl Fn(&'a [u8]) -> Result<&'a str>) -> Result<(EntryRef<'a>, usize)> {
    let mut fields = Fields(bytes);
    let [kind, attributes] = fields.array()?;
    let path = parse_path(fields.text()?)?;
    let wrong = |why: &str| damaged(&format!("{path}: {why}"));
    let kind = match kind {
        KIND_FILE => {
            let size = u64::from_le_bytes(fields.array()?);
            let digest = FileDigest(fields.array()?);
            let chunks = u32::from_le_bytes(fields.array()?);
            if let Some(why) = inconsistent(size, digest, chunks) {
                return Err(wrong(why));
            }
            KindRef::File { size, digest, chunks }
        }
        KIND_FOLDER => KindRef::Folder,
        KIND_SYMLINK => {
            KindRef::Symlink { target: check_link(path, fields.text()?).map_err(|refusal| damaged(&refusal.to_string()))? }
        }
        other => return Err(Error::TooNew { what: "the manifest".into(), why: format!("entry kind {other} of {path}") }),
    };
    let mode = decode_attributes(&mut fields, attributes, path)?;
    if let Some(why) = mode_wrong(mode, matches!(kind, KindRef::Symlink { .. })) {
        return Err(wrong(why));
    }
    Ok((EntryRef { path, kind, mode }, bytes.len() - fields.0.len()))
}

/// Reads the path of the entry at the front of `bytes`, which [`decode`] has accepted before.
pub(super) fn path_of(bytes: &[u8]) -> &str {
    let len = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
    std::str::from_utf8(&bytes[4..4 + len]).expect("the entry was checked when the manifest was opened")
}

/// Reads size, digest and chunk count of the entry at the front of `bytes`, which [`decode`] has accepted before, and nothing else of it; `None` if it
/// is no file.
pub(super) fn file_of(bytes: &[u8]) -> Option<(u64, FileDigest, u32)> {
    let mut fields = Fields(bytes);
    let [kind, _] = fields.array().ok()?;
    if kind != KIND_FILE {
        return None;
    }
    fields.text().ok()?;
    let size = u64::from_le_bytes(fields.array().ok()?);
    let digest = FileDigest(fields.array().ok()?);
    Some((size, digest, u32::from_le_bytes(fields.array().ok()?)))
}

fn decode_attributes(fields: &mut Fields<'_>, count: u8, path: &str) -> Result<u16> {
    let wrong = |why: &str| Err(damaged(&format!("{path}: {why}")));
    if count > ATTRIBUTES_MAX {
        return wrong("it has too many attributes");
    }
    let mut mode = None;
    let mut last = None;
    for _ in 0..count {
        let kind = fields.u16()?;
        let value = fields.text()?;
        // Sorted by number, whatever the critical bit, so that each stands once.
        let number = kind & !ATTRIBUTE_CRITICAL;
        if last.is_some_and(|last| last >= number) {
            return wrong("its attributes are not in ascending order");
        }
        last = Some(number);
        if value.len() > ATTRIBUTE_BYTES_MAX {
            return wrong("an attribute is too long");
        }
        if kind == ATTRIBUTE_MODE {
            let Ok(value) = value.try_into() else { return wrong("its mode has not two bytes") };
            mode = Some(u16::from_le_bytes(value));
        } else if kind & ATTRIBUTE_CRITICAL != 0 {
            return Err(Error::TooNew { what: "the manifest".into(), why: format!("attribute {number} of {path}") });
        }
    }
    mode.map_or_else(|| wrong("it has no mode"), Ok)
}

/// Builds [`Error::Damaged`] for a manifest.
pub(super) fn damaged(why: &str) -> Error {
    Error::damaged("the manifest", why)
}
