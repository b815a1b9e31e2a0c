//! What bringing a version would take from where, found without writing to its destination.

use std::collections::HashSet;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::delta::{Share, fronts_of};
use crate::error::Result;
use crate::id::ChunkId;
use crate::manifest::file::ManifestFile;
use crate::manifest::layout::Placed;
use crate::manifest::table::ChunkTable;
use crate::store::Store;

use super::assembly::{Assembly, entries};
use super::bits::Bits;
use super::needed::{Needed, ranges_of};
use super::stat_record::{STAT_FILE, StatRecord};
use super::wire::WireStream;
use super::{Seed, verify};

/// Files, and raw bytes of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Files that are wholly of a kind.
    pub files: u64,
    /// Raw bytes.
    pub bytes: u64,
}

/// What bringing a version takes from where; the kinds add up to its files and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Right in place: nothing to do.
    pub kept: Amount,
    /// Made of chunks that this machine has.
    pub local: Amount,
    /// Made by the patches that are to be taken.
    pub patched: Amount,
    /// Brought by records; a file of which some chunks are here counts as a file here, those chunks' bytes as local.
    pub records: Amount,
    /// The chunks to bring, each distinct one once.
    pub missing: Vec<Range<u32>>,
}

impl Assembly {
    /// Tells what would be taken from where if the files `patched` (entry numbers) are made by patches, `shares` from the front, and the rest comes
    /// as records; a file that both make counts with the records. `installed` is the version in place with its work folder. Files in place are looked at and believed as an update believes them; other content of
    /// the installed version is believed unread.
    ///
    /// Call it before [`Assembly::take_local`], and after the recipes of the files that are not patched are complete: a file without one counts
    /// as missing. What an interrupted run staged is not looked at.
    ///
    /// # Errors
    /// I/O on the work folder.
    pub fn survey(&self, installed: Option<(&Seed, &Path)>, patched: &HashSet<u32>, shares: &[Share]) -> Result<Survey> {
        let built;
        let table = if let Some(table) = &self.table {
            table
        } else {
            built = self.survey_table(patched)?;
            &built
        };
        let here = installed.map(|(seed, _)| fronts(&seed.table)).unwrap_or_default();
        let place = installed.and_then(|(seed, work)| Place::open(seed, work));
        let mut found = Survey::default();
        let (mut missing, mut counted) = (Vec::new(), HashSet::new());
        for placed in self.layout.files() {
            let Some((size, ..)) = self.manifest.file_of(placed.entry) else { continue };
            if place.as_ref().is_some_and(|place| place.keeps(&self.manifest, placed.entry)) {
                add(&mut found.kept, 1, size);
            } else if patched.contains(&placed.entry) {
                add(&mut found.patched, 1, size);
            } else {
                let before = missing.len();
                let lacking = lacking(table, placed, &here, &mut counted, &mut missing).min(size);
                let whole = missing.len() == before && lacking == 0;
                add(&mut found.records, u64::from(!whole), lacking);
                add(&mut found.local, u64::from(whole), size - lacking);
            }
        }
        missing.sort_unstable();
        let len = |ordinal: u32| table.line(ordinal).map_or(0, |line| u64::from(line.len));
        let lacks = |ordinal| if missing.binary_search(&ordinal).is_ok() { len(ordinal) } else { 0 };
        let fronts = fronts_of(shares, (&self.layout, table), &lacks);
        let (by_patch, by_records): (Vec<_>, Vec<_>) =
            missing.iter().copied().partition(|ordinal| fronts.iter().flatten().any(|front| front.makes(*ordinal)));
        let made: u64 = by_patch.into_iter().map(len).sum();
        found.records.bytes -= made;
        found.patched.bytes += made;
        found.missing = ranges_of(by_records);
        Ok(found)
    }

    /// Builds a table of the files whose recipe is here: of one survey only, as the assembly's own has every line.
    fn survey_table(&self, patched: &HashSet<u32>) -> Result<ChunkTable> {
        let lacking: HashSet<u32> = self.missing_recipes().into_iter().flatten().collect();
        let known = |entry: u32| !patched.contains(&entry) && !lacking.contains(&entry);
        let path = self.work.join("survey.table");
        let table = ChunkTable::build(&path, &self.manifest, &self.layout, &known, &mut |id| self.page(&id));
        // Mapped by now.
        let _ = std::fs::remove_file(&path);
        table
    }
}

fn add(amount: &mut Amount, files: u64, bytes: u64) {
    amount.files += files;
    amount.bytes += bytes;
}

/// Adds the ordinals of a file that must come to `missing`, each distinct chunk once; returns their raw bytes.
fn lacking(table: &ChunkTable, placed: Placed, here: &HashSet<u64>, counted: &mut HashSet<u64>, missing: &mut Vec<u32>) -> u64 {
    let mut bytes = 0;
    for ordinal in placed.first..placed.first + placed.chunks {
        let Some(line) = table.line(ordinal) else {
            missing.push(ordinal);
            continue;
        };
        let front = front(&line.id);
        if !here.contains(&front) && counted.insert(front) {
            missing.push(ordinal);
            bytes += u64::from(line.len);
        }
    }
    bytes
}

/// The first eight bytes of every chunk id of a table: enough to plan by.
fn fronts(table: &ChunkTable) -> HashSet<u64> {
    (0..table.len()).filter_map(|ordinal| table.line(ordinal)).map(|line| front(&line.id)).collect()
}

fn front(id: &ChunkId) -> u64 {
    u64::from_le_bytes(*id.as_bytes().first_chunk().expect("an id has 32 bytes"))
}

/// The installed tree.
struct Place<'a> {
    root: std::os::fd::OwnedFd,
    installed: &'a ManifestFile,
    record: Option<StatRecord>,
}

impl<'a> Place<'a> {
    fn open(seed: &'a Seed, work: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&seed.root, flags, Mode::empty()).ok()?;
        let record = StatRecord::open(&work.join(STAT_FILE)).filter(|record| record.manifest() == seed.manifest.id());
        Some(Self { root, installed: &seed.manifest, record })
    }

    /// Says whether the file of `entry` is in place: unchanged since it was installed, or right by its bytes.
    fn keeps(&self, manifest: &ManifestFile, entry: u32) -> bool {
        let path = manifest.path_of(entry);
        let Some((size, digest, _)) = manifest.file_of(entry) else { return false };
        let Ok(stat) = rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW) else { return false };
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || u64::try_from(stat.st_size) != Ok(size) {
            return false;
        }
        let old = self.installed.find(path).filter(|old| self.installed.file_of(*old) == manifest.file_of(entry));
        let vouched = old.zip(self.record.as_ref()).is_some_and(|(old, record)| record.agrees(old, &stat));
        vouched || verify::open_regular(self.root.as_fd(), path).is_some_and(|file| super::patched::has_digest(&file, digest))
    }
}

/// Counts the bytes that `table`'s version costs a receiver that has nothing: its records and recipes, without manifest.
///
/// # Errors
/// The store lacks content, or it is damaged.
pub fn full_wire_bytes(store: &Store, manifest: &Arc<ManifestFile>, table: &Arc<ChunkTable>) -> Result<u64> {
    let distinct = {
        let none = Bits::new(table.len());
        ranges_of(Needed::of(table, &none, manifest.folder())?.missing(table, &none))
    };
    let all = 0..entries(manifest);
    let recipes = WireStream::recipes(store.clone(), Arc::clone(manifest), vec![all]).count()?;
    Ok(recipes + WireStream::chunks(store.clone(), Arc::clone(table), distinct).count()?)
}
