//! A file that is read while it is still being written.

use std::fs::{File, OpenOptions};
use std::io::{Read, Result};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use consign_store::error::At as _;

/// Whoever writes: says how far the file is there. Dropped, it says that no more comes.
#[derive(Debug, Default)]
pub struct Arriving(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    len: u64,
    ended: bool,
}

impl Arriving {
    /// Opens the file `path`, which is made if it is not there, for whoever reads it from its start as it arrives: a read waits until there is more, or no
    /// more comes.
    ///
    /// # Errors
    /// I/O.
    pub fn begin(path: &Path) -> consign_store::Result<(Self, ArrivingReader)> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).at("open", path)?;
        let arriving = Self::default();
        let progress = Arc::clone(&arriving.0);
        Ok((arriving, ArrivingReader { file, at: 0, progress }))
    }

    /// Says that `len` bytes are there.
    pub fn arrived(&self, len: u64) {
        self.0.change(|state| state.len = len);
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.change(|state| state.ended = true);
    }
}

impl Progress {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits until there is more than `at` bytes, and returns how much; 0 if no more comes.
    fn beyond(&self, at: u64) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| state.len <= at && !state.ended;
        self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner).len.saturating_sub(at)
    }
}

/// Reads what [`Arriving`] says is there, on a thread that may wait.
#[derive(Debug)]
pub struct ArrivingReader {
    file: File,
    at: u64,
    progress: Arc<Progress>,
}

impl Read for ArrivingReader {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let now = usize::try_from(self.progress.beyond(self.at)).unwrap_or(usize::MAX).min(bytes.len());
        let read = self.file.read(&mut bytes[..now])?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_waits_for_what_comes_and_ends_when_no_more_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut file = File::create(&path).unwrap();
        // Written, but not said to be there.
        file.write_all(b"there already").unwrap();
        let (arriving, mut reader) = Arriving::begin(&path).unwrap();
        let reading = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        });
        arriving.arrived(5);
        arriving.arrived(13);
        file.write_all(b", and more").unwrap();
        arriving.arrived(19);
        drop(arriving);
        assert_eq!(reading.join().unwrap(), b"there already, and ");
    }
}
