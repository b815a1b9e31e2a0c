//! Names of content: BLAKE3-256 digests, one type a meaning.

use std::fmt;
use std::str::FromStr;

/// A text is not a content id: it must be `b3:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a content id: expected b3: and 64 hexadecimal digits")]
pub struct IdError(pub String);

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Returns the 32 bytes of the digest.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Returns the 64 lower-case hexadecimal digits, without the `b3:` prefix.
            #[must_use]
            pub fn to_hex(&self) -> String {
                hex::encode(self.0)
            }

            /// Reads an id from its first 32 bytes; `None` if there are fewer.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.get(..32)?.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "b3:{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "b3:{}…", hex::encode(&self.0[..6]))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let refuse = || IdError(text.chars().take(80).collect());
                let digits = text.strip_prefix("b3:").ok_or_else(refuse)?;
                if digits.len() != 64 || digits.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(refuse());
                }
                let mut out = [0; 32];
                hex::decode_to_slice(digits, &mut out).map_err(|_| refuse())?;
                Ok(Self(out))
            }
        }
    };
}

digest_type! {
    /// Names one chunk in a record: BLAKE3 of its raw bytes (content), or BLAKE3 with [`PAGE_CONTEXT`] (a recipe page).
    ChunkId
}
digest_type! {
    /// Names the content of one file.
    ///
    /// BLAKE3 of the bytes for a file of at most one chunk (so the digest is its chunk's id); for a larger file the id of the root
    /// page of its recipe, which covers every chunk id and length: verifying the recipe and each chunk verifies the file, and
    /// nothing is hashed twice.
    FileDigest
}
digest_type! {
    /// Names a manifest: the [`FileDigest`] of its canonical bytes.
    ManifestId
}

/// BLAKE3 context string of recipe pages.
pub const PAGE_CONTEXT: &str = "consign 2026-11 v1 recipe page";

impl ChunkId {
    /// Names content: BLAKE3-256 of `bytes`.
    #[must_use]
    pub fn of_content(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Names a recipe page: BLAKE3-256 of `bytes` in derive-key mode with [`PAGE_CONTEXT`].
    #[must_use]
    pub fn of_page(bytes: &[u8]) -> Self {
        Self(blake3::derive_key(PAGE_CONTEXT, bytes))
    }
}

impl FileDigest {
    /// The digest of a file without bytes.
    #[must_use]
    pub const fn empty() -> Self {
        // Known, not computed: it is compared with the digest of each entry that is decoded.
        Self([
            0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9, 0x49, //
            0x9b, 0xcb, 0x25, 0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62,
        ])
    }
}

impl From<FileDigest> for ManifestId {
    fn from(digest: FileDigest) -> Self {
        Self(digest.0)
    }
}

impl From<ManifestId> for FileDigest {
    fn from(id: ManifestId) -> Self {
        Self(id.0)
    }
}

impl From<FileDigest> for ChunkId {
    /// The chunk (or root recipe page) that stands for the whole file.
    fn from(digest: FileDigest) -> Self {
        Self(digest.0)
    }
}

impl From<ChunkId> for FileDigest {
    fn from(id: ChunkId) -> Self {
        Self(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_that_of_no_bytes() {
        assert_eq!(FileDigest::empty(), FileDigest::from(ChunkId::of_content(b"")));
    }
}
