//! What grows with the number of files: in memory while it is little, beyond that in a mapped file without a name, whose pages the system may
//! write out and drop.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::map::ReadOnlyMap;
use crate::unnamed::UnnamedWriter;

/// Bytes of one thing that stay in memory.
const HELD_BYTES_MAX: usize = 1 << 20;
/// Bytes that are sorted at once.
const SORT_BYTES_MAX: usize = 2 << 20;
/// Bytes of a [`Words`] word.
const WORD_BYTES: usize = 4;

/// Bytes that are being written, in order.
#[derive(Debug)]
pub(crate) struct SpillWriter {
    folder: PathBuf,
    held: Vec<u8>,
    file: Option<UnnamedWriter>,
    len: u64,
}

impl SpillWriter {
    /// Writes into a file in `folder`, where it comes to that; nothing stays there.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), held: Vec::new(), file: None, len: 0 }
    }

    /// Returns how many bytes have been written.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        if let Some(file) = &mut self.file {
            return file.push(bytes);
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() > HELD_BYTES_MAX {
            let mut file = UnnamedWriter::in_folder(&self.folder)?;
            file.push(&std::mem::take(&mut self.held))?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// Ends the writing.
    pub(crate) fn finish(self) -> Result<Spill> {
        self.file.map_or(Ok(Spill::Held(self.held)), |file| file.finish().map(Spill::Mapped))
    }
}

/// Bytes that have been written; derefs to them.
#[derive(Debug)]
pub(crate) enum Spill {
    Held(Vec<u8>),
    Mapped(ReadOnlyMap),
}

impl Default for Spill {
    fn default() -> Self {
        Self::Held(Vec::new())
    }
}

impl Deref for Spill {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Held(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// Items of `N` words that are being written, in order.
#[derive(Debug)]
pub(crate) struct WordsWriter<const N: usize>(SpillWriter);

impl<const N: usize> WordsWriter<N> {
    /// As [`SpillWriter::in_folder`].
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self(SpillWriter::in_folder(folder))
    }

    /// Appends an item.
    pub(crate) fn push(&mut self, item: [u32; N]) -> Result<()> {
        item.iter().try_for_each(|word| self.0.push(&word.to_le_bytes()))
    }

    /// Ends the writing.
    pub(crate) fn finish(self) -> Result<Words<N>> {
        self.0.finish().map(Words)
    }
}

/// Items of `N` words.
#[derive(Debug, Default)]
pub(crate) struct Words<const N: usize>(Spill);

impl<const N: usize> Words<N> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len() / (N * WORD_BYTES)
    }

    /// The item at `at`, if there are so many.
    pub(crate) fn get(&self, at: usize) -> Option<[u32; N]> {
        let start = at.checked_mul(N * WORD_BYTES)?;
        let mut item = [0; N];
        let (words, _) = self.0.get(start..start + N * WORD_BYTES)?.as_chunks();
        for (to, from) in item.iter_mut().zip(words) {
            *to = u32::from_le_bytes(*from);
        }
        Some(item)
    }

    /// Iterates the items from `at` on.
    pub(crate) fn from(&self, at: usize) -> impl Iterator<Item = [u32; N]> + '_ {
        (at..self.len()).map_while(|at| self.get(at))
    }

    /// How many items stand before the first that is not `before`, which must hold for none behind that.
    pub(crate) fn partition_point(&self, before: impl Fn([u32; N]) -> bool) -> usize {
        let (mut start, mut end) = (0, self.len());
        while start < end {
            let middle = start + (end - start) / 2;
            if self.get(middle).is_some_and(&before) { start = middle + 1 } else { end = middle }
        }
        start
    }
}

/// Numbers found by keys of 64 bits, in 12 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Keyed(Words<3>);

impl Keyed {
    /// Collects pairs of a key and a number; puts down what is much in `folder`.
    pub(crate) fn of(pairs: impl Iterator<Item = (u64, u32)>, folder: &Path) -> Result<Self> {
        let items = pairs.map(|(key, number)| {
            let [high, low] = halves(key);
            [high, low, number]
        });
        sorted(items, |item| item, folder).map(Self)
    }

    /// How many pairs there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Iterates the numbers of `key`, ascending.
    pub(crate) fn numbers(&self, key: u64) -> impl Iterator<Item = u32> + '_ {
        let key = halves(key);
        let start = self.0.partition_point(|item| item[..2] < key[..]);
        self.0.from(start).take_while(move |item| item[..2] == key[..]).map(|item| item[2])
    }

    /// Iterates all pairs, by key and number.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.0.from(0).map(|[high, low, number]| ((u64::from(high) << 32) | u64::from(low), number))
    }

    /// Says whether there is any number of `key`.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.numbers(key).next().is_some()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what is cut off is the other half")]
fn halves(key: u64) -> [u32; 2] {
    [(key >> 32) as u32, key as u32]
}

/// Sorts `items` by `key`, which differs for any two of them, in little memory.
pub(crate) fn sorted<const N: usize, K: Ord>(
    items: impl Iterator<Item = [u32; N]>,
    key: impl Fn([u32; N]) -> K,
    folder: &Path,
) -> Result<Words<N>> {
    let run_len = SORT_BYTES_MAX / size_of::<(K, [u32; N])>().max(1);
    let mut runs = WordsWriter::in_folder(folder);
    let mut run = Vec::new();
    // Taken apart once an item, not once a comparison.
    let mut items = items.map(|item| (key(item), item)).peekable();
    while items.peek().is_some() {
        run.extend(items.by_ref().take(run_len));
        run.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        run.drain(..).try_for_each(|(_, item)| runs.push(item))?;
    }
    drop((items, run));
    merged(runs.finish()?, run_len, &key, folder)
}

/// Merges sorted runs of `run_len` items, the last of which may be shorter.
fn merged<const N: usize, K: Ord>(
    runs: Words<N>,
    run_len: usize,
    key: &impl Fn([u32; N]) -> K,
    folder: &Path,
) -> Result<Words<N>> {
    if runs.len() <= run_len {
        return Ok(runs);
    }
    let head = |at: usize| runs.get(at).map(|item| Reverse((key(item), at)));
    let mut heads: BinaryHeap<_> = (0..runs.len()).step_by(run_len).filter_map(head).collect();
    let mut out = WordsWriter::in_folder(folder);
    while let Some(mut first) = heads.peek_mut() {
        let Reverse((_, at)) = &*first;
        let at = *at;
        if let Some(item) = runs.get(at) {
            out.push(item)?;
        }
        match head(at + 1).filter(|_| !(at + 1).is_multiple_of(run_len)) {
            Some(next) => *first = next,
            None => drop(std::collections::binary_heap::PeekMut::pop(first)),
        }
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers below `count`, each once, in no order.
    fn shuffled(count: u32) -> impl Iterator<Item = [u32; 3]> {
        (0..count).map(move |n| {
            let mixed = u32::try_from(u64::from(n) * 7919 % u64::from(count)).unwrap();
            [mixed, !mixed, 7]
        })
    }

    #[test]
    fn items_come_out_sorted_however_many() {
        let dir = tempfile::tempdir().unwrap();
        for count in [0, 1, 2, 10_000, 87_381, 87_382, 300_001] {
            let sorted = sorted(shuffled(count), |item| item[0], dir.path()).unwrap();
            assert_eq!(sorted.len(), count as usize);
            assert!(sorted.from(0).zip(0..).all(|(item, n)| item == [n, !n, 7]), "{count}");
            assert_eq!(sorted.partition_point(|item| item[0] < count / 3), count as usize / 3);
            assert_eq!(sorted.get(count as usize), None);
        }
    }

    #[test]
    fn what_is_much_lies_in_a_file_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        for (count, mapped) in [(HELD_BYTES_MAX, false), (HELD_BYTES_MAX + 1, true)] {
            let mut writer = SpillWriter::in_folder(dir.path());
            (0..count).try_for_each(|n| writer.push(&[n.to_le_bytes()[1]])).unwrap();
            assert_eq!(writer.len(), count as u64);
            let spill = writer.finish().unwrap();
            assert_eq!(matches!(spill, Spill::Mapped(_)), mapped);
            assert!(spill.len() == count && spill.iter().zip(0_usize..).all(|(&byte, n)| byte == n.to_le_bytes()[1]));
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
