//! Opening a store: the folder, its marker, and catching up with what the index has not seen.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::Limits;
use crate::chunk::fields;
use crate::error::{At, Error, Result};
use crate::fsx::{self, FolderLock};
use crate::index::Index;
use crate::pack::{FooterLine, Mode, PACK_HEADER_BYTES, Pack, PackSet};
use crate::upkeep::{Condemned, Damaged, UPKEEP_DIR};

/// The folder of the packs.
pub(super) const PACKS_DIR: &str = "packs";
/// The folder of the index runs.
pub(super) const INDEX_DIR: &str = "index";
/// The file that says that a folder is a store, and of which version.
const MARKER: &str = "consign-store";
const MARKER_BYTES: usize = 32;
const SUM_AT: usize = 16;
const MAGIC: [u8; 4] = *b"CNST";
const CONTEXT: &str = "consign 2026-11 v1 store marker";

/// Makes `dir` a store unless it is one, and takes its lock.
pub(super) fn prepare(dir: &Path) -> Result<FolderLock> {
    if !dir.join(MARKER).exists() {
        refuse_foreign(dir)?;
    }
    fsx::create_dir_durable(dir)?;
    let lock = fsx::lock(dir)?;
    if dir.join(MARKER).exists() {
        check_marker(dir)?;
        // The index is a cache of the packs: where its folder is gone, it is made again.
        fsx::create_dir_durable(&dir.join(INDEX_DIR))?;
        [dir, &dir.join(PACKS_DIR), &dir.join(INDEX_DIR)].into_iter().try_for_each(fsx::remove_temps)?;
        let upkeep = dir.join(UPKEEP_DIR);
        if upkeep.exists() {
            fsx::remove_temps(&upkeep)?;
        }
    } else {
        // The marker comes last: a folder that has it has everything.
        fsx::create_dir_durable(&dir.join(PACKS_DIR))?;
        fsx::create_dir_durable(&dir.join(INDEX_DIR))?;
        fsx::write_durable(&dir.join(MARKER), &marker())?;
    }
    Ok(lock)
}

/// Refuses a folder without marker that holds anything but what an interrupted [`prepare`] leaves.
fn refuse_foreign(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.at("list", dir)?,
    };
    for entry in entries {
        let path = entry.at("list", dir)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ours = match name {
            PACKS_DIR | INDEX_DIR => fs::read_dir(&path).is_ok_and(|mut inside| inside.next().is_none()),
            name => name == fsx::LOCK_FILE || fsx::is_temp(&path),
        };
        if !ours {
            return Err(Error::Refused {
                path: dir.display().to_string(),
                why: format!(
                    "the folder is no store and holds other things ({}); name an empty or absent folder",
                    path.display()
                ),
            });
        }
    }
    Ok(())
}

/// Checks that `dir` is a store of a version that this program knows.
pub(super) fn check_marker(dir: &Path) -> Result<()> {
    let path = dir.join(MARKER);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let why = "there is no store in this folder; name the folder of one, or make one by putting something into it";
            return Err(Error::Refused { path: dir.display().to_string(), why: why.to_owned() });
        }
        other => other.at("read", &path)?,
    };
    fields::check_start(&bytes, MAGIC, &path.display().to_string())?;
    let whole = bytes.len() == MARKER_BYTES && fields::sum(CONTEXT, &[&bytes[..SUM_AT]]) == bytes[SUM_AT..];
    if whole { Ok(()) } else { Err(Error::damaged(path.display().to_string(), "its checksum or length is wrong")) }
}

/// ```text
/// 0 magic "CNST"   4 version u16   6 hash u8   7 zero   8 required u16   10 optional u16   12 zero ×4   16 checksum ×16
/// ```
fn marker() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MARKER_BYTES);
    fields::put_start(&mut bytes, MAGIC, 0);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&fields::sum(CONTEXT, &[&bytes]));
    bytes
}

/// Enters what the packs hold and the index does not speak for, cuts torn tails (in [`Mode::Write`]) and returns the number of the next pack.
pub(super) fn catch_up(packs: &PackSet, index: &Index, mode: Mode, limits: Limits) -> Result<u32> {
    let all = packs.all();
    let covers = index.covers();
    let numbers = all.iter().map(Pack::number).chain(covers.iter().map(|(number, _)| number));
    let next_pack = numbers.max().map_or(Ok(0), after)?;
    index.fit(&all.iter().map(|pack| (pack.number(), pack.end())).collect(), mode)?;
    let mut add = |pack: u32, lines: &[FooterLine]| {
        index.add(pack, lines, &mut |_| {})?;
        if mode == Mode::Write && index.in_memory() >= limits.memory_entries_max {
            index.flush(&|| packs.sync())?;
        }
        Ok(())
    };
    for pack in &all {
        catch_up_pack(pack, index, mode, &mut add)?;
    }
    Ok(next_pack)
}

/// Reads what earlier upkeep left. What it says of packs that are not there is taken out before another pack can get such a number.
pub(super) fn load_upkeep(dir: &Path, packs: &PackSet, mode: Mode) -> Result<(Condemned, Damaged)> {
    let is_there = |pack| packs.present(pack).is_some();
    let (condemned, condemned_whole) = Condemned::load(dir, is_there)?;
    let (damaged, damaged_whole) = Damaged::load(dir, is_there)?;
    if mode == Mode::Write {
        if !condemned_whole {
            condemned.store(dir)?;
        }
        if !damaged_whole {
            damaged.store(dir)?;
        }
    }
    Ok((condemned, damaged))
}

fn catch_up_pack(pack: &Pack, index: &Index, mode: Mode, add: &mut dyn FnMut(u32, &[FooterLine]) -> Result<()>) -> Result<()> {
    let start = PACK_HEADER_BYTES as u64;
    let end = pack.end();
    let narrow = |offset: u64| {
        let limit =
            || Error::Limit { what: pack.path().display().to_string(), limit: "4,294,967,295 bytes of records".to_owned() };
        u32::try_from(offset).map_err(|_| limit())
    };
    let gaps = index.covers().gaps(pack.number(), narrow(start)?..narrow(end)?);
    let mut tail = end;
    for gap in &gaps {
        let range = u64::from(gap.start)..u64::from(gap.end);
        let (last, records) = pack.replay(range, &mut |lines| add(pack.number(), lines))?;
        let at_the_end = u64::from(gap.end) == end;
        tail = if at_the_end { last } else { tail };
        index.cover(pack.number(), gap.start..if at_the_end { narrow(last)? } else { gap.end }, records);
    }
    if let Pack::Open(open) = pack {
        // What was not in the index may never have been synced.
        open.set_tail(tail, if gaps.is_empty() { tail } else { start });
        if mode == Mode::Write && tail < end {
            open.cut()?;
        }
    }
    Ok(())
}

/// Returns the number of the pack after pack `number`.
pub(super) fn after(number: u32) -> Result<u32> {
    number.checked_add(1).ok_or_else(|| Error::Limit { what: "a store".to_owned(), limit: "4,294,967,295 packs".to_owned() })
}
