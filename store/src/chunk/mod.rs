//! Chunks: where content is cut, how a chunk is verified, and the record that carries a run of them.

mod codec;
pub mod cut;
pub(crate) mod encoder;
pub(crate) mod fields;
pub mod record;
mod split;

use bytes::Bytes;

use crate::id::ChunkId;

/// Smallest chunk, bytes, except a file's last.
pub const CHUNK_BYTES_MIN: usize = 16 << 10;
/// Average chunk, bytes.
pub const CHUNK_BYTES_AVG: usize = 64 << 10;
/// Largest chunk, bytes.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// What the chunks of a record hold, and so how their ids are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkKind {
    /// File content: the id is plain BLAKE3.
    Content,
    /// Recipe pages: the id is BLAKE3 with the page context.
    RecipePage,
}

impl ChunkKind {
    /// Computes the id that `bytes` has as a chunk of this kind.
    #[must_use]
    pub fn id_of(self, bytes: &[u8]) -> ChunkId {
        match self {
            Self::Content => ChunkId::of_content(bytes),
            Self::RecipePage => ChunkId::of_page(bytes),
        }
    }
}

/// A chunk whose bytes have been compared with its id; there is no other way to get one.
#[derive(Debug, Clone)]
pub struct VerifiedChunk {
    id: ChunkId,
    kind: ChunkKind,
    bytes: Bytes,
}

impl VerifiedChunk {
    /// Hashes `bytes` and names them.
    #[must_use]
    pub fn hash(kind: ChunkKind, bytes: Bytes) -> Self {
        Self { id: kind.id_of(&bytes), kind, bytes }
    }

    /// Compares `bytes` with `id`; `None` if they are not that chunk.
    #[must_use]
    pub fn verify(kind: ChunkKind, id: ChunkId, bytes: Bytes) -> Option<Self> {
        (kind.id_of(&bytes) == id).then_some(Self { id, kind, bytes })
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ChunkKind {
        self.kind
    }

    /// Copies the bytes, so that a larger buffer that they lie in need not be kept.
    pub(crate) fn detach(&mut self) {
        self.bytes = Bytes::copy_from_slice(&self.bytes);
    }

    /// Returns the raw bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
