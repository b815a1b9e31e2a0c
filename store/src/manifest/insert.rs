//! Putting a manifest that came from elsewhere into a store, like the content of any file.

use crate::chunk::record::{self, ChunkLine, RECORD_CHUNKS_MAX, RECORD_RAW_BYTES_MAX};
use crate::chunk::{ChunkKind, VerifiedChunk, cut};
use crate::error::Result;
use crate::manifest::file::ManifestFile;
use crate::manifest::recipe::RecipeBuilder;
use crate::store::Store;

/// Compression, as ingest compresses.
const LEVEL: i32 = 3;

impl ManifestFile {
    /// Appends to `store` the chunks and recipe pages of this manifest that it lacks; [`ManifestFile::extract`] gives them back. Durable only
    /// after [`Store::sync`].
    ///
    /// # Errors
    /// I/O; what was appended until then is found there by the next call.
    ///
    /// # Panics
    /// Never: a chunk's length fits 32 bits.
    pub fn insert(&self, store: &Store) -> Result<()> {
        let mut recipe = RecipeBuilder::default();
        let mut content = Run::new(ChunkKind::Content);
        let mut pages = Run::new(ChunkKind::RecipePage);
        for range in cut::cut(self.bytes()) {
            let chunk = VerifiedChunk::hash(ChunkKind::Content, self.bytes()[range].to_vec().into());
            let len = u32::try_from(chunk.bytes().len()).expect("a chunk has at most CHUNK_BYTES_MAX bytes");
            recipe.push(ChunkLine { id: chunk.id(), len });
            content.add(store, chunk)?;
            for page in recipe.take_pages() {
                pages.add(store, page)?;
            }
        }
        for page in recipe.finish().pages {
            pages.add(store, page)?;
        }
        content.write(store)?;
        pages.write(store)
    }
}

/// The chunks of the next record.
struct Run {
    kind: ChunkKind,
    chunks: Vec<VerifiedChunk>,
    raw_bytes: usize,
}

impl Run {
    fn new(kind: ChunkKind) -> Self {
        Self { kind, chunks: Vec::new(), raw_bytes: 0 }
    }

    fn add(&mut self, store: &Store, chunk: VerifiedChunk) -> Result<()> {
        if store.contains(&chunk.id())? {
            return Ok(());
        }
        if self.raw_bytes + chunk.bytes().len() > RECORD_RAW_BYTES_MAX || self.chunks.len() == RECORD_CHUNKS_MAX {
            self.write(store)?;
        }
        self.raw_bytes += chunk.bytes().len();
        self.chunks.push(chunk);
        Ok(())
    }

    fn write(&mut self, store: &Store) -> Result<()> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        store.append_encoded(record::encode(self.kind, &self.chunks, LEVEL)?)?;
        self.chunks.clear();
        self.raw_bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{Options, Progress, ingest};
    use crate::manifest::path::Platforms;

    #[test]
    fn what_is_inserted_is_extracted_and_inserted_once() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        std::fs::create_dir(&source).unwrap();
        // Enough entries that the manifest has several chunks, and so recipe pages.
        for number in 0..4_000 {
            std::fs::write(source.join(format!("a file with a rather long name, number {number}")), number.to_string()).unwrap();
        }
        let options = Options {
            workers: 1,
            platforms: Platforms::default(),
            stat_cache: None,
            verify: false,
            now_unix_nanos: 0,
            progress: std::sync::Arc::new(Progress::default()),
        };
        let first = Store::open(&dir.path().join("first")).unwrap();
        let id = ingest(&first, &source, &options).unwrap().manifest;
        let manifest = ManifestFile::extract(&first, id, &dir.path().join("a")).unwrap();
        assert!(manifest.bytes().len() > 256 << 10);

        let second = Store::open(&dir.path().join("second")).unwrap();
        manifest.insert(&second).unwrap();
        let stored = second.stats().unwrap();
        assert_eq!(ManifestFile::extract(&second, id, &dir.path().join("b")).unwrap().bytes(), manifest.bytes());
        manifest.insert(&second).unwrap();
        assert_eq!(second.stats().unwrap(), stored);
    }
}
