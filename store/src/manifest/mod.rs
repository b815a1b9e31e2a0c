//! Manifests: what a version consists of; canonical bytes, safe paths, recipes, and the order in which content is laid down.

pub mod codec;
pub mod encoded;
pub mod entry;
pub mod file;
mod insert;
pub mod layout;
mod order;
pub mod pairs;
pub mod path;
pub mod platform;
pub mod recipe;
pub mod stream;
pub mod table;
#[cfg(test)]
mod testing;
mod wire;

pub use entry::{Attributes, Entry, EntryKind, LinkTarget};
pub use file::ManifestFile;
pub use layout::Layout;
pub use pairs::Pairs;
pub use path::{Platform, Platforms, SafePath};
pub use table::ChunkTable;
