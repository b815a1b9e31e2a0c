//! The layout of a patch: header, then one frame a window (docs/formats.md).

use crate::chunk::fields::{HASH_BLAKE3, array_at, len_at, u16_at, u64_at};
use crate::error::{Error, Result};
use crate::id::FileDigest;

/// The version of patches: another whenever models are, because the same decisions then mean something else.
pub const PATCH_VERSION: u16 = 3;
/// Target bytes of a window, except the last.
pub const WINDOW_BYTES: usize = 4 << 20;
/// Most contents that a patch may draw from.
pub const BASES_MAX: usize = 16;
/// Longest section of a window, bytes: what a window of noise needs, and some.
pub const SECTION_BYTES_MAX: usize = WINDOW_BYTES + (WINDOW_BYTES >> 2);

const MAGIC: [u8; 4] = *b"CNDP";
const FIXED_BYTES: usize = 52;
const BASE_BYTES: usize = 40;
/// Bytes of the two lengths before a window's sections.
pub(super) const FRAME_BYTES: usize = 8;

/// One content that a patch draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseRef {
    /// Its digest.
    pub digest: FileDigest,
    /// Its length, bytes.
    pub len: u64,
}

/// What a patch says of itself before its first window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The digest of what it makes.
    pub target: FileDigest,
    /// The length of what it makes, bytes.
    pub target_len: u64,
    /// The contents it draws from, in the order in which they are joined.
    pub bases: Vec<BaseRef>,
}

/// What a patch may cost whoever applies or builds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest target, bytes.
    pub target_bytes_max: u64,
    /// Most bytes of all bases together.
    pub base_bytes_max: u64,
}

impl Default for Limits {
    /// 64 GiB each.
    fn default() -> Self {
        Self { target_bytes_max: 64 << 30, base_bytes_max: 64 << 30 }
    }
}

impl Limits {
    /// Compares the lengths that `header` announces with the limits.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check(&self, header: &Header) -> Result<()> {
        let limit = |what: &str, limit: u64| Err(Error::Limit { what: what.into(), limit: format!("{limit} bytes") });
        if header.target_len > self.target_bytes_max {
            return limit("the target of the patch", self.target_bytes_max);
        }
        let bases = header.bases.iter().try_fold(0_u64, |sum, base| sum.checked_add(base.len));
        if bases.is_none_or(|bases| bases > self.base_bytes_max) {
            return limit("the bases of the patch", self.base_bytes_max);
        }
        if header.bases.len() > BASES_MAX {
            return Err(Error::Limit { what: "the patch's count of bases".into(), limit: BASES_MAX.to_string() });
        }
        Ok(())
    }
}

impl Header {
    /// Returns the header's bytes; a header that [`Limits::check`] accepts has at most [`BASES_MAX`] bases.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + BASE_BYTES * self.bases.len());
        out.extend(MAGIC);
        out.extend(PATCH_VERSION.to_le_bytes());
        out.extend([HASH_BLAKE3, u8::try_from(self.bases.len()).unwrap_or(u8::MAX)]);
        out.extend([0; 4]);
        out.extend(self.target_len.to_le_bytes());
        out.extend(self.target.as_bytes());
        for base in &self.bases {
            out.extend(base.digest.as_bytes());
            out.extend(base.len.to_le_bytes());
        }
        out
    }

    /// Reads the header at the front of `bytes` and returns it with its length; `None` while more bytes are needed.
    ///
    /// # Errors
    /// Damaged, too new, or too many bases.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        let early = bytes.len().min(MAGIC.len());
        if bytes[..early] != MAGIC[..early] {
            return Err(damaged("it does not begin with CNDP"));
        }
        if bytes.len() < FIXED_BYTES {
            return Ok(None);
        }
        let (version, algorithm, required) = (u16_at(bytes, 4), bytes[6], u16_at(bytes, 8));
        if version < PATCH_VERSION {
            return Err(damaged(&format!("it is of version {version}, by an older Consign")));
        }
        if version != PATCH_VERSION || algorithm != HASH_BLAKE3 || required != 0 {
            let why = format!("version {version}, hash algorithm {algorithm}, required features {required:#x}");
            return Err(Error::TooNew { what: "the patch".into(), why });
        }
        let count = usize::from(bytes[7]);
        if count > BASES_MAX {
            return Err(Error::Limit { what: "the patch's count of bases".into(), limit: BASES_MAX.to_string() });
        }
        let len = FIXED_BYTES + count * BASE_BYTES;
        let Some(lines) = bytes.get(FIXED_BYTES..len) else { return Ok(None) };
        let bases = lines.as_chunks::<BASE_BYTES>().0.iter();
        let bases = bases.map(|line| BaseRef { digest: FileDigest(array_at(line, 0)), len: u64_at(line, 32) }).collect();
        Ok(Some((Self { target: FileDigest(array_at(bytes, 20)), target_len: u64_at(bytes, 12), bases }, len)))
    }
}

/// Lengths of a window's sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the coded decisions.
    pub(super) decisions: usize,
    /// Bytes of the compressed literals; none: they are among the decisions.
    pub(super) literals: usize,
}

impl Frame {
    /// Returns the frame's bytes.
    pub(super) fn encode(self) -> [u8; FRAME_BYTES] {
        let mut out = [0; FRAME_BYTES];
        for (field, len) in out.chunks_mut(4).zip([self.decisions, self.literals]) {
            field.copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        }
        out
    }

    /// Reads a frame from its bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let frame = Self { decisions: len_at(bytes, 0), literals: len_at(bytes, 4) };
        if frame.decisions > SECTION_BYTES_MAX || frame.literals > SECTION_BYTES_MAX {
            let limit = format!("{SECTION_BYTES_MAX} bytes");
            return Err(Error::Limit { what: "a section of the patch".into(), limit });
        }
        Ok(frame)
    }

    /// Bytes of both sections.
    pub(super) fn len(self) -> usize {
        self.decisions + self.literals
    }
}

/// Builds [`Error::Damaged`] for a patch.
pub(super) fn damaged(why: &str) -> Error {
    Error::damaged("the patch", format!("{why}; fetch it again, or the records instead"))
}
