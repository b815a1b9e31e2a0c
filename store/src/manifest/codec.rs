//! Canonical bytes of a manifest, written and read as a stream (byte layout: docs/formats.md).

use std::io::{Read, Write};

use crate::error::Result;
use crate::manifest::entry::Entry;

/// Totals of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Entries of all kinds.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Raw bytes of the files.
    pub bytes: u64,
    /// Chunks of the files, repeated content counted each time.
    pub chunks: u64,
}

/// Writes canonical bytes; entries must come in strictly ascending path order.
#[derive(Debug)]
pub struct ManifestWriter<W: Write> {
    _out: W,
}

impl<W: Write> ManifestWriter<W> {
    /// Starts a manifest.
    ///
    /// # Errors
    /// I/O.
    pub fn new(_out: W) -> Result<Self> {
        todo!()
    }

    /// Appends one entry.
    ///
    /// # Errors
    /// Out of order, under a path that is no folder, over a limit, or I/O.
    pub fn push(&mut self, _entry: &Entry) -> Result<()> {
        todo!()
    }

    /// Ends the manifest and returns the sink and the totals.
    ///
    /// # Errors
    /// I/O.
    pub fn finish(self) -> Result<(W, Totals)> {
        todo!()
    }
}

/// Reads canonical bytes as a stream; refuses anything that [`ManifestWriter`] would not have written.
#[derive(Debug)]
pub struct ManifestReader<R: Read> {
    _input: R,
}

impl<R: Read> ManifestReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Damaged or too new.
    pub fn new(_input: R) -> Result<Self> {
        todo!()
    }
}

impl<R: Read> Iterator for ManifestReader<R> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
