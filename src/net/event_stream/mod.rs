//! Event streams: one JSON line an event over an answer that does not end.

mod feed;
mod reader;

pub use feed::{Feed, respond};
pub use reader::EventStream;
