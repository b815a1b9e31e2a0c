//! Buffers for reading that come back when nothing in them is needed any more, so that memory is not fetched from the system each time.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Free bytes kept: of four segments of large files, as two workers drop them. With room for one, putting a large file takes a sixth longer, and reading it again
/// twice as long.
const FREE_BYTES_MAX: usize = 20 << 20;

/// What the length of a buffer is a multiple of.
const STEP_BYTES: usize = 256 << 10;

/// Buffers that nobody uses now.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// Gives a buffer of exactly `len` bytes, which hold anything.
    pub fn take(&self, len: usize) -> Buffer {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = free.iter().position(|bytes| bytes.len() >= len && bytes.len() / 2 <= len);
        let bytes = fitting.map(|at| free.swap_remove(at));
        drop(free);
        // Made a little larger, one serves the next too, which is of about the size.
        let bytes = bytes.unwrap_or_else(|| vec![0; len.next_multiple_of(STEP_BYTES)]);
        Buffer { bytes, len, pool: self.clone() }
    }
}

/// A buffer of a [`Pool`].
pub(super) struct Buffer {
    /// At least `len`.
    bytes: Vec<u8>,
    len: usize,
    pool: Pool,
}

impl Buffer {
    /// The bytes to be read into.
    pub fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// Makes the buffer shared bytes; it goes back when the last of them is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.iter().map(Vec::len).sum::<usize>() + self.bytes.len() <= FREE_BYTES_MAX {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}
