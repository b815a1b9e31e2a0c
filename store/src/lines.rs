//! Files of many short lines behind a header that has their checksum.

use std::fs::File;
use std::io::{BufWriter, IntoInnerError, Result, Seek as _, SeekFrom, Write};

/// Bytes written, and hashed, at once: line by line the hash takes several times as long.
const WRITE_BYTES: usize = 256 << 10;

/// Lines that are being written and hashed.
pub(crate) struct LinesWriter(BufWriter<Hashed>);

struct Hashed {
    file: File,
    hash: blake3::Hasher,
}

impl LinesWriter {
    /// Begins in the empty `file`, behind room for a header of `header_bytes`; the lines are added to `hash`.
    pub(crate) fn begin(mut file: File, header_bytes: usize, hash: blake3::Hasher) -> Result<Self> {
        file.write_all(&vec![0; header_bytes])?;
        Ok(Self(BufWriter::with_capacity(WRITE_BYTES, Hashed { file, hash })))
    }

    /// Appends a line.
    pub(crate) fn push(&mut self, line: &[u8]) -> Result<()> {
        self.0.write_all(line)
    }

    /// Ends the lines and writes the header that `header` makes of their hash.
    pub(crate) fn finish(self, header: impl FnOnce(blake3::Hash) -> Vec<u8>) -> Result<()> {
        let Hashed { mut file, hash } = self.0.into_inner().map_err(IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header(hash.finalize()))
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}
